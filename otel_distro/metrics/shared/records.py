"""The index of a process: an append-only file of records, each with its length and check sum.

A record that is incomplete or damaged ends what a reader takes; it looks again later. Two processes describe equal
streams and equal series in equal bytes, so that a reader decodes each description once.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final
from zlib import crc32

from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_distro.metrics.identity import Kind, Merge, StreamIdentity

MAGIC: Final = b"otel-distro metrics 1\n"
STREAM: Final = b"S"
SERIES: Final = b"E"
RESOURCE: Final = b"R"
ENDED: Final = b"Z"
FOLDED: Final = b"F"
VALUES: Final = b"V"
_FRAME = struct.Struct("<II")
_SERIES = struct.Struct("<IQIdqI")  # stream, first cell, cells, started, first exemplar byte, slots
_STREAM = struct.Struct("<I")
_LARGEST = 64 * 1024 * 1024


def frame(kind: bytes, payload: bytes) -> bytes:
    """One record."""
    body = kind + payload
    return _FRAME.pack(len(body), crc32(body)) + body


def frames(data: bytes, at: int = 0) -> Iterator[tuple[bytes, bytes, int]]:
    """Kind, payload and end of each whole record from `at` on.

    Raises:
        ValueError: a record is there in full and damaged.
    """
    while at + _FRAME.size < len(data):
        length, check = _FRAME.unpack_from(data, at)
        start, end = at + _FRAME.size, at + _FRAME.size + length
        if not 0 < length <= _LARGEST:
            raise ValueError("a record has an impossible length")
        if end > len(data):
            return
        kind, payload = data[start : start + 1], data[start + 1 : end]
        if crc32(payload, crc32(kind)) != check:
            raise ValueError("a record is damaged")
        yield kind, payload, end
        at = end


def stream_record(number: int, description: bytes) -> bytes:
    """The record of a stream."""
    return frame(STREAM, _STREAM.pack(number) + description)


def read_stream(payload: bytes) -> tuple[int, bytes]:
    """Number and description of a stream."""
    return _STREAM.unpack_from(payload)[0], payload[_STREAM.size :]


def series_record(  # noqa: PLR0917 - the fields of the record, in its order
    stream: int, at: int, size: int, started: float, exemplars: tuple[int, int], attributes: bytes
) -> bytes:
    """The record of a series; `exemplars` are first byte and slots."""
    return frame(SERIES, _SERIES.pack(stream, at, size, started, *exemplars) + attributes)


def read_series(payload: bytes) -> tuple[int, int, int, float, int, int, bytes]:
    """Stream, first cell, cells, start, first exemplar byte, slots and attributes of a series."""
    stream, at, size, started, exemplars_at, slots = _SERIES.unpack_from(payload)
    return stream, at, size, started, exemplars_at, slots, payload[_SERIES.size :]


def resource_record(attributes: Mapping[str, Any], schema_url: str) -> bytes:
    """The record of what all numbers of a process belong to."""
    return frame(RESOURCE, json.dumps([dict(attributes), schema_url], default=str).encode())


def read_resource(payload: bytes) -> tuple[dict[str, Any], str]:
    """Attributes and schema URL of a resource."""
    attributes, schema_url = json.loads(payload)
    return dict(attributes), str(schema_url)


def ended_record() -> bytes:
    """The record of a process that has sent everything and ends in order."""
    return frame(ENDED, b"")


def describe(identity: StreamIdentity) -> bytes:
    """A stream as bytes, equal for equal streams."""
    scope = identity.scope
    attributes = {key: _plain(value) for key, value in (scope.attributes or {}).items()}
    facts = [
        [scope.name, scope.version, scope.schema_url, attributes],
        [identity.name, identity.unit, identity.description, identity.kind.value],
        [identity.monotonic, identity.observed, identity.bounds, identity.max_size, identity.merge.value],
    ]
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), default=str).encode()


def identity_of(description: bytes) -> StreamIdentity:
    """The stream of a description.

    Raises:
        ValueError, TypeError: it is not one of ours.
    """
    scope, what, how = json.loads(description)
    name, unit, text, kind = what
    monotonic, observed, bounds, max_size, merge = how
    return StreamIdentity(
        InstrumentationScope(*scope),
        name,
        unit,
        text,
        Kind(kind),
        monotonic=monotonic,
        observed=observed,
        bounds=tuple(map(float, bounds)),
        max_size=max_size,
        merge=Merge(merge),
    )


def attributes_bytes(attributes: Mapping[str, Any]) -> bytes:
    """Attributes as bytes, equal for equal attributes whatever their order."""
    plain = {key: _plain(value) for key, value in attributes.items()}
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), default=str).encode()


def attributes_of(data: bytes) -> dict[str, Any]:
    """The attributes again; bytes come back as the text that a label shows of them."""
    found: dict[str, Any] = json.loads(data)
    return found


def _plain(value: Any) -> Any:
    return json.dumps(value, default=str) if isinstance(value, bytes) else value
