"""The trace tree: what a drawing shows, and that no input, however wrong, breaks it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from otel_distro.console import SpanLike, Style, TraceTree

TRACE = 0x0AF7651916CD43DD8448EB211C80319C
MS = 1_000_000


@dataclass
class Event:
    name: str
    attributes: Mapping[str, Any] | None = None


@dataclass
class Resource:
    attributes: Mapping[str, Any]


@dataclass
class Record:
    """A span record of another origin than the SDK."""

    name: str
    context: SpanContext | None
    parent: SpanContext | None = None
    kind: SpanKind = SpanKind.INTERNAL
    start_time: int | None = 0
    end_time: int | None = 0
    status: Status = field(default_factory=Status)
    attributes: Mapping[str, Any] | None = None
    events: Sequence[Event] = ()
    resource: Resource = field(default_factory=lambda: Resource({"service.name": "orders"}))


def context(span_id: int, *, remote: bool = False) -> SpanContext:
    return SpanContext(TRACE, span_id, is_remote=remote, trace_flags=TraceFlags(1))


def record(
    span_id: int,
    parent: int | None = None,
    name: str = "",
    *,
    at: tuple[int, int] = (0, 10),
    service: str = "orders",
    **rest: Any,
) -> Record:
    """A span with times in milliseconds."""
    return Record(
        name=name or f"span {span_id}",
        context=context(span_id),
        parent=None if parent is None else context(parent),
        start_time=at[0] * MS,
        end_time=at[1] * MS,
        resource=Resource({"service.name": service}),
        **rest,
    )


def draw(*spans: SpanLike, width: int = 100, style: Style | None = None, max_rows: int = 1_000) -> list[str]:
    return list(TraceTree(spans).lines(width, style or Style(), max_rows))


def columns(line: str) -> int:
    """Terminal columns, counted independently of the code under test."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def test_heading_names_trace_duration_and_counts() -> None:
    """The first line says which trace it is, how long it took and how much is in it."""
    heading = draw(record(1, at=(0, 48)), record(2, 1, service="stock"))[0]
    assert heading == f"trace {TRACE:032x} · 48.0 ms · 2 spans · 2 services"


def test_children_are_drawn_under_their_parent_in_order_of_start() -> None:
    """The order of arrival does not matter: siblings stand by their start, with lines that lead to the parent."""
    spans = [
        record(4, 2, "grandchild", at=(3, 4)),
        record(3, 1, "second", at=(6, 8)),
        record(2, 1, "first", at=(2, 5)),
        record(1, None, "root"),
    ]
    body = [re.sub(r"\s+\d.*", "", line.removeprefix("orders internal ")) for line in draw(*spans)[1:]]
    assert body == ["root", "├─ first", "│  └─ grandchild", "└─ second"]


def test_bars_share_one_scale() -> None:
    """A bar starts and ends where its span does within the trace."""
    root, half = draw(record(1, None, "root"), record(2, 1, "half", at=(5, 10)), width=100)[1:]
    assert root.endswith("ms " + "█" * 20)
    assert half.endswith("ms " + " " * 10 + "█" * 10)


def test_a_span_of_no_length_still_has_a_bar() -> None:
    """What took nanoseconds in a trace of a second is seen."""
    line = draw(record(1, at=(0, 1_000)), record(2, 1, at=(1_000, 1_000)))[2]
    assert line.endswith("▏")


def test_sdk_spans_are_drawn_as_they_are() -> None:
    """The SDK's ReadableSpan needs no conversion."""
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("test")
    with (
        pytest.raises(KeyError),
        tracer.start_as_current_span("outer", kind=SpanKind.SERVER),
        tracer.start_as_current_span("inner", kind=SpanKind.CLIENT),
    ):
        raise KeyError("US")
    text = "\n".join(draw(*memory.get_finished_spans()))
    assert "server   outer" in text
    assert "client   └─ inner" in text
    assert text.count("✗ KeyError: 'US'") == 2
    assert "2 errors" in text


def test_an_exception_stands_under_its_span() -> None:
    """Type and message of a recorded exception follow the span, inside the lines of the tree."""
    failed = record(
        2,
        1,
        "work",
        status=Status(StatusCode.ERROR),
        events=[Event("exception", {"exception.type": "ValueError", "exception.message": "no\nsuch thing"})],
    )
    lines = draw(record(1, None, "root"), failed, record(3, 2, "below"), record(4, 1, "after", at=(5, 6)))
    assert [line.split("internal ")[-1].split("   ")[0] for line in lines[1:3]] == ["root", "├─ work"]
    assert lines[3].strip() == "│  │  ✗ ValueError: no such thing"


