"""How many spans a request body holds, for each protocol that a peer speaks. Nothing is decoded that is not counted."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def otlp_spans(body: bytes) -> int:
    """Spans of an ExportTraceServiceRequest (opentelemetry-proto, trace_service.proto), gzipped or plain.

    Raises:
        ValueError: a wire type that this message cannot hold.
        IndexError: the body ends within a field.
    """
    if body[:2] == b"\x1f\x8b":
        body = gzip.decompress(body)
    # resource_spans = 1, in it scope_spans = 2, in it spans = 2
    return sum(
        1
        for resource in _fields(body, 0, len(body), 1)
        for scope in _fields(body, *resource, 2)
        for _ in _fields(body, *scope, 2)
    )


def _fields(body: bytes, position: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Start and end of each length-delimited field `wanted` of the message in `body[position:end]`."""
    while position < end:
        key, position = _varint(body, position)
        kind = key & 7
        if kind == _BYTES:
            size, position = _varint(body, position)
            if key >> 3 == wanted:
                yield position, position + size
            position += size
        elif kind == _VARINT:
            _, position = _varint(body, position)
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} at {position}")


def _varint(body: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def sentry_spans(body: bytes) -> int:
    """Spans of a Sentry envelope, gzipped or plain: each transaction is one, and each of its `spans`.

    Raises:
        ValueError: not an envelope.
    """
    if body[:2] == b"\x1f\x8b":
        body = gzip.decompress(body)
    position = body.index(b"\n") + 1
    found = 0
    while position < len(body):
        line = body.index(b"\n", position)
        header = json.loads(body[position:line])
        start = line + 1
        length = header.get("length")
        end = body.find(b"\n", start) if length is None else start + length
        end = len(body) if end < 0 else end
        if header["type"] == "transaction":
            found += 1 + len(json.loads(body[start:end]).get("spans", ()))
        elif header["type"] == "span":
            found += header.get("item_count", 1)
        position = end + 1
    return found


def datadog_spans(body: bytes) -> int:
    """Spans of a trace payload of the Datadog agent, v0.4 (a list of traces) or v0.5 (string table, then traces).

    Raises:
        ValueError: not MessagePack that starts with a list.
    """
    size, position = _msgpack_array(body, 0)
    if size == 2 and _is_string_table(body, position):
        size, position = _msgpack_array(body, _msgpack_skip(body, position))
    found = 0
    for _ in range(size):
        spans, after = _msgpack_array(body, position)
        found += spans
        position = after
        for _ in range(spans):
            position = _msgpack_skip(body, position)
    return found


def _is_string_table(body: bytes, position: int) -> bool:
    size, inside = _msgpack_array(body, position)
    return size > 0 and (0xA0 <= body[inside] <= 0xBF or body[inside] in (0xD9, 0xDA, 0xDB))


def _msgpack_array(body: bytes, position: int) -> tuple[int, int]:
    tag = body[position]
    if 0x90 <= tag <= 0x9F:
        return tag & 0x0F, position + 1
    if tag in (0xDC, 0xDD):
        width = 2 if tag == 0xDC else 4
        return int.from_bytes(body[position + 1 : position + 1 + width]), position + 1 + width
    raise ValueError(f"MessagePack tag {tag:#x} is no list")


# MessagePack tag to (bytes of the length field, bytes besides): strings, bytes and extensions.
_SIZED = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)}
_SIZED |= {0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)}
# MessagePack tag to bytes that follow: numbers and extensions of fixed size.
_FIXED = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_FIXED |= {0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}


def _msgpack_skip(body: bytes, position: int) -> int:
    """Position behind the value at `position`."""
    pending = 1
    while pending:
        pending -= 1
        tag = body[position]
        position += 1
        if tag < 0x80 or tag >= 0xE0 or tag in (0xC0, 0xC2, 0xC3):
            continue
        if tag <= 0x8F:
            pending += 2 * (tag & 0x0F)
        elif tag <= 0x9F:
            pending += tag & 0x0F
        elif tag <= 0xBF:
            position += tag & 0x1F
        elif tag in _FIXED:
            position += _FIXED[tag]
        elif tag in _SIZED:
            width, besides = _SIZED[tag]
            position += width + besides + int.from_bytes(body[position : position + width])
        else:
            width = 2 if tag in (0xDC, 0xDE) else 4
            elements = int.from_bytes(body[position : position + width])
            position += width
            pending += elements if tag in (0xDC, 0xDD) else 2 * elements
    return position
