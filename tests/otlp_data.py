"""Generated spans, metrics and log records, from the everyday to the hostile."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
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
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otel_distro.redaction import is_secret_attribute

U32, U64 = (1 << 32) - 1, (1 << 64) - 1
I32 = st.integers(-(1 << 31), (1 << 31) - 1)
I64 = st.integers(-(1 << 63), (1 << 63) - 1)
TIMES = st.one_of(st.just(0), st.integers(0, U64), st.integers(1_700_000_000 * 10**9, 1_900_000_000 * 10**9))
COUNTS = st.one_of(st.integers(0, 200), st.integers(0, U64))

# st.text() makes no surrogates; few keys and small values, so that caches are hit
TEXT = st.one_of(st.sampled_from(["", "a", "GET", "été", "日本", "\0", "x" * 200]), st.text(max_size=300))
# values under names that speak of secrets leave redacted, which upstream's do not
KEYS = st.one_of(
    st.sampled_from(["", "http.route", "a", "b", "ключ"]),
    st.text(max_size=20).filter(lambda key: not is_secret_attribute(key)),
)
NAMES = st.one_of(st.sampled_from(["service.name", "host", "ключ"]), st.text(min_size=1, max_size=20))
DOUBLES = st.one_of(st.sampled_from([0.0, -0.0, 1.0, float("nan"), float("inf"), float("-inf")]), st.floats())
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 127, 128, 200, 16384]),
    I64,
    DOUBLES,
    TEXT,
    st.binary(max_size=40),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(KEYS, st.integers()), inner, max_size=3),
        st.binary(max_size=4).map(bytearray),
    ),
    max_leaves=8,
)
ATTRIBUTES = st.one_of(st.none(), st.dictionaries(KEYS, SCALARS, max_size=6), st.dictionaries(KEYS, VALUES, max_size=6))

# upstream's own types are handed what upstream's SDK would have put into them, so nothing is cleaned on the way
RESOURCES = st.builds(
    Resource,
    st.dictionaries(NAMES, st.one_of(TEXT, I64, st.booleans()), max_size=3),
    st.one_of(st.none(), st.just("https://opentelemetry.io/schemas/1.37.0")),
)
NAMED_SCOPES = st.builds(
    InstrumentationScope,
    TEXT,
    st.one_of(st.none(), TEXT),
    st.one_of(st.none(), st.just("https://example.org/schema")),
    st.dictionaries(NAMES, st.one_of(TEXT, I64, st.booleans()), max_size=2),
)
SCOPES = st.one_of(st.none(), NAMED_SCOPES)
TRACE_STATES = st.sampled_from(
    [None, TraceState(), TraceState([("a", "1")]), TraceState([("rojo", "00f0"), ("b", "t")])]
)
CONTEXTS = st.builds(
    SpanContext,
    st.integers(0, (1 << 128) - 1),
    st.integers(0, U64),
    st.booleans(),
    st.sampled_from([TraceFlags(0), TraceFlags(1)]),
    TRACE_STATES,
)


class Thing:
    """Any object with these fields, as upstream's encoder reads them."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def get_span_context(self) -> Any:
        return self.context

    def __repr__(self) -> str:
        return f"Thing({self.__dict__!r})"


def _status(code: StatusCode, description: str | None) -> Status:
    return Status(code, description if code is StatusCode.ERROR else None)


STATUSES = st.one_of(st.none(), st.builds(_status, st.sampled_from(StatusCode), st.one_of(st.none(), TEXT)))
EVENTS = st.builds(Thing, name=TEXT, timestamp=TIMES, attributes=ATTRIBUTES, dropped_attributes=st.integers(0, U32))
LINKS = st.builds(Thing, context=CONTEXTS, attributes=ATTRIBUTES, dropped_attributes=st.integers(0, U32))
DROPPED = st.one_of(st.just(0), st.integers(0, U32))


def spans(resources: Any, scopes: Any) -> Any:
    """Spans with any legal content, of the given resources and scopes."""
    return st.builds(
        Thing,
        name=TEXT,
        context=CONTEXTS,
        parent=st.one_of(st.none(), CONTEXTS),
        kind=st.sampled_from(SpanKind),
        start_time=st.one_of(st.none(), TIMES),
        end_time=st.one_of(st.none(), TIMES),
        attributes=ATTRIBUTES,
        events=st.one_of(st.just(()), st.lists(EVENTS, max_size=3)),
        links=st.one_of(st.just(()), st.lists(LINKS, max_size=2)),
        status=STATUSES,
        resource=resources,
        instrumentation_scope=scopes,
        dropped_attributes=DROPPED,
        dropped_events=DROPPED,
        dropped_links=DROPPED,
    )


def readable_span(thing: Any) -> ReadableSpan:
    """The same span as upstream's own type, with its bounded attributes."""
    return ReadableSpan(
        name=thing.name,
        context=thing.context,
        parent=thing.parent,
        resource=thing.resource,
        attributes=thing.attributes,
        events=[Event(e.name, e.attributes, e.timestamp) for e in thing.events],
        links=[Link(link.context, link.attributes) for link in thing.links],
        kind=thing.kind,
        status=thing.status or Status(),
        start_time=thing.start_time,
        end_time=thing.end_time,
        instrumentation_scope=thing.instrumentation_scope,
    )


