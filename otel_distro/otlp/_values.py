"""Attribute values and key-value pairs as OTLP `AnyValue` and `KeyValue` (opentelemetry-proto, common.proto)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from otel_distro.context import Told, attribute_name, attributes_of
from otel_distro.guard import let_through
from otel_distro.redaction import policy as redaction

from . import _wire
from ._wire import delimited, utf8, varint

if TYPE_CHECKING:
    from _typeshed import SupportsItems

    from otel_distro.context import UserFields, Value

MAX_DEPTH = 32
"""Deeper nesting is replaced: readers of protobuf stop at 100 messages within each other; a level is two or three."""

_MAX_REASON = 256
_MAX_KEYS = 512
_MAX_NAMES = 4_096
_VALUES_PER_KEY = 512
_MISSES = 4_096
_LONGEST_CACHED = 1024
_LONGEST_KEY = 256
_CACHE_BYTES = 4_000_000
_ENTRY_BYTES = 200  # what a dict entry, a str and a bytes object weigh beside their characters


def described(value: object) -> str:
    """What stands in for a value that has no OTLP form: its `repr`, at most 256 characters."""
    try:
        text = repr(value)
    except Exception as raised:  # noqa: BLE001 - any code of the application's may run in repr()
        let_through(raised)
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
    except Exception as raised:  # noqa: BLE001 - sequences and mappings of the application's may raise anything
        let_through(raised)
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


def shown(key: object, value: Any, depth: int = 0) -> Any:  # noqa: PLR0911 - one line a type
    """What leaves of an attribute's value: `REDACTED` for text, numbers and lists under a name that speaks of a secret.

    A truth value or a fraction says nothing (`has_token`, `token_ratio`). In lists and mappings each text is looked at
    under its own name.
    """
    if value is None or isinstance(value, (bool, float)):
        return value
    key = _written(key)
    if redaction.is_secret_attribute(key):
        return redaction.REDACTED
    if isinstance(value, str):
        return redaction.further(key, value) if redaction.hooked() else value
    if depth < MAX_DEPTH:
        try:
            if isinstance(value, (list, tuple)):
                return [shown(key, item, depth + 1) for item in value]
            if isinstance(value, Mapping):
                return {name: shown(name, item, depth + 1) for name, item in value.items()}
        except Exception as raised:  # noqa: BLE001 - a mapping of the application's may raise anything
            let_through(raised)
            return redaction.REDACTED
    return value


def _written(key: object) -> str:
    """A key as it leaves, so that it is that which is looked at: `str()` of an enumeration's member may be another."""
    return str.__str__(key if isinstance(key, str) else str(key))


class Values:
    """The encoded pairs of one key by value: what is not known is encoded, and kept as long as there is room.

    A key whose values never come again costs no more than their encoding; any other learns its new ones in time.

    Attributes:
        known: to be looked into and not written to. A plain dictionary: to look into one of a further class takes the
            interpreter eight times as long.
    """

    __slots__ = ("_form", "_head", "_key", "_left", "_owner", "_short", "_size", "known")

    def __init__(self, owner: KeyValues, key: str) -> None:
        self.known: dict[Any, bytes] = {}
        self._owner = owner
        self._key = key
        # the key's field and the tag of the value's, which are the same for each of its values
        self._head = head = _wire.text_field(b"\x0a", key) + b"\x12"
        # a whole pair of which every length takes one byte
        self._form = b"%b%%c%b%%c\x0a%%c%%b" % (owner.tag.replace(b"%", b"%%"), head.replace(b"%", b"%%"))
        self._size = len(head) + 3
        self._short = 127 - self._size
        self._left = _VALUES_PER_KEY

    def learn(self, value: Any) -> bytes:
        """The pair with a value, text or a number, that is not known."""
        owner = self._owner
        if type(value) is int or owner.hooked:
            encoded = self._encoded(value)
        else:
            try:
                text = value.encode()
            except UnicodeEncodeError:
                text = utf8(value)
            size = len(text)
            if size <= self._short:
                encoded = self._form % (self._size + size, size + 2, size, text)
            else:
                encoded = self._encoded(value)
        left = self._left = self._left - 1
        if left >= 0 and len(encoded) <= _LONGEST_CACHED:
            self.known[value] = encoded
            owner.weigh(len(encoded) * 2 + _ENTRY_BYTES)
        elif left < -_MISSES:
            self.known.clear()
            self._left = _VALUES_PER_KEY
        return encoded

    def _encoded(self, value: Any) -> bytes:
        owner = self._owner
        if owner.hooked and type(value) is str:
            value = redaction.further(self._key, value)
        return delimited(owner.tag, self._head + delimited(b"", any_value(value)))


class _Hidden(Values):
    """The pair of a key whose values are secrets: always the same."""

    __slots__ = ("_pair",)

    def __init__(self, owner: KeyValues, key: str) -> None:
        super().__init__(owner, key)
        self._pair = delimited(owner.tag, key_value(key, redaction.REDACTED))

    def learn(self, value: Any) -> bytes:
        """The one pair."""
        return self._pair


