"""Spans that are encoded together are what each of them is alone, and one that is odd is nobody else's matter."""

from __future__ import annotations

import asyncio
import string
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from otel_distro import set_context, set_user
from otel_distro.context import Scope
from otel_distro.instrumentation.binding import NOTHING
from otel_distro.ledger import Entry, Ledger
from otel_distro.otlp.encode_traces import SpanEncoder
from otel_distro.tracing import client, late
from otel_distro.tracing.client import ClientSpan, ClientSpans
from otel_distro.tracing.common import Common
from otel_distro.tracing.late import LateSpan
from tests.asgi_rig import drive, rigged, scope_of
from tests.tracing_rig import provider

_DAY = 86_400_000_000_000
_TEXT = st.one_of(st.sampled_from(["", "a", "été", "日本", "x" * 200]), st.text(max_size=60))
_PARENTS: list[SpanContext | None] = [
    None,
    SpanContext(1, 2, False, TraceFlags(1)),
    SpanContext(3, 4, True, TraceFlags(3), TraceState([("a", "b"), ("rojo", "00f0")])),
    SpanContext((1 << 128) - 1, (1 << 64) - 1, True, TraceFlags(1)),
]


class Columns(SpanEncoder):
    """An encoder that counts how often it has encoded many spans at once."""

    def __init__(self) -> None:
        super().__init__()
        self.columns = 0

    def finisher(self, name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> tuple[Any, Any]:
        """See `SpanEncoder.finisher`."""
        finished, finished_all = super().finisher(name, kind, attributes)

        def counted(*columns: Any) -> list[bytes]:
            made = finished_all(*columns)
            self.columns += 1
            return made

        return finished, counted


class Waiting(SpanProcessor):
    """Takes spans that were never an object, and leaves them as they ended."""

    def __init__(self) -> None:
        self.span_encoder = Columns()
        self.whole: list[Any] = []
        self.ledger = Ledger(lambda _: None, lambda _, __: None)
        self.ledger.mark = sys.maxsize

    def on_end(self, span: ReadableSpan) -> None:
        """Keep one that was ended as every span."""
        self.whole.append(self.span_encoder.piece(span))

    def take(self, piece: Any) -> None:
        """Keep one that is encoded already."""
        self.whole.append(piece)

    def entries(self) -> list[Entry]:
        """What has ended, all of one account."""
        found = list(self.ledger)
        assert len({id(entry[0]) for entry in found}) == 1
        return found


def told(piece: Any) -> Any:
    """What a reader is told by a piece: attributes are a mapping, of whatever order."""
    resource, scope, encoded = piece
    span = Span.FromString(encoded)
    attributes = {pair.key: pair.value.SerializeToString() for pair in span.attributes}
    assert len(attributes) == len(span.attributes), "an attribute is told once"
    del span.attributes[:]
    return resource, scope, attributes, span.SerializeToString(deterministic=True)


def compared(together: Callable[[Sequence[Any]], Iterable[Any]], things: Sequence[Any]) -> list[Any]:
    """What is told of these, which is the same together and one by one."""
    alone = [told(piece) for thing in things for piece in together([thing])]
    assert [told(piece) for piece in together(list(things))] == alone
    assert len(alone) == len(things)
    return alone


# --- servers ---------------------------------------------------------------------------------------------------------


async def _item(request: Any) -> Response:
    request.scope["says"]()
    return PlainTextResponse("fine")


def _silent() -> None:
    pass


def _user() -> None:
    set_user("u1", name="Ada")


def _tenant() -> None:
    set_user("u2")
    set_context(tenant="acme", plan="gold")


def _numbers() -> None:
    set_context(count=3, paid=True, share=0.5)


def _like_ours() -> None:
    set_context(**{"url.path": "mine", "http.route": "mine"})


_SAYS = [_silent, _silent, _user, _tenant, _numbers, _like_ours]
_REMOTE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_REQUESTS = st.fixed_dictionaries(
    {
        "path": st.one_of(
            st.sampled_from(["7", "8", "a b", "é", "x" * 5_000, "\ud800"]), st.text(string.ascii_letters, max_size=8)
        ),
        "query": st.one_of(
            st.just(b""),
            st.sampled_from([b"a=1", b"token=secret&page=2", b"\xff=\xfe", b"q=" + b"x" * 5_000, "a=b", 5]),
        ),
        "client": st.one_of(
            st.just(("192.0.2.7", 1)),
            st.sampled_from([("192.0.2.8", 2), ["::1", 1], None, (), (7, 1), (["a"], 1), "a", {"host": "a"}]),
        ),
        "says": st.sampled_from(_SAYS),
        "headers": st.lists(
            st.sampled_from(
                [
                    (b"user-agent", b"probe/1"),
                    (b"user-agent", b"\xff\xfe"),
                    (b"x-request-id", b"r-1"),
                    (b"x-request-id", b"r" * 128),
                    (b"x-shop", b"7"),
                    (b"x-shop", b"8"),
                    (b"traceparent", _REMOTE.encode()),
                    (b"traceparent", _REMOTE.replace("4bf9", "4bfa").encode()),
                    (b"tracestate", b"a=1,b=2"),
                ]
            ),
            max_size=5,
        ),
    }
)
_SETTINGS = {
    "OTEL_DISTRO_REQUEST_ID": "accept,echo",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": "x-shop",
}


@contextmanager
def served() -> Iterator[tuple[Starlette, Waiting]]:
    """An application whose server spans wait."""
    with rigged(_SETTINGS) as rig:
        waiting = Waiting()
        processors: Any = rig.tracer_provider._active_span_processor
        processors.use((waiting,))
        yield Starlette(routes=[Route("/items/{rest:path}", _item)]), waiting
        assert rig.lines == []


def _ask(app: Starlette, request: Mapping[str, Any]) -> None:
    scope = scope_of("/items/")
    scope["path"] += request["path"]
    scope["query_string"], scope["client"], scope["says"] = request["query"], request["client"], request["says"]
    scope["headers"] = [(b"host", b"shop.test"), *dict(request["headers"]).items()]
    asyncio.run(drive(app, scope))


_USUAL: dict[str, Any] = {
    "path": "7",
    "query": b"",
    "client": ("192.0.2.7", 1),
    "says": _silent,
    "headers": [(b"user-agent", b"probe/1")],
}


@given(requests=st.lists(_REQUESTS, min_size=1, max_size=10))
def test_requests_that_ended_together_are_told_as_each_alone(requests: list[dict[str, Any]]) -> None:
    """Queries, callers, ids, users, tenants, captured headers and parents: the same in columns as one by one."""
    with served() as (app, waiting):
        for request in requests:
            _ask(app, request)
        entries = waiting.entries()
        assert len(entries) == len(requests)
        compared(entries[0][0].encoded, entries)


def test_usual_requests_go_by_columns() -> None:
    """What the property above compares are two ways: all that is usual in a request is encoded in columns."""
    usual = [
        _USUAL,
        {**_USUAL, "query": b"a=1"},
        {**_USUAL, "says": _tenant, "headers": [(b"user-agent", b"probe/1"), (b"x-request-id", b"r-1")]},
        {**_USUAL, "headers": [(b"user-agent", b"probe/1"), (b"traceparent", _REMOTE.encode()), (b"x-shop", b"7")]},
        {**_USUAL, "says": _numbers, "path": "été"},
    ]
    with served() as (app, waiting):
        for request in usual:
            _ask(app, request)
        entries = waiting.entries()
        alone = compared(entries[0][0].encoded, entries)
        before = waiting.span_encoder.columns
        entries[0][0].encoded(entries)
        assert waiting.span_encoder.columns == before + 1
    keys = [set(attributes) for _, _, attributes, _ in alone]
    assert ["url.query" in each for each in keys] == [False, True, False, False, False]
    assert ["request.id" in each for each in keys] == [False, False, True, False, False]
    assert ["http.request.header.x-shop" in each for each in keys] == [False, False, False, True, False]
    assert all({"client.address", "user_agent.original", "url.path", "http.route"} <= each for each in keys)
    parents = [Span.FromString(span).parent_span_id.hex() for _, _, _, span in alone]
    assert parents == ["", "", "", "00f067aa0ba902b7", ""]


def _before_1970(span: Any) -> None:
    span.start_time = -5


def _without_end(span: Any) -> None:
    span.end_time = None


def _of_large_ids(span: Any) -> None:
    span.context = SpanContext(1 << 130, 1 << 70, False, TraceFlags(1))


def _below_large_ids(span: Any) -> None:
    span.parent = SpanContext(1, 1 << 70, False, TraceFlags(1))


_ODD = [_before_1970, _without_end, _of_large_ids, _below_large_ids]


@pytest.mark.parametrize("odd", _ODD)
@pytest.mark.parametrize("position", [0, 3, 7])
def test_an_odd_request_changes_nothing_for_the_others(odd: Callable[[Any], None], position: int) -> None:
    """Where one span has a time or an id that does not fit, the others are told as if it was not there."""
    with served() as (app, waiting):
        for number in range(8):
            _ask(app, {**_USUAL, "path": str(number)})
        entries = waiting.entries()
        encoded = entries[0][0].encoded
        before = compared(encoded, entries)
        odd(entries[position][-1])
        after = compared(encoded, entries)
    assert after[:position] + after[position + 1 :] == before[:position] + before[position + 1 :]
    assert after[position] != before[position]


def test_an_odd_caller_changes_nothing_for_the_others() -> None:
    """Likewise with what a server, a middleware or a client has put into one scope."""
    for odd in (
        {"client": None},
        {"query": 5},
        {"path": "\ud800"},
        {"says": _like_ours},
        {"path": "x" * 5_000},
        {"path": "a;token=canary"},
    ):
        with served() as (app, waiting):
            for number in range(8):
                _ask(app, {**_USUAL, "path": str(number), **(odd if number == 3 else {})})
            found = compared(waiting.ledger[0][0].encoded, waiting.entries())
            paths = [attributes["url.path"] for _, _, attributes, _ in found]
            assert b"canary" not in b"".join(paths)
            usual = [path for number, path in enumerate(paths) if number != 3]
            assert usual == [b"\n" + bytes((8,)) + f"/items/{number}".encode() for number in range(8) if number != 3]


def test_a_server_span_that_is_read_while_it_waits_is_told_the_same() -> None:
    """Whoever has kept the span of a request may read it before it is encoded."""
    with served() as (app, waiting):
        for number in range(5):
            _ask(app, {**_USUAL, "path": str(number), "says": _tenant})
        entries = waiting.entries()
        before = compared(entries[0][0].encoded, entries)
        for entry in entries[:2]:
            span = entry[-1]
            assert isinstance(span, LateSpan)
            assert span.attributes["tenant.id" if "tenant.id" in span.attributes else "user.id"]
        assert compared(entries[0][0].encoded, entries) == before


def test_what_is_said_after_the_end_of_a_request_is_not_on_its_span() -> None:
    """A background task that goes on in the request's context comes too late for the span, which waits."""
    from starlette.background import BackgroundTask

    async def item(request: Any) -> Response:
        set_context(tenant="acme")
        return PlainTextResponse("fine", background=BackgroundTask(later))

    async def later() -> None:
        set_user("late")
        set_context(tenant="other", more="late")

    with served() as (_, waiting):
        app = Starlette(routes=[Route("/p", item)])
        for _ in range(5):
            asyncio.run(drive(app, scope_of("/p")))
        entries = waiting.entries()
        found = compared(entries[0][0].encoded, entries)
    assert len(found) == 5
    assert not any(word in repr(each) for each in found for word in ("late", "other"))


@given(
    parents=st.lists(st.sampled_from(_PARENTS), min_size=4, max_size=10),
    told_of_it=st.lists(st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["x", 1, 0.5]), max_size=2)),
    data=st.data(),
)
def test_late_spans_without_a_server_go_together(
    parents: list[SpanContext | None], told_of_it: list[dict[str, Any]], data: Any
) -> None:
    """`late.encoded` gives the same for any number of spans: times, parents with tracestate or none, own attributes."""
    waiting = Waiting()
    made = provider(waiting)
    common = Common("GET /p", SpanKind.SERVER, {"http.route": "/p", "http.response.status_code": 200})
    spans: list[LateSpan] = []
    for number, parent in enumerate(parents):
        span = made.get_tracer("t").begin_late(SpanKind.SERVER, parent)
        assert isinstance(span, LateSpan)
        if number < len(told_of_it):
            span.tell(told_of_it[number])
        assert span.conclude(common, span.start_time + data.draw(st.integers(0, _DAY)))
        spans.append(span)
    compared(lambda several: late.encoded(common, several), spans)
    assert waiting.span_encoder.columns == 1