@st.composite
def batches(draw: Any, items: Any) -> list[Any]:
    """Up to 12 items of at most two resources and three scopes, mixed."""
    resources = st.sampled_from(_distinct(draw(st.lists(RESOURCES, min_size=1, max_size=2)), _resource_key))
    scopes = st.sampled_from(_distinct(draw(st.lists(SCOPES, min_size=1, max_size=3)), _scope_key))
    return list(draw(st.lists(items(resources, scopes), max_size=12)))


def _distinct(things: list[Any], key: Any) -> list[Any]:
    return list({key(thing): thing for thing in things}.values())


def _resource_key(resource: Resource) -> Any:
    # upstream takes 1, True and 1.0 for the same resource; what is equal for one encoder has to be for the other
    return (tuple(sorted((key, str(value)) for key, value in resource.attributes.items())), resource.schema_url)


def _scope_key(scope: InstrumentationScope | None) -> Any:
    # no scope, and one of empty fields, are the same bytes: one group for ours, two for upstream's
    return ("", "", "") if scope is None else (scope.name, scope.version or "", scope.schema_url or "")


NUMBERS = st.one_of(I64, DOUBLES)
EXEMPLARS = st.lists(
    st.builds(
        Exemplar,
        filtered_attributes=ATTRIBUTES,
        value=NUMBERS,
        time_unix_nano=TIMES,
        span_id=st.one_of(st.none(), st.integers(0, U64)),
        trace_id=st.one_of(st.none(), st.integers(0, (1 << 128) - 1)),
    ),
    max_size=2,
)
NUMBER_POINTS = st.builds(
    NumberDataPoint,
    attributes=ATTRIBUTES,
    start_time_unix_nano=st.one_of(st.none(), TIMES),
    time_unix_nano=TIMES,
    value=NUMBERS,
    exemplars=EXEMPLARS,
)
HISTOGRAM_POINTS = st.builds(
    HistogramDataPoint,
    attributes=ATTRIBUTES,
    start_time_unix_nano=TIMES,
    time_unix_nano=TIMES,
    count=COUNTS,
    sum=st.one_of(st.integers(-(1 << 53), 1 << 53), DOUBLES),
    bucket_counts=st.lists(COUNTS, max_size=5),
    explicit_bounds=st.lists(DOUBLES, max_size=4),
    min=st.one_of(st.none(), DOUBLES),
    max=st.one_of(st.none(), DOUBLES),
    exemplars=EXEMPLARS,
)
BUCKETS = st.builds(Buckets, offset=I32, bucket_counts=st.lists(COUNTS, max_size=5))
EXPONENTIAL_POINTS = st.builds(
    ExponentialHistogramDataPoint,
    attributes=ATTRIBUTES,
    start_time_unix_nano=TIMES,
    time_unix_nano=TIMES,
    count=COUNTS,
    sum=DOUBLES,
    scale=I32,
    zero_count=COUNTS,
    positive=BUCKETS,
    negative=BUCKETS,
    flags=st.integers(0, U32),
    min=st.one_of(st.none(), DOUBLES),
    max=st.one_of(st.none(), DOUBLES),
    exemplars=EXEMPLARS,
)
TEMPORALITIES = st.sampled_from(AggregationTemporality)
DATA = st.one_of(
    st.builds(Sum, st.lists(NUMBER_POINTS, max_size=3), TEMPORALITIES, st.booleans()),
    st.builds(Gauge, st.lists(NUMBER_POINTS, max_size=3)),
    st.builds(Histogram, st.lists(HISTOGRAM_POINTS, max_size=3), TEMPORALITIES),
    st.builds(ExponentialHistogram, st.lists(EXPONENTIAL_POINTS, max_size=3), TEMPORALITIES),
)
METRICS = st.builds(Metric, TEXT, st.one_of(st.none(), TEXT), st.one_of(st.none(), TEXT), DATA)


@st.composite
def metrics_data(draw: Any) -> MetricsData:
    """What a reader collects: resources, each with scopes, each with metrics."""
    resources = _distinct(draw(st.lists(RESOURCES, min_size=1, max_size=2)), _resource_key)
    scopes = st.lists(NAMED_SCOPES, min_size=1, max_size=2)
    return MetricsData(
        [
            ResourceMetrics(
                resource,
                [
                    ScopeMetrics(scope, draw(st.lists(METRICS, min_size=1, max_size=4)), "")
                    for scope in _distinct(draw(scopes), _scope_key)
                ],
                "",
            )
            for resource in resources
        ]
    )


def _log_record(resource: Any, scope: Any, trace_id: int, span_id: int, **fields: Any) -> ReadableLogRecord:
    record = LogRecord(context=Context(), **fields)
    record.trace_id, record.span_id = trace_id, span_id
    return ReadableLogRecord(record, resource, scope)


def log_records(resources: Any, scopes: Any) -> Any:
    """Log records with any legal content, of the given resources and scopes."""
    return st.builds(
        _log_record,
        resource=resources,
        scope=scopes,
        trace_id=st.one_of(st.just(0), st.integers(0, (1 << 128) - 1)),
        span_id=st.one_of(st.just(0), st.integers(0, U64)),
        timestamp=st.one_of(st.none(), TIMES),
        observed_timestamp=st.one_of(st.none(), TIMES),
        trace_flags=st.sampled_from([TraceFlags(0), TraceFlags(1)]),
        severity_text=st.one_of(st.none(), TEXT),
        severity_number=st.one_of(st.none(), st.sampled_from(SeverityNumber)),
        body=VALUES,
        attributes=ATTRIBUTES,
        event_name=st.one_of(st.none(), TEXT),
    )
