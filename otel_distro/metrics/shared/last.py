"""The last numbers of a process that was killed, as its own exporter would have pushed them.

Cumulative numbers may be sent twice without harm, so whoever folds a dead process sends its last ones under its own
resource. What has no meaning without its process, gauges and up-down counters, is left out; so are smallest and largest
values and exemplars, which only the process itself knew or had sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_distro.metrics import exponential
from otel_distro.metrics.identity import Kind, StreamIdentity

from . import records
from .member import Member, Place
from .merge import lasts

_CUMULATIVE = sdk.AggregationTemporality.CUMULATIVE


def last_numbers(member: Member, cells: Sequence[float], now: int) -> sdk.MetricsData | None:
    """What the process had counted when it was killed; None when there is nothing, or nobody knows whose it is.

    Args:
        member: dead, and read to its end.
        cells: of it.
        now: ns since the epoch, the time of all points, but none is earlier than its start.

    Raises:
        ValueError, TypeError, KeyError: its index is not what our processes write.
    """
    if member.resource is None:
        return None
    streams: dict[bytes, list[Place]] = {}
    for place in member.places:
        streams.setdefault(place.key[0], []).append(place)
    scopes: dict[InstrumentationScope, list[sdk.Metric]] = {}
    for description, places in streams.items():
        identity = records.identity_of(description)
        if not lasts(identity):
            continue
        points = [p for place in places if (p := _point(identity, place, cells, now)) is not None]
        if points:
            metric = sdk.Metric(identity.name, identity.description, identity.unit, _data(identity, points))
            scopes.setdefault(identity.scope, []).append(metric)
    if not scopes:
        return None
    attributes, schema_url = member.resource
    parts = [sdk.ScopeMetrics(scope, metrics, scope.schema_url or "") for scope, metrics in scopes.items()]
    return sdk.MetricsData([sdk.ResourceMetrics(Resource(attributes, schema_url), parts, schema_url)])


def _data(identity: StreamIdentity, points: list[Any]) -> sdk.DataT:
    if identity.kind is Kind.HISTOGRAM:
        return sdk.Histogram(points, _CUMULATIVE)
    if identity.kind is Kind.EXPONENTIAL:
        return sdk.ExponentialHistogram(points, _CUMULATIVE)
    return sdk.Sum(points, _CUMULATIVE, is_monotonic=True)


def _point(identity: StreamIdentity, place: Place, cells: Sequence[float], now: int) -> Any:
    attributes = records.attributes_of(place.key[1])
    mine = cells[place.at : place.at + place.size]
    started = round(place.started * 1e6) * 1000  # exactly what the process said: another start would be another series
    now = max(now, started)
    unknown = cast("float", None)  # a field that OTLP leaves out
    if identity.kind is Kind.HISTOGRAM:
        counts = tuple(map(int, mine[1:]))
        return sdk.HistogramDataPoint(
            attributes, started, now, sum(counts), mine[0], counts, identity.bounds, unknown, unknown
        )
    if identity.kind is Kind.EXPONENTIAL:
        value = exponential.decode(mine, 0, identity.max_size)
        positive, negative = (sdk.Buckets(side.offset, side.counts) for side in (value.positive, value.negative))
        return sdk.ExponentialHistogramDataPoint(
            attributes=attributes,
            start_time_unix_nano=started,
            time_unix_nano=now,
            count=value.count,
            sum=value.sum,
            scale=value.scale,
            zero_count=value.zeros,
            positive=positive,
            negative=negative,
            flags=0,
            min=unknown,
            max=unknown,
        )
    if identity.timed and not mine[1]:
        return None
    total = int(mine[0]) if mine[0].is_integer() else mine[0]
    return sdk.NumberDataPoint(attributes, started, now, total)