# --- clients ---------------------------------------------------------------------------------------------------------


_COMMON = {"http.request.method": "GET", "server.address": "localhost"}
_OWN = st.dictionaries(
    st.sampled_from(["url.full", "own", "user.id", "tenant.id", "db.password"]),
    st.one_of(_TEXT, st.integers(-(1 << 63), (1 << 63) - 1), st.booleans(), st.floats(allow_nan=False)),
    max_size=4,
)


def _calls(waiting: Waiting, calls: Sequence[tuple[SpanContext | None, dict[str, Any]]]) -> tuple[Common, list[Any]]:
    """Spans of calls to one place that were answered alike."""
    tracer = provider(waiting).get_tracer("t")
    spans = tracer.briefs("GET", SpanKind.CLIENT, _COMMON, ClientSpans)
    assert isinstance(spans, ClientSpans)
    alike = Common("GET", SpanKind.CLIENT, {**_COMMON, "http.response.status_code": 200})
    made = []
    for parent, own in calls:
        span = spans.begin(parent, None, own)
        assert isinstance(span, ClientSpan)
        span.name = alike.name
        assert span.conclude(alike, span.start_time + 1)
        made.append(span)
    return alike, made


@given(calls=st.lists(st.tuples(st.sampled_from(_PARENTS), _OWN), min_size=1, max_size=10))
def test_calls_that_ended_together_are_told_as_each_alone(
    calls: list[tuple[SpanContext | None, dict[str, Any]]],
) -> None:
    """Parents and attributes of each call are the same in columns as one by one."""
    waiting = Waiting()
    alike, spans = _calls(waiting, calls)
    compared(lambda several: client.encoded(alike, several), spans)
    assert waiting.span_encoder.columns == (len(calls) >= 4)


