"""What stands in for values that have no OTLP form, and how much the encoder keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, IntEnum
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status

from otel_distro.context import attributes_of
from otel_distro.otlp._groups import Frames
from otel_distro.otlp._values import KeyValues, any_value
from otel_distro.otlp._wire import varint, varints
from otel_distro.otlp.encode_json import JsonSpanEncoder
from otel_distro.otlp.encode_logs import LogEncoder
from otel_distro.otlp.encode_metrics import MetricEncoder
from otel_distro.otlp.encode_traces import SpanEncoder
from tests.otlp_data import Thing


class Colour(str, Enum):  # noqa: UP042 - the older way is the one whose str() is not its value
    RED = "red"


class Level(IntEnum):
    HIGH = 7


class Silent:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Wide:
    def __repr__(self) -> str:
        return "w" * 100_000


class BrokenSequence(Sequence[Any]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: Any) -> Any:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        return "<broken>"


class BrokenMapping(Mapping[str, Any]):
    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no")

    def __getitem__(self, key: str) -> Any:
        raise KeyError(key)

    def __repr__(self) -> str:
        return "<broken>"


def decoded(value: Any) -> AnyValue:
    return AnyValue.FromString(any_value(value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1 << 63, AnyValue(string_value="9223372036854775808")),
        (-(1 << 63) - 1, AnyValue(string_value="-9223372036854775809")),
        (1 << 100_000, AnyValue(string_value="<int of 100001 bits>")),
        ((1 << 63) - 1, AnyValue(int_value=(1 << 63) - 1)),
        (-(1 << 63), AnyValue(int_value=-(1 << 63))),
        ("a\ud800b", AnyValue(string_value="a\ufffdb")),
        (Colour.RED, AnyValue(string_value="red")),
        (Level.HIGH, AnyValue(int_value=7)),
        (True, AnyValue(bool_value=True)),
        (b"\xff", AnyValue(bytes_value=b"\xff")),
        (None, AnyValue()),
        ({1}, AnyValue(string_value="{1}")),
        (1j, AnyValue(string_value="1j")),
        (Silent(), AnyValue(string_value="<Silent>")),
        (Wide(), AnyValue(string_value="w" * 255 + "…")),
        (BrokenSequence(), AnyValue(string_value="<broken>")),
        (BrokenMapping(), AnyValue(string_value="<broken>")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_an_otlp_form_is_replaced(value: Any, expected: AnyValue) -> None:
    """Whatever an attribute holds, something that says what it was is encoded and nothing raises."""
    assert decoded(value) == expected


def test_endless_nesting_is_cut() -> None:
    """A list that holds itself becomes 32 levels and then text, which protobuf's readers accept."""
    endless: list[Any] = []
    endless.append(endless)
    value, depth = decoded(endless), 0
    while value.WhichOneof("value") == "array_value":
        value, depth = value.array_value.values[0], depth + 1
    assert depth == 32
    assert value.string_value == "[[...]]"


def test_equal_values_of_different_types_stay_apart() -> None:
    """1, True and 1.0 are one dictionary key and three OTLP values."""
    known = KeyValues(b"\x0a")
    seen = {known.encoded({"k": value}) for value in (1, True, 1.0, "1", 1, True, 1.0)}
    assert len(seen) == 4


def test_what_is_kept_is_bounded() -> None:
    """Values without end, keys without end and long texts leave a bounded cache and right output."""
    known = KeyValues(b"\x0a")
    for number in range(5_000):
        assert str(number).encode() in known.encoded({"one": f"v{number}", f"key{number}": "x"})
        known.encoded({"long": f"{number}" + "x" * 1_000, "longer": f"{number}" + "x" * 2_000})
    assert len(known.known) <= 512
    assert max(len(values) for values in known.known.values()) <= 512
    assert not known.known["longer"]
    kept = sum(len(encoded) for values in known.known.values() for encoded in values.values())
    assert kept < 4_000_000


def test_values_of_a_key_change_with_what_comes() -> None:
    """A key whose first values come no more learns those that do."""
    known = KeyValues(b"\x0a")
    for number in range(5_000):
        known.encoded({"path": f"/{number}"})
    assert "/7" not in known.known["path"]
    known.encoded({"path": "/new"})
    assert "/new" in known.known["path"]


SAYINGS: list[Any] = [
    (("u-1", None, None), {}),
    (("u-1", "Ada", "ada@shop.test"), {"tenant": "acme", "plan": "gold"}),
    (None, {"workspace": "w", "count": 3, "paid": True, "share": 0.5, "text": "\ud800"}),
    (("u" * 1_024, None, "e"), {"api_key": "canary"}),
]


@pytest.mark.parametrize("said", SAYINGS)
def test_what_the_application_said_is_encoded_as_its_attributes_are(said: Any) -> None:
    """User and context of a request in the short way give the bytes of the attributes that they are, secrets hidden."""
    known = KeyValues(b"\x4a", private=True)
    expected = KeyValues(b"\x4a", private=True).encoded(attributes_of(*said))
    assert [known.said(*said, b"x") for _ in range(3)] == [b"x" + expected] * 3
    assert b"canary" not in expected


