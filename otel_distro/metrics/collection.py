"""From cells to upstream's `MetricsData`, for one reader: its temporality, its aggregation, its view of exemplars.

Cells are cumulative; a reader that wants differences keeps what it read before.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from time import monotonic
from typing import Any, cast

from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_distro import _compat_metrics as _compat

from .exponential import Buckets, ExponentialSeries, ExponentialValue
from .identity import InstrumentKind, Kind
from .instruments import LeanInstrument
from .series import HistogramSeries, LastSeries, Series, SumSeries
from .stream import Stream
from .views import Viewer

_DELTA = AggregationTemporality.DELTA


class Collection:
    """What one reader has read, and what it gets next.

    Args:
        reader: upstream's.
        viewer: tells which of an instrument's streams are the reader's.
    """

    def __init__(self, reader: MetricReader, viewer: Viewer) -> None:
        self._reader = reader
        self._viewer = viewer
        self._last = self._after = 0
        self._read = 0.0
        self._before: dict[Series, Any] = {}

    def collect(self, instruments: Iterable[LeanInstrument], resource: Resource, now: int) -> sdk.MetricsData | None:
        """Everything the reader wants to know at `now` (ns since the epoch); None when there is nothing.

        Args:
            instruments: of all meters, in order of creation.
            resource: that the numbers belong to.
            now: the time of all points.
        """
        read = monotonic()
        # where the clock was set back since, nothing would be younger than the last collection for a long time
        self._after = self._last if self._last <= now else 0
        self._last = min(self._last, now)
        scopes: dict[InstrumentationScope, list[sdk.Metric]] = {}
        for instrument in instruments:
            temporality = _compat.reader_temporality(self._reader, instrument.binder.origin.kind.value)
            for stream in self._streams(instrument):
                metric = self._metric(stream, temporality, now)
                if metric is not None:
                    scopes.setdefault(instrument.instrumentation_scope, []).append(metric)
        self._last, self._read = now, read
        if not scopes:
            return None
        parts = [sdk.ScopeMetrics(scope, metrics, scope.schema_url or "") for scope, metrics in scopes.items()]
        return sdk.MetricsData([sdk.ResourceMetrics(resource, parts, resource.schema_url)])

    def forget(self) -> None:
        """In a forked child: nothing has been read."""
        self._last, self._read = 0, 0.0
        self._before.clear()

    def _streams(self, instrument: LeanInstrument) -> Iterable[Stream]:
        origin = instrument.binder.origin
        for streams in instrument.binder.views:
            wanted = self._viewer.wanted(streams.view, origin, self.prefers)
            if wanted in streams.streams:
                yield streams.streams[wanted]

    def prefers(self, kind: InstrumentKind) -> Any:
        """The aggregation the reader wants for instruments of `kind`."""
        return _compat.reader_aggregation(self._reader, kind.value)

    def _metric(self, stream: Stream, temporality: AggregationTemporality, now: int) -> sdk.Metric | None:
        identity = stream.identity
        point = {
            Kind.SUM: self._sum,
            Kind.GAUGE: self._gauge,
            Kind.HISTOGRAM: self._histogram,
            Kind.EXPONENTIAL: self._exponential,
        }[identity.kind]
        points: list[Any] = [p for s in stream.all() if (p := point(s, temporality is _DELTA, now)) is not None]
        if not points:
            return None
        data: sdk.DataT
        if identity.kind is Kind.SUM:
            data = sdk.Sum(points, temporality, identity.monotonic)
        elif identity.kind is Kind.GAUGE:
            data = sdk.Gauge(points)
        elif identity.kind is Kind.HISTOGRAM:
            data = sdk.Histogram(points, temporality)
        else:
            data = sdk.ExponentialHistogram(points, temporality)
        return sdk.Metric(identity.name, identity.description, identity.unit, data)

    def _start(self, series: Series, now: int, *, delta: bool) -> int:
        # where the clock was set back: no point ends before it starts, and all later ones say the same start
        series.started = min(series.started, now)
        return max(series.started, self._last) if delta else series.started

    def _sum(self, series: Series, delta: bool, now: int) -> sdk.NumberDataPoint | None:
        assert isinstance(series, (SumSeries, LastSeries))  # noqa: S101 - narrows the type
        value = series.value()
        if value is None:
            return None
        if delta:
            before = self._before.get(series, 0.0)
            self._before[series] = value
            value -= before
            if not value and isinstance(series, SumSeries):
                return None
        number = value if series.stream.floating else int(value)
        start = self._start(series, now, delta=delta)
        return sdk.NumberDataPoint(series.attributes, start, now, number, series.exemplars(self._after))

    def _gauge(self, series: Series, delta: bool, now: int) -> sdk.NumberDataPoint | None:
        assert isinstance(series, LastSeries)  # noqa: S101 - narrows the type
        value = series.value()
        if value is None or (delta and series.seen() <= self._read):
            return None
        number = value if series.stream.floating else int(value)
        # a gauge has no start: upstream says None although its type says int
        return sdk.NumberDataPoint(series.attributes, cast("int", None), now, number, series.exemplars(self._after))

    def _histogram(self, series: Series, delta: bool, now: int) -> sdk.HistogramDataPoint | None:
        assert isinstance(series, HistogramSeries)  # noqa: S101 - narrows the type
        values = series.value()
        low, high = series.take_extremes(self) if delta else series.extremes()
        if delta:
            before = self._before.get(series)
            self._before[series] = values
            if before is not None:
                values = tuple(a - b for a, b in zip(values, before, strict=True))
        counts = tuple(map(int, values[1:]))
        count = sum(counts)
        if delta and not count:
            return None
        if not series.stream.aggregation.min_max:
            low, high = inf, -inf
        return sdk.HistogramDataPoint(
            attributes=series.attributes,
            start_time_unix_nano=self._start(series, now, delta=delta),
            time_unix_nano=now,
            count=count,
            sum=values[0],
            bucket_counts=counts,
            explicit_bounds=series.stream.identity.bounds,
            min=low,
            max=high,
            exemplars=series.exemplars(self._after),
        )

    def _exponential(self, series: Series, delta: bool, now: int) -> sdk.ExponentialHistogramDataPoint | None:
        assert isinstance(series, ExponentialSeries)  # noqa: S101 - narrows the type
        value = series.value()
        low, high = series.take_extremes(self) if delta else series.extremes()
        if delta:
            before: ExponentialValue | None = self._before.get(series)
            self._before[series] = value
            if before is not None:
                value = value.combined(before, series.stream.identity.max_size, sign=-1)
            if not value.count:
                return None
        if not series.stream.aggregation.min_max:
            low, high = inf, -inf
        return sdk.ExponentialHistogramDataPoint(
            attributes=series.attributes,
            start_time_unix_nano=self._start(series, now, delta=delta),
            time_unix_nano=now,
            count=value.count,
            sum=value.sum,
            scale=value.scale,
            zero_count=value.zeros,
            positive=_buckets(value.positive),
            negative=_buckets(value.negative),
            flags=0,
            min=low,
            max=high,
            exemplars=series.exemplars(self._after),
        )


def _buckets(buckets: Buckets) -> Any:
    return sdk.Buckets(buckets.offset, buckets.counts)