def test_an_error_without_exception_shows_its_status() -> None:
    """The status' description or `error.type` explains an error that recorded no exception."""
    by_status = record(1, status=Status(StatusCode.ERROR, "deadline exceeded"))
    by_type = record(2, status=Status(StatusCode.ERROR), attributes={"error.type": "503"})
    text = "\n".join(draw(by_status, by_type))
    assert "✗ deadline exceeded" in text
    assert "✗ 503" in text


@pytest.mark.parametrize(
    ("name", "kind", "attributes", "shown"),
    [
        (
            "GET",
            SpanKind.SERVER,
            {"http.request.method": "GET", "http.route": "/orders/{id}", "http.response.status_code": 404},
            "GET · /orders/{id} 404",
        ),
        (
            "GET /orders/{id}",
            SpanKind.SERVER,
            {"http.request.method": "GET", "http.route": "/orders/{id}", "http.response.status_code": 200},
            "GET /orders/{id} · 200",
        ),
        (
            "POST",
            SpanKind.CLIENT,
            {
                "http.request.method": "POST",
                "url.full": "http://u:p@stock:8001/reservations?token=secret",
                "http.response.status_code": 201,
            },
            "POST · stock:8001/reservations 201",
        ),
        (
            "GET /x",
            SpanKind.SERVER,
            {"http.method": "GET", "http.target": "/x?y=1", "http.status_code": 500},
            "GET /x · 500",
        ),
        (
            "SELECT shop",
            SpanKind.CLIENT,
            {"db.system.name": "postgresql", "db.query.text": 'SELECT a.b FROM "orders" AS a'},
            "SELECT shop · postgresql orders",
        ),
        (
            "shop",
            SpanKind.CLIENT,
            {"db.system": "mysql", "db.operation": "INSERT", "db.statement": "INSERT INTO lines VALUES (?)"},
            "shop · mysql INSERT lines",
        ),
        ("GET", SpanKind.CLIENT, {"db.system.name": "redis", "db.query.text": "GET ?"}, "GET · redis"),
        (
            "send mail",
            SpanKind.PRODUCER,
            {"messaging.system": "kafka", "messaging.destination.name": "mail"},
            "send mail · kafka mail",
        ),
        ("plain", SpanKind.INTERNAL, {"anything": "else"}, "plain"),
    ],
)
def test_key_attributes_are_short(name: str, kind: SpanKind, attributes: dict[str, Any], shown: str) -> None:
    """Method, route, status, table or system stand beside the name, but not what the name says already."""
    line = draw(record(1, None, name, kind=kind, attributes=attributes))[1]
    label = line.removeprefix("orders ")[9:]
    assert re.split(r"\s{2,}", label)[0] == shown


def test_spans_without_their_parent_are_marked() -> None:
    """An orphan stands at the top with a question mark, and its children under it."""
    lines = draw(record(2, 99, "orphan"), record(3, 2, "child"))
    assert "?─ orphan" in lines[1]
    assert "└─ child" in lines[2]


def test_rings_of_parents_are_drawn_once() -> None:
    """Spans that are each other's ancestors, or their own parent, appear exactly once."""
    spans = [record(1, 3), record(2, 1), record(3, 2), record(4, 4), record(5, None)]
    lines = draw(*spans)
    for number in range(1, 6):
        assert sum(f"span {number} " in line for line in lines) == 1


def test_a_span_received_twice_is_drawn_once_and_counted() -> None:
    """A repeated delivery shows in the heading, not in the tree."""
    lines = draw(record(1), record(2, 1), record(2, 1))
    assert len(lines) == 3
    assert lines[0].endswith("2 spans · 1 seen twice")


def test_ten_thousand_levels_are_drawn_without_recursion() -> None:
    """A chain of any depth has one row a level, the outer levels given as a number."""
    spans = [record(n, n - 1 if n > 1 else None) for n in range(1, 10_001)]
    lines = draw(*spans, max_rows=20_000)
    assert len(lines) == 10_001
    assert "…" in lines[-1]
    assert "span 10000" in lines[-1]
    assert max(map(columns, lines)) <= 100


def test_rows_are_bounded() -> None:
    """What is beyond the limit of rows is counted in the last line."""
    lines = draw(*(record(n, None) for n in range(1, 51)), max_rows=10)
    assert len(lines) == 12
    assert lines[-1] == "… 40 more spans"