class Key(str, Enum):  # noqa: UP042 - the older way is the one whose str() is not its value
    SECRET = "api_key"
    PLAIN = "plain"


@pytest.mark.parametrize("value", ["canary", 4_711_4711, ["canary"], {Key.SECRET: "canary"}, {b"api_key": "canary"}])
def test_a_key_of_a_class_of_its_own_is_looked_at_as_it_leaves(value: Any) -> None:
    """A secret under a member of an enumeration, or under bytes, is hidden as under its text, at any depth."""
    for private in (KeyValues(b"\x4a", private=True), KeyValues(b"\x4a", private=True)):
        for encoded in (private.encoded({Key.SECRET: value}), private.encoded({Key.SECRET: value})):
            assert b"api_key" in encoded
            assert b"REDACTED" in encoded
            assert b"canary" not in encoded
        assert b"canary" not in private.encoded({Key.PLAIN: {"inner": value} if isinstance(value, dict) else "x"})


def test_a_name_of_the_applications_own_is_not_taken_the_short_way() -> None:
    """It may be that of an attribute which somebody else sets, so the span has to be put together."""
    known = KeyValues(b"\x4a")
    for _ in range(2):
        assert known.said(None, {"tenant": "acme", "http.route": "mine"}, b"") is None


@pytest.mark.parametrize("text", ["r-1", "x" * 104, "x" * 105, "x" * 128])
@pytest.mark.parametrize("key", ["request.id", "odd%key", "session_token"])
def test_a_text_that_will_not_come_again_is_encoded_as_any_other(key: str, text: str) -> None:
    """Head and text are the pair for every text that fits; there is no head under a name that speaks of a secret."""
    known = KeyValues(b"\x4a", private=True)
    heads = known.heads(key)
    if len(text) < len(heads):
        assert heads[len(text)] + text.encode() == known.encoded({key: text}) == known.values(key).learn(text)
    else:
        assert not heads or len(known.encoded({key: text})) > 129
    assert (heads == ()) == (key == "session_token")


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 2048, 16_384, 20_000])
def test_a_table_of_varints_holds_what_each_is_by_itself(count: int) -> None:
    """Varints made together are those made one by one; there are none of three bytes."""
    assert varints(count) == [varint(number) for number in range(min(count, 16_384))]


@pytest.mark.parametrize("after", [0, 77, 5_000, 20_000])
def test_each_item_stands_behind_its_frame(after: int) -> None:
    """Whatever the sizes, and whatever belongs to each item besides, the lengths are right."""
    for sizes in ((0, 1, 127, 128, 2047), (1, 2048), (20_000,), ()):
        items = [b"y" * size for size in sizes]
        frames = [b"x\x12" + varint(size + after) for size in sizes]
        assert Frames(b"x", after)(items) == [part for pair in zip(frames, items, strict=True) for part in pair]


def span(**fields: Any) -> Any:
    """A span as it should be, with some fields as they should not be."""
    usual = {
        "name": "work",
        "context": SpanContext(1, 2, False),
        "parent": SpanContext(1, 3, True),
        "kind": SpanKind.SERVER,
        "start_time": 10,
        "end_time": 20,
        "attributes": {"a": "b"},
        "events": (),
        "links": (),
        "status": Status(),
        "resource": Resource({}),
        "instrumentation_scope": InstrumentationScope("s"),
        "dropped_attributes": 0,
        "dropped_events": 0,
        "dropped_links": 0,
    }
    return Thing(**{**usual, **fields})


ODD = {
    "name": ["a\ud800", 5, None, b"x"],
    "parent": [SpanContext(1, 1 << 70, False), object()],
    "kind": [None, "SERVER", 7, Thing(value=200)],
    "start_time": [None, -1, 1 << 70, 1.5, "yesterday"],
    "end_time": [None, -1, 1 << 70, float("nan")],
    "attributes": [None, [1], {1: 2, None: "x"}, BrokenMapping(), {"a": Silent()}],
    "events": [None, 5, [None, Thing(name=None, timestamp="now", attributes=None, dropped_attributes=0)]],
    "links": [None, [object()]],
    "status": [None, "OK", 5],
    "resource": [None, Resource({"n": 1 << 70})],
    "instrumentation_scope": [None],
    "dropped_attributes": [None, -1, 1 << 70],
    "context": [SpanContext(1 << 200, 1 << 90, False)],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in ODD.items() for value in values])
def test_one_odd_field_costs_neither_the_span_nor_the_batch(field: str, value: Any) -> None:
    """A span with an impossible field is sent with what is usable of it, between its neighbours."""
    encoded = SpanEncoder().encode([span(name="before"), span(**{field: value}), span(name="after")])
    message = ExportTraceServiceRequest.FromString(encoded.body)
    names = [s.name for group in message.resource_spans for scope in group.scope_spans for s in scope.spans]
    assert {"before", "after"} <= set(names)
    assert len(names) == 3
    assert (encoded.items, encoded.lost) == (3, 0)


