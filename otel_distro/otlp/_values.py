"""Attribute values and key-value pairs as OTLP `AnyValue` and `KeyValue` (opentelemetry-proto, common.proto)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from otel_distro.redaction import policy as redaction

from . import _wire
from ._wire import delimited, utf8, varint

if TYPE_CHECKING:
    from _typeshed import SupportsItems

MAX_DEPTH = 32
"""Deeper nesting is replaced: readers of protobuf stop at 100 messages within each other; a level is two or three."""

_MAX_REASON = 256
_MAX_KEYS = 512
_VALUES_PER_KEY = 512
_LONGEST_CACHED = 1024
_LONGEST_KEY = 256
_CACHE_BYTES = 4_000_000
_ENTRY_BYTES = 200  # what a dict entry, a str and a bytes object weigh beside their characters


def described(value: object) -> str:
    """What stands in for a value that has no OTLP form: its `repr`, at most 256 characters."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - any code of the application's may run in repr()
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 1] + "…"


def whole_number(value: int) -> str:
    """The digits of a number outside int64, which OTLP can only carry as text; by size where they are very many."""
    return str(value) if value.bit_length() <= 1024 else f"<int of {value.bit_length()} bits>"


def any_value(value: Any, depth: int = 0) -> bytes:
    """The payload of an `AnyValue`, never raising.

    Equal to what opentelemetry-exporter-otlp-proto-common 1.45.1 encodes. Where that raises, and so loses the attribute
    or the batch: an int outside int64 becomes its digits, a lone surrogate U+FFFD, any other type its bounded `repr`.
    """
    try:
        return _any_value(value, depth)
    except Exception:  # noqa: BLE001 - sequences and mappings of the application's may raise anything
        return delimited(b"\x0a", utf8(described(value)))


def _any_value(value: Any, depth: int) -> bytes:  # noqa: C901, PLR0911 - one line a type, in upstream's order
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, str):
        return delimited(b"\x0a", utf8(value))
    if isinstance(value, int):
        if _wire.INT64_MIN <= value <= _wire.INT64_MAX:
            return b"\x18" + varint(value & _wire.UINT64_MAX)
        return delimited(b"\x0a", utf8(whole_number(value)))
    if isinstance(value, float):
        return b"\x21" + _wire.double(value)
    if isinstance(value, bytes):
        return delimited(b"\x3a", value)
    if depth < MAX_DEPTH:
        if isinstance(value, Sequence):
            return delimited(b"\x2a", b"".join([delimited(b"\x0a", any_value(item, depth + 1)) for item in value]))
        if isinstance(value, Mapping):
            pairs = [delimited(b"\x0a", key_value(str(key), item, depth + 1)) for key, item in value.items()]
            return delimited(b"\x32", b"".join(pairs))
    return delimited(b"\x0a", utf8(described(value)))


def key_value(key: object, value: Any, depth: int = 0) -> bytes:
    """The payload of a `KeyValue`."""
    return _wire.text_field(b"\x0a", key) + delimited(b"\x12", any_value(value, depth))


def shown(key: object, value: Any) -> Any:
    """What leaves of an attribute's value: `REDACTED` for text, numbers and lists under a name that speaks of a secret.

    A truth value or a fraction says nothing (`has_token`, `token_ratio`).
    """
    if type(key) is not str or value is None or isinstance(value, (bool, float)):
        return value
    if redaction.is_secret_attribute(key):
        return redaction.REDACTED
    if redaction.hooked():
        if isinstance(value, str):
            return redaction.further(key, value)
        if isinstance(value, (list, tuple)):
            return [redaction.further(key, item) if isinstance(item, str) else item for item in value]
    return value


class _Always(dict[Any, bytes]):
    """Gives one encoded pair for whatever value is looked up, so that a hidden value costs what any other does."""

    def __init__(self, encoded: bytes) -> None:
        super().__init__()
        self._encoded = encoded

    def __missing__(self, value: object) -> bytes:
        return self._encoded


class KeyValues:
    """Encodes attributes as repeated `KeyValue` fields under one tag, repeated pairs only once.

    Text and numbers of up to 1,024 bytes are kept encoded by key and value. Types do not mix although
    `True == 1 == 1.0`: only exact `str` and `int` are looked up. A key's values are forgotten at 512 of them,
    everything at 512 keys or about 4 MB.

    Args:
        tag: the field's number and wire type, one byte.
        private: values may be secrets: those under a name that speaks of one leave as `REDACTED`, all texts pass the
            user's function, if there is one.
    """

    __slots__ = ("_heads", "_hooked", "_private", "_room", "_tag", "known")

    def __init__(self, tag: bytes, *, private: bool = False) -> None:
        self._tag = tag
        self._private = private
        self._hooked = private and redaction.hooked()
        self._room = _CACHE_BYTES
        self._heads: dict[str, bytes] = {}
        self.known: dict[str, dict[Any, bytes]] = {}

    def extend(self, parts: list[bytes], attributes: SupportsItems[str, Any]) -> None:
        """Append the encoded attributes to `parts`."""
        known, append = self.known, parts.append
        for key, value in attributes.items():
            kind = type(value)
            if kind is str or kind is int:
                try:
                    append(known[key][value])
                    continue
                except KeyError:
                    pass
            append(self.pair(key, value))

    def encoded(self, attributes: SupportsItems[str, Any] | None) -> bytes:
        """The encoded attributes in one piece; empty for None."""
        parts: list[bytes] = []
        if attributes:
            self.extend(parts, attributes)
        return b"".join(parts)

    def pair(self, key: Any, value: Any) -> bytes:
        """Encode one attribute, and keep it if it may come again."""
        kind = type(value)
        if (kind is not str and kind is not int) or type(key) is not str:
            return delimited(self._tag, key_value(key, shown(key, value) if self._private else value))
        head = self._heads.get(key)
        if head is None:
            if self._private and redaction.is_secret_attribute(key):
                return self._hide(key)
            head = self._head(key)
        given = value
        if self._hooked and kind is str:
            value = redaction.further(key, value)
        payload = any_value(value) if kind is int else b"\x0a" + varint(len(text := utf8(value))) + text
        payload = head + varint(len(payload)) + payload
        encoded = self._tag + varint(len(payload)) + payload
        if len(encoded) <= _LONGEST_CACHED:
            self._keep(key, given, encoded)
        return encoded

    def _hide(self, key: str) -> bytes:
        encoded = delimited(self._tag, key_value(key, redaction.REDACTED))
        if len(self.known) < _MAX_KEYS and len(key) <= _LONGEST_KEY:
            self.known[key] = _Always(encoded)
        return encoded

    def _head(self, key: str) -> bytes:
        """The key's field and the tag of the value's, which are the same for each of its values."""
        head = _wire.text_field(b"\x0a", key) + b"\x12"
        if len(self._heads) < _MAX_KEYS and len(key) <= _LONGEST_KEY:
            self._heads[key] = head
        return head

    def _keep(self, key: str, value: str | int, encoded: bytes) -> None:
        self._room -= len(encoded) * 2 + _ENTRY_BYTES
        if self._room < 0 or (len(self.known) >= _MAX_KEYS and key not in self.known):
            self.known.clear()
            self._heads.clear()
            self._room = _CACHE_BYTES
        values = self.known.setdefault(key, {})
        if len(values) >= _VALUES_PER_KEY:
            values.clear()
        values[value] = encoded