@pytest.mark.parametrize("odd", _ODD)
def test_an_odd_call_changes_nothing_for_the_others(odd: Callable[[Any], None]) -> None:
    """A span of a call that does not fit costs the others nothing, and is told itself as far as it can be."""
    alike, spans = _calls(Waiting(), [(_PARENTS[number % 4], {"url.full": str(number)}) for number in range(8)])
    before = compared(lambda several: client.encoded(alike, several), spans)
    odd(spans[3])
    after = compared(lambda several: client.encoded(alike, several), spans)
    assert after[:3] + after[4:] == before[:3] + before[4:]
    assert after[3] != before[3]


# --- statements and commands -----------------------------------------------------------------------------------------


def _scope(said: Mapping[str, Any] | None) -> Scope | None:
    if said is None:
        return None
    scope = Scope(None, None)
    scope.hear(said)
    return scope


_ENDED = st.tuples(
    st.sampled_from(_PARENTS),
    st.sampled_from([None, {}, {"tenant": "acme"}, {"tenant": "other", "plan": 3}]),
    st.integers(0, 4 * _DAY),
    st.integers(0, _DAY),
)


def _statements(waiting: Waiting, ended: Iterable[tuple[SpanContext | None, Any, int, int]]) -> list[Entry]:
    tracer = provider(waiting).get_tracer("t")
    briefs = tracer.briefs("SELECT t", SpanKind.CLIENT, {"db.system.name": "sqlite"}).measure(NOTHING)
    for parent, said, start, lasts in ended:
        briefs.ended(parent, _scope(said), start, start + lasts, lasts / 1e9, 0.0)
    return waiting.entries()


