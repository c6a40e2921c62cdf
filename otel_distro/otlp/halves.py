"""A request that was too large as two, each with half of the spans, metrics or log records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ._wire import varint

_GROUP = 0x0A  # ResourceSpans, ResourceMetrics and ResourceLogs in their requests
_INNER = 0x12  # scopes in those; spans, metrics and log records in a scope

Half = tuple[float, bytes]
"""The part of the items that is in it, and the request."""

Field = tuple[int, bytes, bytes]
"""Tag, the field as it is, and its payload."""


def halves(body: bytes) -> tuple[Half, Half] | None:
    """Two requests with the same items as `body`, in the same order; None where it holds only one, or is none of ours.

    Args:
        body: an `Export...ServiceRequest`, as protobuf or JSON, of any signal.
    """
    try:
        make = _json if body[:1] == b"{" else _protobuf
        return make(body)
    except (LookupError, ValueError, TypeError, AttributeError):
        return None


def _protobuf(body: bytes) -> tuple[Half, Half] | None:
    # what is not a scope (the resource, a schema) and what is not an item (the scope, a schema) goes into both halves
    groups = [
        (whole, [(part, list(_fields(part[2])) if part[0] == _INNER else []) for part in _fields(whole[2])])
        for whole in _fields(body)
    ]
    total = sum(part[0] == _INNER for _, scopes in groups for _, parts in scopes for part in parts)
    if total < 2:
        return None
    middle = total // 2
    first, second = _chosen(groups, 0, middle), _chosen(groups, middle, total)
    return (middle / total, first), ((total - middle) / total, second)


def _chosen(groups: list[tuple[Field, list[tuple[Field, list[Field]]]]], start: int, stop: int) -> bytes:
    """The request with the items from `start` to `stop`."""
    at, request = 0, b""
    for _, scopes in groups:
        before, inside = at, b""
        for whole, parts in scopes:
            if whole[0] != _INNER:
                inside += whole[1]
                continue
            kept, found = [], False
            for part in parts:
                if part[0] != _INNER:
                    kept.append(part[1])
                    continue
                if start <= at < stop:
                    kept.append(part[1])
                    found = True
                at += 1
            if found:
                inside += _message(_INNER, b"".join(kept))
        if before < stop and at > start:
            request += _message(_GROUP, inside)
    return request


def _message(tag: int, payload: bytes) -> bytes:
    return bytes((tag,)) + varint(len(payload)) + payload


def _fields(message: bytes) -> Iterator[Field]:
    """The fields of a message that has only length-delimited ones, with tags of one byte.

    Raises:
        ValueError: it is another message.
        IndexError: it is cut off.
    """
    at, end = 0, len(message)
    while at < end:
        began, tag = at, message[at]
        if tag & 7 != 2 or tag > 0x7F:
            raise ValueError(tag)
        at, size, shift = at + 1, 0, 0
        while True:
            byte = message[at]
            at, size, shift = at + 1, size | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                break
        if at + size > end:
            raise IndexError(size)
        yield tag, message[began : at + size], message[at : at + size]
        at += size


_LISTS = (
    ("resourceSpans", "scopeSpans", "spans"),
    ("resourceMetrics", "scopeMetrics", "metrics"),
    ("resourceLogs", "scopeLogs", "logRecords"),
)


def _json(body: bytes) -> tuple[Half, Half] | None:
    request = json.loads(body)
    (outer, inner, items), *_ = [names for names in _LISTS if names[0] in request]
    total = sum(len(scope[items]) for group in request[outer] for scope in group[inner])
    if total < 2:
        return None
    middle = total // 2

    def chosen(start: int, stop: int) -> bytes:
        at, groups = 0, []
        for group in request[outer]:
            scopes: list[Any] = []
            for scope in group[inner]:
                kept = scope[items][max(start - at, 0) : max(stop - at, 0)]
                at += len(scope[items])
                scopes += [{**scope, items: kept}] if kept else []
            groups += [{**group, inner: scopes}] if scopes else []
        return json.dumps({outer: groups}, separators=(",", ":"), allow_nan=False).encode()

    return (middle / total, chosen(0, middle)), ((total - middle) / total, chosen(middle, total))


__all__ = ["halves"]
