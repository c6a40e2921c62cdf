"""From an instrument to its streams: views, the readers' preferences, and how several processes' values become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from otel_distro.guard import Guard
from otel_distro.records import dataclass, field

from .aggregation import LAST, SUM, Aggregation, explicit
from .identity import InstrumentKind, Kind, Merge, StreamIdentity
from .series import LARGEST
from .stream import Means, Stream

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.view import View

OBSERVED = frozenset(
    {InstrumentKind.OBSERVABLE_COUNTER, InstrumentKind.OBSERVABLE_UP_DOWN_COUNTER, InstrumentKind.OBSERVABLE_GAUGE}
)
_MONOTONIC = frozenset({InstrumentKind.COUNTER, InstrumentKind.OBSERVABLE_COUNTER})
_GAUGES = frozenset({InstrumentKind.GAUGE, InstrumentKind.OBSERVABLE_GAUGE})
_NOT_NEGATIVE = frozenset({InstrumentKind.COUNTER, InstrumentKind.HISTOGRAM})
_HOST_LEVEL = ("system.", "host.", "hw.", "container.", "k8s.")

Preference = Callable[[InstrumentKind], object | None]
"""The aggregation of upstream's that a reader wants for instruments of this kind; None for the default."""


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


def default(origin: Origin) -> Aggregation:
    """The aggregation of an instrument for which nobody wants another (specification, "Default aggregation")."""
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
        chosen = None
        if view is not None:
            from .chosen import aggregation_of  # late, as below: the metrics SDK comes along

            chosen = aggregation_of(view)
        if chosen is None:
            chosen = preference(origin.kind)
        if chosen is None:
            return default(origin)
        from .chosen import resolve

        try:
            return resolve(chosen, origin)
        except ValueError as error:
            self._guard.failed(f"view on {origin.instrument.name}", error, remedy="the default aggregation is used")
            return default(origin)

    @property
    def _guard(self) -> Guard:
        return self._means.guard

    def _suits(self, view: View, origin: Origin) -> bool:
        from otel_distro._compat_metrics import view_matches

        from .chosen import is_of_histograms

        if not self._guard.call("view", False, view_matches, view, origin.instrument):
            return False
        if origin.kind in OBSERVED and is_of_histograms(view):
            self._guard.failed(
                f"view on {origin.instrument.name}",
                "observable instruments cannot be aggregated into histograms",
                remedy="the view is not applied",
            )
            return False
        return True

    def _one(self, view: View | None, origin: Origin, preferences: Sequence[Preference]) -> ViewStreams:
        keys = None
        if view is not None:
            from .chosen import keys_of

            keys = keys_of(view)
        made = ViewStreams(keys, view)
        for preference in preferences:
            self.extend(made, origin, preference)
        return made

    def _stream(self, view: View | None, origin: Origin, aggregation: Aggregation, *, scraped: bool) -> Stream:
        instrument = origin.instrument
        name, description = instrument.name, instrument.description
        if view is not None:
            from .chosen import named

            name, description = named(view, name, description)
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
