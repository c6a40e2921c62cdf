"""Labels with a bounded number of values, and the series that a set of them leads to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics

from otel_distro._version import __version__
from otel_distro.guard import Guard

if TYPE_CHECKING:
    from otel_distro.metrics.series import Series

Label = str | bool | int | float | Enum | None
"""What a label's value may be; it is recorded as text, and None leaves the label out."""

OTHER: Final = "_OTHER"
"""Stands for every value of a label beyond the most that are told apart."""
MOST: Final = 50
"""Values of one label that one process tells apart, unless an instrument says otherwise."""
_LONGEST: Final = 200
_LABELS: Final = 16
"""Names of labels that one instrument knows."""
_SCOPE: Final = "otel_distro.measure"
_REMEMBERED: Final = 4096
"""Spellings of labels an instrument remembers; the values are few, their combinations and orders may be more."""

Take = Callable[[float], object]
"""Takes one measurement of one series."""


def meter_or(given: metrics.Meter | None) -> metrics.Meter:
    """The meter that was given, else the process's: it does nothing while no SDK runs, and works from when one does."""
    return metrics.get_meter(_SCOPE, __version__) if given is None else given


class Bounded:
    """Turns labels into series: those seen before by one look-up, the others bounded first.

    Args:
        instrument: of OpenTelemetry's.
        take: its method that takes a value and attributes.
        most: values of each label that are told apart.
        name: for the one warning.
    """

    __slots__ = ("_instrument", "_known", "_most", "_name", "_said", "_take", "_values")

    def __init__(self, instrument: Any, take: Callable[..., object], most: int, name: str) -> None:
        self._instrument = instrument
        self._take = take
        self._most = most
        self._name = name
        self._known: dict[tuple[Any, ...], Take] = {}
        self._values: dict[str, set[str]] = {}
        self._said: set[str] = set()

    def series(self, labels: Mapping[str, Label]) -> Take:
        """What takes measurements of these labels; never raises."""
        # only texts are kept as keys: True and 1 are one key to Python and two labels to people
        found = self._known.get((*labels, *labels.values()))
        return self._find(labels) if found is None else found

    def _find(self, labels: Mapping[str, Label]) -> Take:
        texts = {name: text for name, value in labels.items() if (text := text_of(value)) is not None}
        found = self._known.get((*texts, *texts.values()))
        if found is not None:
            return found
        kept = self._bounded(texts)
        key = (*kept, *kept.values())
        found = self._known.get(key)
        if found is None:
            found = bind(self._instrument, self._take, kept)
            if len(self._known) < _REMEMBERED:
                self._known[key] = found
        return found

    def _bounded(self, texts: Mapping[str, str]) -> dict[str, str]:
        kept: dict[str, str] = {}
        for name, text in texts.items():
            values = self._values.get(name)
            if values is None:
                if len(self._values) >= _LABELS:
                    continue  # names that are made up as they come are left out
                values = self._values.setdefault(name, set())
            if text in values or len(values) < self._most:
                values.add(text)
                kept[name] = text
            else:
                self._warn(name)
                kept[name] = OTHER
        return kept

    def _warn(self, label: str) -> None:
        if label not in self._said:
            self._said.add(label)
            guard = guard_of(self._instrument)
            if guard is None:
                return  # another SDK, or none: nobody listens to lines of ours
            guard.warn(
                f"metric {self._name}: label {label!r} has more than {self._most} values; further ones are counted"
                f" as {OTHER} (a label tells kinds of things apart, never users or ids; `most` raises the limit)",
            )


def text_of(value: Label) -> str | None:
    """A label's value as text; None leaves it out."""
    if type(value) is str and len(value) <= _LONGEST:
        return value
    if value is None:
        return None
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        return str(value)[:_LONGEST]
    except Exception:  # noqa: BLE001 - the application's __str__; a label is not worth an error of the application
        return OTHER


def bind(instrument: Any, take: Callable[..., object], attributes: Mapping[str, str]) -> Take:
    """What takes measurements with these attributes, by the shortest way that this instrument has.

    Args:
        instrument: ours are bound to a series, which spares the look-up and keeps exemplars.
        take: for every other: takes a value and attributes.
        attributes: of the series.
    """
    series: Callable[[Mapping[str, str]], Series] | None = getattr(instrument, "series", None)
    if series is None:
        kept = dict(attributes)
        return lambda value: take(value, kept)
    # only here: whoever has our instruments has imported the SDK
    from otel_distro._compat import SPAN_KEY, context_variable

    measure, current = series(attributes).measure, context_variable().get
    key = SPAN_KEY

    def bound(value: float) -> None:
        measure(value, current().get(key))  # type: ignore[arg-type]

    return bound


def failed(instrument: Any, name: str, error: Exception) -> None:
    """Count a failure of a measurement, and say the first; the application goes on."""
    guard = guard_of(instrument)
    if guard is not None:
        guard.failed(f"metric {name}", error)


def unmeasured(instrument: Any, name: str, value: object, error: Exception) -> None:
    """The same of a measurement that was given `value`, which may be neither int nor float."""
    guard = guard_of(instrument)
    if guard is not None:
        # as above: it is imported
        from otel_distro.metrics import stream

        stream.unmeasured(guard, f"metric {name}", value, error)


def guard_of(instrument: Any) -> Guard | None:
    """The distro's guard; None where another SDK runs, or none."""
    guard = getattr(getattr(instrument, "binder", None), "guard", None)
    return guard if isinstance(guard, Guard) else None
