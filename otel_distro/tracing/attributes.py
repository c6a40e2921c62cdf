"""What may be an attribute, and how many there may be.

Values are brought to the types of the specification as upstream's `BoundedAttributes` does, without its lock and copy.
Source: OpenTelemetry specification, common, "Attribute" and "Attribute limits".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

from opentelemetry.util.types import AnyValue

from otel_distro import settings
from otel_distro.attribute_keys import key_text, own_text
from otel_distro.guard import Guard
from otel_distro.records import dataclass

KEPT: frozenset[type] = frozenset({str, bool, int, float, bytes, NoneType})
"""Types (not their subclasses) whose values are taken as they are where no length is set."""

_KEPT_BESIDES_TEXT = KEPT - {str}
_DEEPEST = 64


@dataclass(frozen=True, slots=True)
class SpanLimits:
    """Limits on what one span may hold; counts are `>= 0`, lengths in characters, `None` no limit.

    Attributes:
        attributes: most attributes of a span.
        length: longest text of a span's attribute.
        events: most events of a span; the oldest go first.
        links: most links of a span; the oldest go first.
        event_attributes: most attributes of an event.
        link_attributes: most attributes of a link.
        other_length: longest text of an event's or link's attribute.
    """

    attributes: int = 128
    length: int | None = None
    events: int = 128
    links: int = 128
    event_attributes: int = 128
    link_attributes: int = 128
    other_length: int | None = None

    @classmethod
    def from_settings(cls, limits: settings.Limits) -> SpanLimits:
        """The limits of a span, a special one before the general one."""
        general, length = limits.attribute_count, limits.attribute_length
        special = (limits.span_attribute_count, limits.event_attribute_count, limits.link_attribute_count)
        span, event, link = (general if limit is None else limit for limit in special)
        return cls(
            attributes=span,
            length=length if limits.span_attribute_length is None else limits.span_attribute_length,
            events=limits.event_count,
            links=limits.link_count,
            event_attributes=event,
            link_attributes=link,
            other_length=length,
        )

    @property
    def kept(self) -> frozenset[type]:
        """Types whose values need no look as a span's attribute."""
        return KEPT if self.length is None else _KEPT_BESIDES_TEXT


def clean(value: Any, length: int | None, guard: Guard, depth: int = 0) -> AnyValue:
    """A value of the specification's types: text cut to `length`, sequences as tuples, the rest as its text.

    Args:
        value: anything.
        length: longest text, in characters; None for any.
        guard: says once that values had to become text.
        depth: how deep inside other values this one is; below 64 levels only None is left.
    """
    if isinstance(value, (NoneType, bool, int, float, bytes)):
        return value
    if isinstance(value, str):
        return value if length is None or len(value) <= length else value[:length]
    if depth >= _DEEPEST:
        guard.warn("an attribute value is nested deeper than 64 levels; the rest is left out", once="attribute depth")
        return None
    if isinstance(value, Sequence):
        return tuple([clean(item, length, guard, depth + 1) for item in value])
    if isinstance(value, Mapping):
        return _clean_mapping(value, length, guard, depth + 1)
    guard.warn(
        f"an attribute value of type {type(value).__name__} is recorded as text; use str, bool, int, float, bytes, "
        "or sequences and mappings of them",
        once="attribute value",
    )
    text = own_text(value)
    return text if text is None or length is None else text[:length]


def _clean_mapping(values: Mapping[Any, Any], length: int | None, guard: Guard, depth: int = 0) -> dict[str, AnyValue]:
    cleaned: dict[str, AnyValue] = {}
    for given, value in values.items():
        key = given if type(given) is str else key_text(given, guard)
        if key:
            kind = type(value)
            if kind not in _KEPT_BESIDES_TEXT and (kind is not str or length is not None):
                value = clean(value, length, guard, depth)  # noqa: PLW2901 - the cleaned one replaces it
            cleaned[key] = value
        else:
            guard.warn("an attribute with an empty or unusable key is left out", once="attribute key")
    return cleaned


def merge(into: dict[str, AnyValue], given: Mapping[str, Any], count: int, length: int | None, guard: Guard) -> int:
    """Clean `given` and put it into `into`; return how many attributes were dropped.

    A key that is set again moves to the end, and where there is no room the oldest go first, as upstream does it.

    Args:
        into: changed in place; at most `count` entries.
        given: what the user gave; left alone.
        count: most entries.
        length: longest text.
        guard: says once what was wrong.
    """
    if count == 0:
        return len(given)
    cleaned = _clean_mapping(given, length, guard)
    dropped = len(given) - len(cleaned)
    if not into and len(cleaned) <= count:
        into.update(cleaned)
        return dropped
    for key, value in cleaned.items():
        dropped += _put(into, key, value, count)
    return dropped


def put(into: dict[str, AnyValue], key: Any, value: Any, limits: SpanLimits, guard: Guard) -> int:
    """Clean one attribute of a span and put it into `into`; return how many were dropped (see `merge`)."""
    if limits.attributes == 0:
        return 1
    if not key or not isinstance(key, str):
        guard.warn("an attribute with an empty or unusable key is left out", once="attribute key")
        return 1
    return _put(into, key, clean(value, limits.length, guard), limits.attributes)


def _put(into: dict[str, AnyValue], key: str, value: AnyValue, count: int) -> int:
    into.pop(key, None)
    dropped = 0
    if len(into) >= count:
        del into[next(iter(into))]
        dropped = 1
    into[key] = value
    return dropped


def bounded(
    given: Mapping[str, Any] | None, count: int, length: int | None, guard: Guard
) -> tuple[dict[str, AnyValue], int]:
    """A clean, bounded copy of what a user gave, and how many attributes it lost; unusable input gives none."""
    attributes: dict[str, AnyValue] = {}
    if not given:
        return attributes, 0
    try:
        if 0 < len(given) <= count:
            attributes = _clean_mapping(given, length, guard)
            return attributes, len(given) - len(attributes)
        return attributes, merge(attributes, given, count, length, guard)
    except Exception as error:  # noqa: BLE001 - the user's mapping may be anything, and must not break the user's call
        guard.failed("attributes", error, remedy="attributes must be a mapping of text to values")
        return attributes, 0


__all__ = ["KEPT", "SpanLimits", "bounded", "clean", "merge", "put"]