@given(ended=st.lists(_ENDED, min_size=1, max_size=10))
def test_statements_that_ended_together_are_told_as_each_alone(
    ended: list[tuple[SpanContext | None, Any, int, int]],
) -> None:
    """Parents, times and what the application said are the same in columns as one by one; so are the drawn ids."""
    waiting = Waiting()
    entries = _statements(waiting, ended)
    assert len(entries) == len(ended)
    found = compared(entries[0][0].encoded, entries)
    assert waiting.span_encoder.columns == (len(ended) >= 4)
    spans = [Span.FromString(span) for _, _, _, span in found]
    assert len({span.span_id for span in spans}) == len(spans)
    for span, (parent, _, start, lasts) in zip(spans, ended, strict=True):
        assert (span.start_time_unix_nano, span.end_time_unix_nano) == (start, start + lasts)
        assert int.from_bytes(span.parent_span_id, "big") == (0 if parent is None else parent.span_id)
        assert parent is None or int.from_bytes(span.trace_id, "big") == parent.trace_id


def test_a_statement_whose_clock_does_not_fit_changes_nothing_for_the_others() -> None:
    """Its own span is lost and counted; those beside it leave."""
    waiting = Waiting()
    usual: list[Any] = [(_PARENTS[number % 4], {"tenant": "acme"}, number, 1) for number in range(8)]
    entries = _statements(waiting, [*usual[:3], (None, None, -5, 1), *usual[3:]])
    pieces = entries[0][0].encoded(entries)
    assert [piece[2] == b"" for piece in pieces] == [number == 3 for number in range(9)]
    rest = entries[:3] + entries[4:]
    assert [told(piece) for number, piece in enumerate(pieces) if number != 3] == compared(rest[0][0].encoded, rest)