def test_a_clock_that_is_off_is_moved_into_the_call() -> None:
    """A server span that begins before its caller's call moves into its middle, children too, and that is said."""
    spans = [
        record(1, None, "call", at=(1_000, 1_100), kind=SpanKind.CLIENT),
        record(2, 1, "serve", at=(400, 460), kind=SpanKind.SERVER, service="stock"),
        record(3, 2, "query", at=(410, 420), service="stock"),
    ]
    tree = TraceTree(spans)
    lines = list(tree.lines(100))
    assert tree.duration == 100 * MS
    assert lines[0].endswith("clock of stock +620 ms")
    assert lines[2].endswith("60.0 ms " + " " * 4 + "█" * 12)
    assert lines[3].endswith("10.0 ms " + " " * 6 + "██")


def test_a_server_that_goes_on_after_the_answer_is_left_alone() -> None:
    """A server span that ends after its caller's, because of a background task, is no clock error."""
    spans = [
        record(1, None, at=(0, 10), kind=SpanKind.CLIENT),
        record(2, 1, at=(2, 50), kind=SpanKind.SERVER, service="stock"),
    ]
    tree = TraceTree(spans)
    assert tree.duration == 50 * MS
    assert "clock" not in next(iter(tree.lines(100)))


@pytest.mark.parametrize(
    "hostile", ["\x1b[2J\x1b]0;title\x07", "a\r\nb\tc", "\x9b31m", "\u202ereversed", "\u2028x", "\ud800"]
)
def test_control_characters_never_reach_the_terminal(hostile: str) -> None:
    """Names, services, attributes, messages: all of it may come from an attacker, none of it moves the cursor."""
    span = record(
        1,
        None,
        hostile,
        service=hostile,
        status=Status(StatusCode.ERROR, hostile),
        attributes={"http.request.method": hostile, "http.route": hostile},
        events=[Event("exception", {"exception.type": hostile, "exception.message": hostile})],
    )
    for line in TraceTree([span], note=hostile).lines(100):
        assert not [c for c in line if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]


@pytest.mark.parametrize("width", [20, 40, 50, 64, 80, 100, 200])
@pytest.mark.parametrize("name", ["short", "long name " * 50, "宽字符" * 30, "e\u0301" * 100])
def test_no_line_is_wider_than_the_terminal(width: int, name: str) -> None:
    """Every line fits, whatever is in it, and the duration is always there."""
    status = Status(StatusCode.ERROR, name)
    lines = draw(record(1, None, name, service=name), record(2, 1, name, status=status), width=width)
    assert max(map(columns, lines)) <= width
    assert sum("10.0 ms" in line for line in lines[1:]) == 2


@given(
    st.lists(
        st.tuples(st.integers(1, 12), st.integers(0, 12), st.integers(-50, 50), st.integers(-50, 50)), max_size=25
    ),
    st.integers(20, 130),
    st.booleans(),
)
def test_any_heap_of_spans_is_drawn_once_each(heap: list[tuple[int, int, int, int]], width: int, plain: bool) -> None:
    """Whatever the ids, parents and times, each span has one row and no line is too wide."""
    spans = [record(own, parent or None, f"<{own}>", at=(start, end)) for own, parent, start, end in heap]
    lines = draw(*spans, width=width, style=Style(ascii=plain))
    assert len(lines) == 1 + len({own for own, *_ in heap})
    assert max(map(columns, lines)) <= width
    if plain:
        assert all(line.isascii() for line in lines)


def test_nothing_is_drawn_of_nothing() -> None:
    """No spans give a heading only, and no error."""
    assert draw() == ["trace  · 0.00 us · 0 spans"]


def test_a_broken_record_is_passed_over() -> None:
    """A record without context, times or attributes does not stop the drawing."""
    broken = Record("broken", None)
    timeless = Record("timeless", context(7), start_time=None, end_time=None)
    lines = draw(broken, timeless)
    assert len(lines) == 2
    assert "timeless" in lines[1]
    assert " ?" in lines[1]


def test_colour_only_when_asked_for() -> None:
    """Without colour there is no escape sequence; with it, an error is red and the text is the same."""
    spans = [record(1), record(2, 1, status=Status(StatusCode.ERROR, "bad"))]
    plain, coloured = draw(*spans), draw(*spans, style=Style(colour=True))
    assert "\x1b" not in "".join(plain)
    assert [re.sub(r"\x1b\[[\d;]*m", "", line).rstrip() for line in coloured] == plain
    assert "\x1b[31m" in coloured[2]
    assert "\x1b[31m" in coloured[3]
    assert "\x1b[31m" not in coloured[1]