def test_a_thing_that_is_no_span_is_counted() -> None:
    """What has no ids cannot be sent; it is left out, counted, and the others are sent."""
    encoded = SpanEncoder().encode([span(), span(context=None), object()])  # type: ignore[list-item]
    assert (encoded.items, encoded.lost) == (1, 2)
    assert len(ExportTraceServiceRequest.FromString(encoded.body).resource_spans) == 1


def test_json_survives_the_same_oddities() -> None:
    """JSON of spans with odd fields never raises, and loses at most the odd span."""
    for field, values in ODD.items():
        for value in values:
            encoded = JsonSpanEncoder().encode([span(), span(**{field: value})])
            assert encoded.items >= 1
            assert encoded.items + encoded.lost == 2


def metrics(*points: NumberDataPoint | HistogramDataPoint) -> MetricsData:
    data = [
        Metric("m", "", "", Histogram([p], AggregationTemporality.DELTA))
        if isinstance(p, HistogramDataPoint)
        else Metric("m", "", "", Sum([p], AggregationTemporality.DELTA, True))
        for p in points
    ]
    scope = InstrumentationScope("s")
    return MetricsData([ResourceMetrics(Resource({}), [ScopeMetrics(scope, data, "")], "")])


def test_numbers_no_point_can_hold_are_replaced() -> None:
    """A sum outside int64 becomes a double, one outside double an infinity, and a time outside uint64 the nearest."""
    encoded = MetricEncoder().encode(
        metrics(NumberDataPoint({}, -5, 1 << 70, 1 << 64), NumberDataPoint({}, 0, 1, -(1 << 5000)))
    )
    first, second = ExportMetricsServiceRequest.FromString(encoded.body).resource_metrics[0].scope_metrics[0].metrics
    assert first.sum.data_points[0].as_double == float(1 << 64)
    assert first.sum.data_points[0].start_time_unix_nano == 0
    assert first.sum.data_points[0].time_unix_nano == (1 << 64) - 1
    assert second.sum.data_points[0].as_double == float("-inf")


def test_a_bad_point_costs_only_itself() -> None:
    """A point without a usable number is counted as lost, and the others of the collection are sent."""
    bad: Any = NumberDataPoint({}, 0, 1, "many")  # type: ignore[arg-type]
    odd: Any = HistogramDataPoint({}, 0, 1, 1, 1, ["x"], [], 1, 1)  # type: ignore[list-item]
    encoded = MetricEncoder().encode(metrics(bad, NumberDataPoint({}, 0, 1, 5), odd))
    assert (encoded.items, encoded.lost) == (1, 2)
    ExportMetricsServiceRequest.FromString(encoded.body)


def log(**fields: Any) -> Any:
    usual = {
        "timestamp": 1,
        "observed_timestamp": 2,
        "trace_id": 0,
        "span_id": 0,
        "trace_flags": 0,
        "body": "x",
        "severity_text": None,
        "severity_number": None,
        "attributes": {},
        "event_name": None,
    }
    return Thing(
        log_record=Thing(**{**usual, **fields}), resource=None, instrumentation_scope=None, dropped_attributes=0
    )


def test_odd_log_records_cost_only_themselves() -> None:
    """Ids that are None, huge or no number, times out of range and bodies of any kind never lose the batch."""
    records = [log(trace_id=None, span_id=None), log(timestamp=-5), log(body=Silent()), log(trace_flags=None)]
    encoded = LogEncoder().encode([*records, log(trace_id="x"), log(severity_number="loud")])
    message = ExportLogsServiceRequest.FromString(encoded.body)
    assert len(message.resource_logs[0].scope_logs[0].log_records) == 5
    assert (encoded.items, encoded.lost) == (5, 1)


def test_others_get_the_interpreter_after_every_64_items() -> None:
    """Encoding calls back after each 64 spans, so that no batch holds the interpreter for long."""
    breaths: list[int] = []
    SpanEncoder().encode([span() for _ in range(200)], lambda: breaths.append(1))
    MetricEncoder().encode(metrics(*[NumberDataPoint({}, 0, 1, 1)] * 130), lambda: breaths.append(2))
    LogEncoder().encode([log()] * 65, lambda: breaths.append(3))
    JsonSpanEncoder().encode([span() for _ in range(128)], lambda: breaths.append(4))
    assert breaths == [1, 1, 1, 2, 2, 3, 4, 4]


def test_an_empty_export_is_an_empty_request() -> None:
    """No spans encode to no bytes, which is the empty message."""
    assert SpanEncoder().encode([]).body == b""


def test_upstreams_span_without_scope_is_encoded() -> None:
    """A `ReadableSpan` made by hand, with nothing but a context, is sent."""
    encoded = SpanEncoder().encode([ReadableSpan("x", SpanContext(1, 2, False), resource=Resource({}))])
    found = ExportTraceServiceRequest.FromString(encoded.body).resource_spans[0].scope_spans[0].spans[0]
    assert found.name == "x"
    assert found.end_time_unix_nano == 0
