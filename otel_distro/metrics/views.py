"""From an instrument to its streams: views, the readers' preferences, and how several processes' values become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from opentelemetry.metrics import Instrument
from opentelemetry.sdk.metrics import view as upstream
from opentelemetry.sdk.metrics.view import View

from otel_distro import _compat_metrics as _compat
from otel_distro._compat_metrics import InstrumentKind
from otel_distro.guard import Guard
from otel_distro.records import dataclass, field

from .aggregation import DROP, LAST, SUM, Aggregation, explicit, exponential
from .identity import Kind, Merge, StreamIdentity
from .series import LARGEST
from .stream import Means, Stream

OBSERVED = frozenset(
    {InstrumentKind.OBSERVABLE_COUNTER, InstrumentKind.OBSERVABLE_UP_DOWN_COUNTER, InstrumentKind.OBSERVABLE_GAUGE}
)
_MONOTONIC = frozenset({InstrumentKind.COUNTER, InstrumentKind.OBSERVABLE_COUNTER})
_GAUGES = frozenset({InstrumentKind.GAUGE, InstrumentKind.OBSERVABLE_GAUGE})
_NOT_NEGATIVE = frozenset({InstrumentKind.COUNTER, InstrumentKind.HISTOGRAM})
_HOST_LEVEL = ("system.", "host.", "hw.", "container.", "k8s.")

_SIMPLE: Final[Mapping[type[upstream.Aggregation], Aggregation]] = {
    upstream.DropAggregation: DROP,
    upstream.SumAggregation: SUM,
    upstream.LastValueAggregation: LAST,
}

Preference = Callable[[InstrumentKind], upstream.Aggregation]


@dataclass(frozen=True, slots=True)
class Origin:
    """The facts of an instrument that its streams need.

    Args:
        instrument: to match views with; has `name`, `unit`, `description` and `instrumentation_scope`.
        kind: of the instrument.
        bounds: advised bucket bounds, if any.
    """

    instrument: Any
    kind: InstrumentKind
    bounds: tuple[float, ...] | None = None

    @property
    def low(self) -> float:
        """The smallest value that may be measured."""
        return 0.0 if self.kind in _NOT_NEGATIVE else -LARGEST


@dataclass(slots=True)
class ViewStreams:
    """What one view (or none) makes of one instrument: the same attributes, in one or more aggregations.

    Args:
        keys: attributes that are kept; None keeps all.
        view: None when no view matched.
        streams: by aggregation; the first gets the measurements and hands them to the others.
    """

    keys: frozenset[str] | None
    view: View | None
    streams: dict[Aggregation, Stream] = field(default_factory=dict)

    @property
    def first(self) -> Stream:
        """The stream that measurements go to."""
        return next(iter(self.streams.values()))


def merge_rule(kind: InstrumentKind, name: str) -> Merge:
    """How values of several processes become one: no sum of gauges, nor of what the host reports to each process."""
    if kind in _GAUGES:
        return Merge.LAST
    if kind in OBSERVED and name.startswith(_HOST_LEVEL):
        return Merge.MAX
    return Merge.SUM


def resolve(wanted: upstream.Aggregation, origin: Origin) -> Aggregation:
    """Our aggregation for upstream's.

    Args:
        wanted: of a view or a reader.
        origin: decides what the default is, and advises bounds.

    Raises:
        ValueError: the aggregation is of an unknown class, has impossible parameters or does not suit the instrument.
    """
    for cls, simple in _SIMPLE.items():
        if isinstance(wanted, cls):
            return simple
    if isinstance(wanted, upstream.DefaultAggregation):
        return _default(origin)
    parts = _compat.aggregation_parameters(wanted)
    if origin.kind in OBSERVED:
        raise ValueError("observable instruments cannot be aggregated into histograms")
    if isinstance(wanted, upstream.ExplicitBucketHistogramAggregation):
        bounds = parts["boundaries"]
        return explicit(origin.bounds if bounds is None else bounds, min_max=parts["record_min_max"])
    if isinstance(wanted, upstream.ExponentialBucketHistogramAggregation):
        return exponential(parts["max_size"], parts["max_scale"], min_max=parts["record_min_max"])
    raise ValueError(f"unknown aggregation {type(wanted).__name__}")


def _default(origin: Origin) -> Aggregation:
    """Specification, "Default aggregation"."""
    if origin.kind is InstrumentKind.HISTOGRAM:
        return explicit(origin.bounds)
    return LAST if origin.kind in _GAUGES else SUM


class Viewer:
    """Makes the streams of instruments.

    Args:
        views: upstream's, in order.
        means: what the streams work with.
        merges: rules by stream name that differ from `merge_rule`.
    """

    def __init__(self, views: Sequence[View], means: Means, merges: Mapping[str, Merge]) -> None:
        self._views = tuple(views)
        self._means = means
        self._merges = merges

    def streams(self, origin: Origin, preferences: Sequence[Preference]) -> list[ViewStreams]:
        """One entry a matching view, or one for no view; what is dropped has no stream in it.

        Args:
            origin: the instrument.
            preferences: of the readers, at least one; the first decides which cells get the measurements.
        """
        matching: list[View | None] = [view for view in self._views if self._suits(view, origin)]
        return [self._one(view, origin, preferences) for view in matching or [None]]

    def extend(self, streams: ViewStreams, origin: Origin, preference: Preference) -> None:
        """Add what another reader prefers, when it is not there yet."""
        wanted = self.wanted(streams.view, origin, preference)
        if wanted.kind is None or wanted in streams.streams:
            return
        stream = self._stream(streams.view, origin, wanted, scraped=not streams.streams)
        if streams.streams:
            streams.first.add_other(stream)
        streams.streams[wanted] = stream

    def wanted(self, view: View | None, origin: Origin, preference: Preference) -> Aggregation:
        """The aggregation of a stream for a reader: the view's, or the reader's where the view leaves it open."""
        chosen = upstream.DefaultAggregation() if view is None else _compat.view_parameters(view).aggregation
        if isinstance(chosen, upstream.DefaultAggregation):
            chosen = preference(origin.kind)
        try:
            return resolve(chosen, origin)
        except ValueError as error:
            self._guard.failed(f"view on {origin.instrument.name}", error, remedy="the default aggregation is used")
            return _default(origin)

    @property
    def _guard(self) -> Guard:
        return self._means.guard

    def _suits(self, view: View, origin: Origin) -> bool:
        instrument: Instrument = origin.instrument
        if not self._guard.call("view", False, _compat.view_matches, view, instrument):
            return False
        histograms = (upstream.ExplicitBucketHistogramAggregation, upstream.ExponentialBucketHistogramAggregation)
        if origin.kind in OBSERVED and isinstance(_compat.view_parameters(view).aggregation, histograms):
            self._guard.failed(
                f"view on {origin.instrument.name}",
                "observable instruments cannot be aggregated into histograms",
                remedy="the view is not applied",
            )
            return False
        return True

    def _one(self, view: View | None, origin: Origin, preferences: Sequence[Preference]) -> ViewStreams:
        keys = None if view is None else _compat.view_parameters(view).attribute_keys
        made = ViewStreams(None if keys is None else frozenset(keys), view)
        for preference in preferences:
            self.extend(made, origin, preference)
        return made

    def _stream(self, view: View | None, origin: Origin, aggregation: Aggregation, *, scraped: bool) -> Stream:
        instrument = origin.instrument
        name, description = instrument.name, instrument.description
        if view is not None:
            parts = _compat.view_parameters(view)
            name, description = parts.name or name, parts.description or description
        assert aggregation.kind is not None  # noqa: S101 - narrows the type; `extend` has looked
        identity = StreamIdentity(
            instrument.instrumentation_scope,
            name,
            instrument.unit,
            description,
            aggregation.kind,
            monotonic=aggregation.kind is Kind.SUM and origin.kind in _MONOTONIC,
            observed=origin.kind in OBSERVED,
            bounds=aggregation.bounds,
            max_size=aggregation.max_size,
            merge=self._merges.get(name) or merge_rule(origin.kind, instrument.name),
        )
        return Stream(identity, aggregation, self._means, origin.low, scraped=scraped)
