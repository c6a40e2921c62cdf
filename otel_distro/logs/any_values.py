"""What an application gave to the OpenTelemetry logs API, or logged instead of a text, as the specification's values.

Redacted as everything. Unlike `values`, which are made for lines, it keeps bytes, fractions of every kind, and every
item; what is bounded is the depth and the size of a whole record. Source: specification, common, "AnyValue" and
"Attribute limits".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, AnyStr, cast

from otel_distro.guard import let_through
from otel_distro.redaction import REDACTED, is_secret_attribute, is_secret_option, redact_message

from .values import is_secret_pair, plain, type_name

LARGEST = 4_000_000
"""Bytes of memory, about, of one record's body and attributes: what a collector's gRPC receiver takes in a request."""

TOO_LARGE = "a record takes more than 4 MB or is nested deeper than 64 levels; the rest of it is left out"
"""What is said where something was left out."""

_DEEPEST = 64  # as attributes of spans
_ITEM = 64  # bytes of memory, about, that a value takes besides its text

# the base classes' own methods, so that no code of a subclass's runs
_PARTS: tuple[tuple[type, Any], ...] = (
    (dict, dict.items),
    (list, list.__iter__),
    (tuple, tuple.__iter__),
    (set, set.__iter__),
    (frozenset, frozenset.__iter__),
)


class AnyValues:
    """Brings the values of one record into form, as long as there is room for them; never raises.

    Attributes:
        full: whether something was left out for want of room.
    """

    __slots__ = ("_left", "full")

    def __init__(self) -> None:
        self._left = LARGEST
        self.full = False

    def body(self, value: object) -> Any:
        """A body: None, bool, int, float, text, bytes, or lists and dicts of these."""
        return self._value(value, 0)

    def attributes(self, given: Mapping[Any, Any]) -> tuple[dict[str, Any], int]:
        """Attributes likewise, those hidden whose name speaks of a secret; and how many found no room."""
        found: dict[str, Any] = {}
        for given_name, value in given.items():
            if self._left <= 0:
                self.full = True
                break
            name = self._name(given_name)
            found[name] = REDACTED if value is not None and is_secret_attribute(name) else self._value(value, 0)
        return found, max(0, len(given) - len(found))

    def _value(self, value: object, depth: int) -> Any:
        self._left -= _ITEM
        try:
            return self._formed(value, depth)
        except Exception as raised:  # noqa: BLE001 - a mapping, a metaclass of the application's: whatever it is, it has a type
            let_through(raised)
            return type_name(value)

    def _formed(self, value: object, depth: int) -> Any:  # noqa: PLR0911 - one line a type
        kind = type(value)
        if value is None or kind is bool or kind is float:
            return value
        if issubclass(kind, str):
            return redact_message(self._fitting(str.__str__(cast("str", value))))
        if issubclass(kind, float):
            return float.__float__(cast("float", value))
        if issubclass(kind, (bytes, bytearray, memoryview)):
            return self._fitting(bytes(cast("bytes", value)))
        parts = _parts_of(value, kind)
        if parts is None:
            return plain(value)
        if depth >= _DEEPEST:
            self.full = True
            return None
        if issubclass(kind, tuple) and is_secret_pair(value):
            return [self._value(next(iter(parts)), depth + 1), REDACTED]
        if isinstance(value, Mapping):
            return self._mapping(parts, depth + 1)
        return self._sequence(parts, depth + 1)

    def _fitting(self, value: AnyStr) -> AnyStr:
        """As much of a text or of bytes as there is room for."""
        room = max(0, self._left)
        if len(value) > room:
            self.full = True
            value = value[:room]
        self._left -= len(value)
        return value

    def _sequence(self, parts: Iterable[Any], depth: int) -> list[Any]:
        found: list[Any] = []
        secret = False
        for part in parts:
            if self._left <= 0:
                self.full = True
                break
            found.append(REDACTED if secret else self._value(part, depth))
            secret = is_secret_option(part)
        return found

    def _mapping(self, parts: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, part in parts:
            if self._left <= 0:
                self.full = True
                break
            name = self._name(key)
            found[name] = REDACTED if part is not None and is_secret_attribute(name) else self._value(part, depth)
        return found

    def _name(self, key: Any) -> str:
        name = key if type(key) is str else str(plain(key))
        self._left -= len(name)
        return name


def _parts_of(value: Any, kind: type) -> Any:
    """What iterates over the parts of a container, pairs for a mapping; None for what is none."""
    for base, parts in _PARTS:
        if issubclass(kind, base):
            # a copy where another thread may write to it meanwhile
            return list(parts(value)) if base is dict else parts(value)
    if isinstance(value, Mapping):
        return value.items()
    return iter(value) if isinstance(value, (Sequence, AbstractSet)) else None


__all__ = ["LARGEST", "TOO_LARGE", "AnyValues"]
