"""Meters: make instruments, each once, and never raise for what a caller asks."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from opentelemetry.metrics import Meter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_distro.guard import Guard
from otel_distro.records import dataclass, field

from . import aggregation, instruments
from .identity import InstrumentKind
from .instruments import Binder, LeanInstrument, LeanObservable
from .views import Origin, Preference, Viewer

_NAME = re.compile(r"[A-Za-z][-_./A-Za-z0-9]{0,254}")  # API specification, "Instrument name syntax"
_UNIT = re.compile(r"[\x00-\x7f]{0,63}")

T = TypeVar("T", bound=LeanInstrument)


@dataclass(slots=True)
class Workshop:
    """What meters need of their provider; a forked child replaces the lock.

    Args:
        viewer: makes streams.
        guard: gets warnings.
        preferences: of the readers so far, never empty.
        made: called with each new instrument, under the lock.
        wants: tells by the scope's and the instrument's name whether it measures at all.
        lock: held while an instrument is made or a reader is added.
    """

    viewer: Viewer
    guard: Guard
    preferences: Callable[[], list[Preference]]
    made: Callable[[LeanInstrument], None]
    wants: Callable[[str, str], bool]
    lock: threading.RLock = field(default_factory=threading.RLock)


class LeanMeter(Meter):
    """See `opentelemetry.metrics.Meter`; its instruments have `series(attributes)` besides.

    Args:
        scope: that the instruments belong to.
        workshop: of the provider.
    """

    def __init__(self, scope: InstrumentationScope, workshop: Workshop) -> None:
        super().__init__(scope.name, scope.version, scope.schema_url)
        self.scope = scope
        self._workshop = workshop
        self._made: dict[tuple[Any, ...], LeanInstrument] = {}
        self._names: dict[str, tuple[Any, ...]] = {}

    def create_counter(self, name: str, unit: str = "", description: str = "") -> instruments.LeanCounter:
        """See `opentelemetry.metrics.Meter.create_counter`."""
        return self._create(instruments.LeanCounter, InstrumentKind.COUNTER, name, unit, description)

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> instruments.LeanUpDownCounter:
        """See `opentelemetry.metrics.Meter.create_up_down_counter`."""
        return self._create(instruments.LeanUpDownCounter, InstrumentKind.UP_DOWN_COUNTER, name, unit, description)

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> instruments.LeanHistogram:
        """See `opentelemetry.metrics.Meter.create_histogram`; unusable bounds are ignored with a warning."""
        bounds = None
        if explicit_bucket_boundaries_advisory is not None:
            try:
                bounds = aggregation.explicit(explicit_bucket_boundaries_advisory).bounds
            except (TypeError, ValueError, OverflowError) as error:
                self._workshop.guard.failed(
                    f"metrics: advised buckets of {name}", error, remedy="default ones are used"
                )
        return self._create(instruments.LeanHistogram, InstrumentKind.HISTOGRAM, name, unit, description, bounds=bounds)

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> instruments.LeanGauge:
        """See `opentelemetry.metrics.Meter.create_gauge`."""
        return self._create(instruments.LeanGauge, InstrumentKind.GAUGE, name, unit, description)

    def create_observable_counter(
        self, name: str, callbacks: Sequence[Any] | None = None, unit: str = "", description: str = ""
    ) -> instruments.LeanObservableCounter:
        """See `opentelemetry.metrics.Meter.create_observable_counter`."""
        kind = InstrumentKind.OBSERVABLE_COUNTER
        return self._create(instruments.LeanObservableCounter, kind, name, unit, description, callbacks=callbacks)

    def create_observable_up_down_counter(
        self, name: str, callbacks: Sequence[Any] | None = None, unit: str = "", description: str = ""
    ) -> instruments.LeanObservableUpDownCounter:
        """See `opentelemetry.metrics.Meter.create_observable_up_down_counter`."""
        kind = InstrumentKind.OBSERVABLE_UP_DOWN_COUNTER
        return self._create(instruments.LeanObservableUpDownCounter, kind, name, unit, description, callbacks=callbacks)

    def create_observable_gauge(
        self, name: str, callbacks: Sequence[Any] | None = None, unit: str = "", description: str = ""
    ) -> instruments.LeanObservableGauge:
        """See `opentelemetry.metrics.Meter.create_observable_gauge`."""
        kind = InstrumentKind.OBSERVABLE_GAUGE
        return self._create(instruments.LeanObservableGauge, kind, name, unit, description, callbacks=callbacks)

    def _create(
        self,
        cls: type[T],
        kind: InstrumentKind,
        name: str,
        unit: str,
        description: str,
        *,
        bounds: tuple[float, ...] | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> T:
        unit, description = unit or "", description or ""
        valid = self._valid(name, unit) and self._workshop.wants(self.scope.name, name.lower())
        with self._workshop.lock:
            key = (str(name).lower(), kind, unit, description)
            found = self._made.get(key)
            if isinstance(found, cls):
                if found.binder.origin.bounds != bounds:
                    self._warn(name, "the bucket bounds of the first are used")
                return found
            if valid and self._names.setdefault(key[0], key) != key:
                self._warn(name, "both are exported, under one name")
            made = cls(self.scope, str(name), unit, description)
            made.use(self._binder(Origin(made, kind, bounds), valid=valid))
            if callbacks is not None and isinstance(made, LeanObservable):
                self._workshop.guard.call(f"metrics: callbacks of {name}", None, made.call, callbacks)
            if valid:
                self._made[key] = made
                self._workshop.made(made)
            return made

    def _binder(self, origin: Origin, *, valid: bool) -> Binder:
        """The binder of an instrument; one that is not wanted or has an impossible name forgets its measurements."""
        preferences = self._workshop.preferences() if valid else []
        return Binder(origin, self._workshop.viewer if valid else None, preferences, self._workshop.guard)

    def _valid(self, name: object, unit: object) -> bool:
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            what = "a name is a letter and up to 254 letters, digits, or _ . - /"
        elif not isinstance(unit, str) or _UNIT.fullmatch(unit) is None:
            what = f"its unit {unit!r:.40} is not ASCII of at most 63 characters"
        else:
            return True
        self._workshop.guard.failed(f"metrics: instrument {name!r:.80}", what, remedy="it measures nothing")
        return False

    def _warn(self, name: str, outcome: str) -> None:
        self._workshop.guard.warn(
            f"metrics: instrument {name} of {self.scope.name} was created before with other properties; {outcome}",
            once=f"duplicate {self.scope.name} {name}",
        )
