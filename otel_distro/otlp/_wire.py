"""The few pieces of the protobuf wire format that OTLP needs (protobuf.dev, "Encoding")."""

from __future__ import annotations

import struct

INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
UINT32_MAX, UINT64_MAX = (1 << 32) - 1, (1 << 64) - 1

_ONE = tuple(bytes((number,)) for number in range(128))
_DOUBLE = struct.Struct("<d").pack
_FIXED64 = struct.Struct("<Q").pack
_FIXED32 = struct.Struct("<I").pack


def varint(number: int) -> bytes:
    """`number` (0 or more) as a varint, 7 bits a byte."""
    if number < 0x80:
        return _ONE[number]
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def varints(count: int) -> list[bytes]:
    """The varints of 0, 1, 2 ..., `count` of them or as many as have at most two bytes."""
    # in a fifth of the time that `varint` takes: a table of them is made for the first request
    found = list(_ONE)
    lower = [bytes((number | 0x80,)) for number in range(128)]
    for upper in _ONE[1 : -(-count // 128)]:
        found += [low + upper for low in lower]
    return found[:count]


def zigzag(number: int) -> bytes:
    """`number` (32 bits with a sign) as sint32; one that does not fit is cut to the nearest that does."""
    number = min(max(number, -(1 << 31)), (1 << 31) - 1)
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)


def delimited(tag: bytes, payload: bytes) -> bytes:
    """A field of bytes, text or a message: tag, length, payload."""
    return tag + varint(len(payload)) + payload


def double(number: float) -> bytes:
    """Eight bytes of a double; any IEEE 754 value is legal, also NaN and the infinities."""
    return _DOUBLE(number)


def fixed64(number: int) -> bytes:
    """Eight bytes of an unsigned number; one that does not fit is cut to the nearest that does."""
    return _FIXED64(min(max(number, 0), UINT64_MAX))


def fixed32(number: int) -> bytes:
    """Four bytes of an unsigned number, the lower 32 bits."""
    return _FIXED32(number & UINT32_MAX)


def sfixed64(number: int) -> bytes:
    """Eight bytes of a number within int64, two's complement."""
    return _FIXED64(number & UINT64_MAX)


def utf8(text: str) -> bytes:
    """`text` as UTF-8; a lone surrogate, which has no UTF-8 form, becomes U+FFFD and takes nothing else with it."""
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text).encode()


def text_field(tag: bytes, text: object) -> bytes:
    """A text field; nothing for None and for empty text (proto3's default), the `str()` of anything else."""
    if text is None or text == "":
        return b""
    return delimited(tag, utf8(text if isinstance(text, str) else str(text)))


def count_field(tag: bytes, number: int) -> bytes:
    """A uint32 field; nothing for 0."""
    return tag + varint(min(number, UINT32_MAX)) if number > 0 else b""
