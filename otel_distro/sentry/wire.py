"""Reading spans that are encoded already: fields of a message, and the calls of other services among them."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_KIND, _CLIENT = 0x30, 3
_END = 0x41
_NAME, _ATTRIBUTE, _STATUS = 0x2A, 0x4A, 0x7A
_KEY, _VALUE = 0x0A, 0x12
_TEXT, _INTEGER = 0x0A, 0x18
_CODE, _ERROR = 0x18, 2
_BEGINNING = 40
"""Bytes of a span in which its trace id stands, with tag and length of both."""


class Call(NamedTuple):
    """What a client span says.

    Attributes:
        name: of the span.
        attributes: texts and numbers among its attributes.
        ended: nanoseconds since the epoch.
        failed: whether its status is an error.
    """

    name: str
    attributes: Mapping[str, str | int]
    ended: int
    failed: bool


def call_of(encoded: bytes, trace_id: int) -> Call | None:
    """The call that an encoded span tells of; None where it is of another trace, or no client's.

    Args:
        encoded: by `SpanEncoder`, without tag and length.
        trace_id: 128 bits.

    Raises:
        IndexError, struct.error: it is cut off.
    """
    if encoded.find(b"\x0a\x10" + trace_id.to_bytes(16, "big"), 0, _BEGINNING) < 0:
        return None
    name, ended, failed, kind = "", 0, False, 0
    attributes: dict[str, str | int] = {}
    for tag, field, payload in fields(encoded):
        if tag == _KIND:
            kind = length(field, 1)[0]
        elif tag == _END:
            (ended,) = struct.unpack_from("<Q", field, 1)
        elif tag == _NAME:
            name = payload.decode("utf-8", "replace")
        elif tag == _ATTRIBUTE:
            attributes |= _attribute(payload)
        elif tag == _STATUS:
            failed = any(tag == _CODE and length(code, 1)[0] == _ERROR for tag, code, _ in fields(payload))
    return Call(name, attributes, ended, failed) if kind == _CLIENT else None


def _attribute(pair: bytes) -> dict[str, str | int]:
    key, value = "", b""
    for tag, _, payload in fields(pair):
        if tag == _KEY:
            key = payload.decode("utf-8", "replace")
        elif tag == _VALUE:
            value = payload
    for tag, field, payload in fields(value):
        if tag == _TEXT:
            return {key: payload.decode("utf-8", "replace")}
        if tag == _INTEGER:
            return {key: length(field, 1)[0]}
    return {}


def fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Tag, whole field and payload (empty for numbers) of each field."""
    at, end = 0, len(message)
    while at < end:
        began = at
        tag, at = length(message, at)
        kind = tag & 7
        payload = b""
        if kind == 2:
            size, at = length(message, at)
            payload = message[at : at + size]
            at += size
        elif kind == 0:
            _, at = length(message, at)
        else:
            at += 8 if kind == 1 else 4
        yield tag, message[began:at], payload


def length(message: bytes, at: int) -> tuple[int, int]:
    """A varint at `at`, and where it ends."""
    number = message[at]
    at += 1
    if number < 0x80:
        return number, at
    number &= 0x7F
    shift = 7
    while True:
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


__all__ = ["Call", "call_of", "fields", "length"]
