"""Instruments, with a measurement that costs a dictionary lookup and a cell; see `adopted` for upstream's classes.

A call with attributes that were seen before finds its series by their names and values. Where those are not all strings
the types are compared too, because True, 1 and 1.0 are one key to Python and three to OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, Final, Self

from opentelemetry.context import Context
from opentelemetry.metrics import (
    CallbackOptions,
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    Observation,
    UpDownCounter,
)
from opentelemetry.metrics import _Gauge as Gauge  # upstream's own public spelling
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Span, get_current_span

from otel_distro._compat import SPAN_KEY, context_variable
from otel_distro.guard import Guard, let_through

from .identity import clean
from .series import LARGEST, NOTHING, NullSeries, Series, plain
from .stream import refused, unmeasured
from .views import Origin, Preference, Viewer, ViewStreams

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_KNOWN: Final = 8192  # remembered spellings of attributes an instrument; more are looked up the long way
_NULL: Final = NullSeries()
_current: Final = context_variable()

Attributes = Mapping[str, Any] | None
Callback = Callable[[CallbackOptions], Iterable[Observation]]


class FanOut(Series):
    """Hands one measurement to several views' series, or to one with the attributes that its view took away.

    Args:
        parts: each series with the attributes it dropped.
        attributes: of the measurement.
    """

    __slots__ = ("_parts",)

    def __init__(self, parts: tuple[tuple[Series, Mapping[str, Any]], ...], attributes: Mapping[str, Any]) -> None:
        self._parts = parts
        self.attributes = attributes
        self.also = ()
        self.started = parts[0][0].started

    def measure(
        self,
        value: float,
        span: Span | None = None,
        dropped: Mapping[str, Any] = NOTHING,
        moment: float | None = None,
    ) -> None:
        """See `Series.measure`."""
        for series, taken_away in self._parts:
            series.measure(value, span, taken_away, moment)

    add = record = set = measure

    @property
    def waits(self) -> bool:
        """See `Series.waits`."""
        return all(series.waits for series, _ in self._parts)

    @property
    def overflows(self) -> bool:
        """See `Series.overflows`."""
        return any(series.overflows for series, _ in self._parts)

    def observe(self, value: float, number: int) -> None:
        """See `Series.observe`."""
        for series, _ in self._parts:
            series.observe(value, number)


class Binder:
    """From attributes to series, for one instrument.

    Args:
        origin: the instrument.
        viewer: makes its streams; None for an instrument that measures nothing.
        preferences: of the readers.
        guard: gets failures.
    """

    __slots__ = ("_viewer", "guard", "known", "origin", "views")

    def __init__(self, origin: Origin, viewer: Viewer | None, preferences: Sequence[Preference], guard: Guard) -> None:
        self.origin = origin
        self.guard = guard
        self.known: dict[tuple[Any, ...], tuple[Series, list[tuple[str, type]] | None]] = {}
        self._viewer = viewer
        self.views: list[ViewStreams] = [] if viewer is None else viewer.streams(origin, preferences)

    def extend(self, preference: Preference) -> None:
        """Serve one more reader."""
        if self._viewer is None:
            return
        for streams in self.views:
            self._viewer.extend(streams, self.origin, preference)
        self.known.clear()

    def series(self, attributes: Attributes) -> Series:
        """The series of `attributes`, which may be of any type; never raises for what they contain."""
        given: object = attributes or NOTHING
        if not isinstance(given, Mapping):
            self.guard.warn(
                f"metrics: attributes of {self.origin.instrument.name} are a {type(given).__name__}, not a mapping; "
                "the measurement is taken without them",
                once=f"attributes {self.origin.instrument.name}",
            )
            return self._make(NOTHING)
        series = self._make(clean(given, self.guard))
        self._remember(given, series)
        return series

    def _make(self, attributes: Mapping[str, Any]) -> Series:
        parts = tuple(self._part(streams, attributes) for streams in self.views if streams.streams)
        if not parts:
            return _NULL
        return parts[0][0] if len(parts) == 1 and not parts[0][1] else FanOut(parts, attributes)

    def _remember(self, attributes: Mapping[str, Any], series: Series) -> None:
        """Keep this spelling of the attributes for the next call, where that is exact and there is room."""
        # of keys only the text is exact: 1, 1.0 and True are one to a dictionary
        if not all(isinstance(name, str) for name in attributes):
            return
        types = [*map(type, attributes.values())]
        if len(self.known) < _KNOWN and _PLAIN.issuperset(types) and not series.overflows:
            others = [(name, kind) for name, kind in zip(attributes, types, strict=True) if kind is not str]
            self.known.setdefault((*attributes, *attributes.values()), (series, others or None))

    @staticmethod
    def _part(streams: ViewStreams, attributes: Mapping[str, Any]) -> tuple[Series, Mapping[str, Any]]:
        keys = streams.keys
        if keys is None or not attributes:
            return streams.first.series(attributes), NOTHING
        kept = {name: value for name, value in attributes.items() if name in keys}
        dropped = {name: value for name, value in attributes.items() if name not in keys}
        return streams.first.series(kept), dropped


class LeanInstrument:
    """What all our instruments have; the API's classes give the types.

    Args:
        scope: the instrumentation scope.
        name: valid, in the case that was asked for.
        unit: UCUM.
        description: for people.
    """

    name: str
    unit: str
    description: str
    instrumentation_scope: InstrumentationScope
    binder: Binder

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Upstream's `__new__` is untyped and refuses only its own abstract classes."""
        return object.__new__(cls)

    def __init__(self, scope: InstrumentationScope, name: str, unit: str, description: str) -> None:
        # not upstream's constructor: it would want upstream's storage
        self.instrumentation_scope = scope
        self.name = name.lower()
        self.unit = unit
        self.description = description

    def use(self, binder: Binder) -> None:
        """Take measurements by `binder`."""
        self.binder = binder
        self._known = binder.known

    def series(self, attributes: Mapping[str, Any]) -> Series:
        """The series of `attributes`, for callers that measure often: keep it, per set of attributes.

        It stays valid for the life of the process, in forked children too. A caller that keeps one per value it is
        given has to bound them itself.

        Args:
            attributes: of all measurements through the result.
        """
        return self.binder.series(attributes)

    def take(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        """Take one measurement; never raises.

        Args:
            amount: finite, and not negative on counters and histograms; anything else is ignored with one warning.
            attributes: of the measurement.
            context: whose span an exemplar names; None for the current one.
        """
        try:
            # a flat key hashes faster than pairs: all names, then all values
            series, types = self._known[(*attributes, *attributes.values())] if attributes else self._known[()]
            if types is not None:
                for name, kind in types:
                    if attributes[name].__class__ is not kind:  # type: ignore[index]
                        raise KeyError  # noqa: TRY301 - True, 1 and 1.0 collide here only
            span = (_current.get() if context is None else context).get(SPAN_KEY)
        except Exception as error:  # noqa: BLE001 - first use, or an argument that the long way explains
            if error.__class__ is not KeyError:
                let_through(error)
            self._take_new(amount, attributes, context)
            return
        try:
            series.measure(amount, span)  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 - whatever an application passes must not fail the application
            unmeasured(self.binder.guard, f"metrics: instrument {self.name}", amount, error)

    def _take_new(self, amount: Any, attributes: Attributes, context: Context | None) -> None:
        binder = self.binder
        try:
            if amount.__class__ is not float and amount.__class__ is not int:
                amount = plain(amount)
            if not binder.origin.low <= amount <= LARGEST:
                refused(binder.guard, self.name, amount)
                return
            binder.series(attributes).measure(amount, get_current_span(context))
        except Exception as error:  # noqa: BLE001 - as above
            unmeasured(binder.guard, f"metrics: instrument {self.name}", amount, error)


class LeanCounter(LeanInstrument, Counter):
    """See `opentelemetry.metrics.Counter`; made by `LeanMeter`."""

    add = LeanInstrument.take  # pyright: ignore[reportAssignmentType] - of our class, which each of these is


class LeanUpDownCounter(LeanInstrument, UpDownCounter):
    """See `opentelemetry.metrics.UpDownCounter`; made by `LeanMeter`."""

    add = LeanInstrument.take  # pyright: ignore[reportAssignmentType] - of our class, which each of these is


class LeanHistogram(LeanInstrument, Histogram):
    """See `opentelemetry.metrics.Histogram`; made by `LeanMeter`."""

    record = LeanInstrument.take  # pyright: ignore[reportAssignmentType] - of our class, which each of these is


class LeanGauge(LeanInstrument, Gauge):
    """See `opentelemetry.metrics.Meter.create_gauge`; made by `LeanMeter`."""

    set = LeanInstrument.take  # pyright: ignore[reportAssignmentType] - of our class, which each of these is


class LeanObservable(LeanInstrument):
    """Instruments whose values come from callbacks, at collection."""

    _senders: tuple[Callback, ...] = ()

    def call(self, callbacks: Sequence[Callback | Generator[Iterable[Observation], CallbackOptions, None]]) -> None:
        """Use these callbacks: functions, or generators that are sent the options."""
        self._senders = tuple(_sender(c) if isinstance(c, Generator) else c for c in callbacks)

    def observe(self, options: CallbackOptions, number: int) -> None:
        """Run the callbacks for collection `number`; one that fails costs its own values only, as does a value."""
        binder = self.binder
        for callback in self._senders:
            try:
                for observation in callback(options):
                    try:
                        binder.series(observation.attributes).observe(observation.value, number)
                    except Exception as error:  # noqa: BLE001 - as in `take`
                        value: Any = getattr(observation, "value", observation)
                        unmeasured(binder.guard, f"metrics: instrument {self.name}", value, error)
            except BaseException as error:  # the specification asks to guard callbacks
                if not _is_its_own(error):
                    raise
                binder.guard.failed(f"metrics: callback of {self.name}", error)
        for streams in binder.views:
            for stream in streams.streams.values():
                stream.forget_unobserved(number)


class LeanObservableCounter(LeanObservable, ObservableCounter):
    """See `opentelemetry.metrics.ObservableCounter`; made by `LeanMeter`."""


class LeanObservableUpDownCounter(LeanObservable, ObservableUpDownCounter):
    """See `opentelemetry.metrics.ObservableUpDownCounter`; made by `LeanMeter`."""


class LeanObservableGauge(LeanObservable, ObservableGauge):
    """See `opentelemetry.metrics.ObservableGauge`; made by `LeanMeter`."""


def _is_its_own(error: BaseException) -> bool:
    """Whether a callback has failed, and nobody wants to end the thread that runs it (Ctrl-C, gevent's `kill`).

    `sys.exit()`, and the `CancelledError` that the result of a cancelled task raises, would end the thread that answers
    scrapes.
    """
    if isinstance(error, (Exception, SystemExit)):
        return True
    from asyncio import CancelledError  # late: who measures need not have it

    return isinstance(error, CancelledError)


def _sender(generator: Generator[Iterable[Observation], CallbackOptions, None]) -> Callback:
    """A generator as a callback; it runs to its first `yield` now (API specification, asynchronous instruments)."""
    next(generator)

    def send(options: CallbackOptions) -> Iterable[Observation]:
        try:
            return generator.send(options)
        except StopIteration:
            return ()

    return send