class KeyValues:
    """Encodes attributes as repeated `KeyValue` fields under one tag, repeated pairs only once.

    Text and numbers of up to 1,024 bytes are kept encoded by key and value. Types do not mix although
    `True == 1 == 1.0`: only exact `str` and `int` are looked up. The first 512 values of a key are kept, until 4,096
    others have come; everything is forgotten at about 4 MB (but by who holds what `values` gave), and of more than 512
    keys nothing is kept.

    Args:
        tag: the field's number and wire type, one byte.
        private: values may be secrets: those under a name that speaks of one leave as `REDACTED`, all texts pass the
            user's function, if there is one.

    Attributes:
        tag: as given.
        hooked: whether texts pass a function of the user's.
        known: encoded pairs by key and value.
    """

    __slots__ = ("_keys", "_met", "_names", "_private", "_room", "hooked", "known", "tag")

    def __init__(self, tag: bytes, *, private: bool = False) -> None:
        self.tag = tag
        self.hooked = private and redaction.hooked()
        self.known: dict[str, dict[Any, bytes]] = {}
        self._keys: dict[str, Values] = {}
        self._names: dict[str, str] = {}
        self._met: set[str] = set()
        self._private = private
        self._room = _CACHE_BYTES

    def extend(self, parts: list[bytes], attributes: SupportsItems[str, Any]) -> None:
        """Append the encoded attributes to `parts`."""
        known, append = self.known, parts.append
        for key, value in attributes.items():
            kind = type(value)
            if kind is str or kind is int:
                pairs = known.get(key)
                pair = None if pairs is None else pairs.get(value)
                if pair is not None:
                    append(pair)
                    continue
            append(self.pair(key, value))

    def encoded(self, attributes: SupportsItems[str, Any] | None) -> bytes:
        """The encoded attributes in one piece; empty for None."""
        found = b""
        if attributes:
            # as `extend`, written out: a call and a list cost each span more than the lines
            known = self.known
            for key, value in attributes.items():
                kind = type(value)
                if kind is str or kind is int:
                    pairs = known.get(key)
                    pair = None if pairs is None else pairs.get(value)
                    if pair is not None:
                        found += pair
                        continue
                found += self.pair(key, value)
        return found

    def pair(self, key: Any, value: Any) -> bytes:
        """Encode one attribute, and keep it if it may come again."""
        kind = type(value)
        if type(key) is not str:
            key = _written(key)
        if kind is not str and kind is not int:
            if key not in self._met:
                self._meet(key)
            return delimited(self.tag, key_value(key, shown(key, value) if self._private else value))
        return self.values(key).learn(value)

    def values(self, key: str) -> Values:
        """The encoded pairs of one key, of which any text may be asked."""
        found = self._keys.get(key)
        if found is None:
            return self._learn(key)
        # another thread may have cleared one of the two
        self.known.setdefault(key, found.known)
        return found

    def said(self, user: UserFields | None, values: Mapping[str, Value], before: bytes) -> bytes | None:
        """What the application said of a request, after `before`.

        None where some name may be that of an attribute that others set.
        """
        known, names, found = self.known, self._names, before
        try:
            if user is not None:
                id, name, email = user  # noqa: A001 - what everyone calls it
                found += known["user.id"].get(id) or self.pair("user.id", id)
                if name is not None:
                    found += self.pair("user.name", name)
                if email is not None:
                    found += self.pair("user.email", email)
            for key, value in values.items():
                if type(value) is not str:
                    break
                attribute = names[key]
                found += known[attribute].get(value) or self.pair(attribute, value)
            else:
                return found
        except KeyError:
            # a key that is met for the first time, or a name of the application's own
            pass
        attributes = attributes_of(user, values)
        if attributes.__class__ is Told:
            return None
        for key in values:
            if len(names) < _MAX_KEYS and len(key) <= _LONGEST_KEY:
                names[key] = attribute_name(key)
        return before + self.encoded(attributes)

    def heads(self, key: str) -> Sequence[bytes]:
        """What stands before a text of this key that will not come again, by its length in bytes.

        For texts of which every length takes one byte; for none where values are hidden or pass a function.
        """
        if self.hooked or (self._private and redaction.is_secret_attribute(key)):
            return ()
        before = _wire.text_field(b"\x0a", key) + b"\x12"
        self._meet(key)
        room = len(before) + 3
        return tuple(
            self.tag + bytes((room + size,)) + before + bytes((size + 2, 0x0A, size)) for size in range(128 - room)
        )

    def weigh(self, weight: int) -> None:
        """So many bytes more are kept."""
        self._room -= weight
        if self._room < 0:
            self._keys.clear()
            self.known.clear()
            self._room = _CACHE_BYTES

    def names(self) -> Collection[str] | None:
        """The keys of up to 256 characters that were encoded so far; None when there were 4,096 or more."""
        return self._met if len(self._met) < _MAX_NAMES else None

    def _meet(self, key: str) -> None:
        # before anything is encoded under it, so that who has the bytes finds the name
        if len(self._met) < _MAX_NAMES and len(key) <= _LONGEST_KEY:
            self._met.add(key)

    def _learn(self, key: str) -> Values:
        """See a key for the first time."""
        self._meet(key)
        hidden = self._private and redaction.is_secret_attribute(key)
        values = (_Hidden if hidden else Values)(self, key)
        if len(self.known) < _MAX_KEYS and len(key) <= _LONGEST_KEY:
            self._keys[key] = values
            self.known[key] = values.known
            self.weigh(_ENTRY_BYTES + 2 * len(key))
        return values
