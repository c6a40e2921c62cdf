"""What a metric stream is: the facts that a reader, a scraper or another process needs to name its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_distro.attribute_keys import key_text, own_text
from otel_distro.guard import Guard
from otel_distro.records import dataclass


class Kind(Enum):
    """How the cells of a series are read."""

    SUM = "sum"
    """`[value]`, or `[value, seconds]` when observed: the time of observation, 0 while there is none."""
    GAUGE = "gauge"
    """`[value, seconds]`: the time of the last measurement, 0 while there is none."""
    HISTOGRAM = "histogram"
    """`[sum, bucket counts...]`, one count more than there are bounds."""
    EXPONENTIAL = "exponential"
    """Two banks of base-2 buckets; see `exponential`."""


class InstrumentKind(Enum):
    """The kinds of instruments that a `MetricReader` has preferences for."""

    COUNTER = "counter"
    UP_DOWN_COUNTER = "up_down_counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"
    OBSERVABLE_COUNTER = "observable_counter"
    OBSERVABLE_UP_DOWN_COUNTER = "observable_up_down_counter"
    OBSERVABLE_GAUGE = "observable_gauge"


class Merge(Enum):
    """How the values that several processes hold for one series become one."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class StreamIdentity:
    """One metric stream: an instrument as one view shows it.

    Args:
        scope: the instrumentation scope that made the instrument.
        name: of the stream, as the view or the instrument says.
        unit: UCUM, as the instrument says.
        description: as the view or the instrument says.
        kind: how cells are read.
        monotonic: a sum that never falls.
        observed: the values come from callbacks, as totals.
        bounds: of an explicit-bucket histogram.
        max_size: buckets a side of an exponential histogram.
        merge: how several processes' values become one.
    """

    scope: InstrumentationScope
    name: str
    unit: str
    description: str
    kind: Kind
    monotonic: bool = False
    observed: bool = False
    bounds: tuple[float, ...] = ()
    max_size: int = 0
    merge: Merge = Merge.SUM

    @property
    def timed(self) -> bool:
        """Whether a series has a second cell that says when its value was seen."""
        return self.kind is Kind.GAUGE or self.observed


_PLAIN = frozenset({str, bool, int, float, bytes, type(None)})
_PLAINLY: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, b"".__add__),
)
"""Types that may be subclassed, and what makes a subclass's value one of the type itself."""
_DEEPEST = 64
"""Levels of values within values, as spans have them."""


def clean(value: Any, guard: Guard, depth: int = 0) -> Any:
    """An attribute value as the data model allows it; anything else becomes its text, where it has one of its own.

    Source: OpenTelemetry specification, "Attribute": strings, booleans, numbers, bytes, null, arrays and maps of them.

    Args:
        value: anything; attributes are a mapping.
        guard: says once that a key was no text.
        depth: how deep inside other values this one is; below 64 levels only None is left.
    """
    if type(value) in _PLAIN:
        return value
    # of an enumeration's member (`HTTPStatus.OK`) the number or the text is left: it is exported as that, and two
    # series with the same attributes would be one series with two writers
    for kind, plain in _PLAINLY:
        if isinstance(value, kind):
            return plain(value)
    if depth >= _DEEPEST:
        return None
    if isinstance(value, Mapping):
        return {key: clean(v, guard, depth + 1) for k, v in value.items() if (key := key_text(k, guard))}
    if isinstance(value, Sequence):
        return tuple(clean(v, guard, depth + 1) for v in value)
    return own_text(value)


def frozen(value: Any) -> Any:
    """A hashable stand-in for a cleaned value: equal only where type and value are equal.

    It carries the type's name, because True, 1 and 1.0 are one key in Python and three values in OpenTelemetry.
    """
    if isinstance(value, tuple):
        return "sequence", tuple(frozen(v) for v in value)
    if isinstance(value, dict):
        return "mapping", tuple((k, frozen(value[k])) for k in sorted(value))
    return type(value).__name__, value


def series_key(attributes: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The identity of a series within its stream: independent of the order of the attributes."""
    return tuple((k, frozen(attributes[k])) for k in sorted(attributes))
