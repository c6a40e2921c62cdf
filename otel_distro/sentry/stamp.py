"""An OTLP request made for the collector, made fit for Sentry: bytes in, bytes out, nothing is decoded as a whole.

Sentry reads release, environment and sample rate from attributes of each span, drops span events, and scrubs nothing
that it gets by OTLP. So each span gets three attributes behind its own, and the few that hold what must not leave by
default are taken apart and put together without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from otel_distro.otlp._batch import CHUNK
from otel_distro.otlp._values import key_value
from otel_distro.otlp._wire import delimited, text_field, varint

from .words import words

_LIST = 0x0A  # ResourceSpans in the request, the resource in them, the scope in ScopeSpans
_INNER = 0x12  # ScopeSpans in ResourceSpans, spans in ScopeSpans
_ATTRIBUTE, _EVENT, _STATUS = 0x4A, 0x5A, 0x7A
_STATUS_MESSAGE = 0x12

_PERSONAL = frozenset(
    {
        *("url.query", "client.address", "network.peer.address", "enduser.pseudo.id", "enduser.scope", "enduser.role"),
        *("user.email", "user.name", "user.full_name", "user.hash"),
    }
)
_FAILED = b"\x18\x02"
"""The end of the status of a span that failed, with which our encoder ends the span."""
_STRETCH = 3 * CHUNK  # a span is three parts
_IDS = 34
"""Bytes of the ids with which our encoder begins a span; they hold any byte."""
_URLS = frozenset({"url.full", "http.url", "http.target"})
_HEADS = tuple(b"\x12" + varint(size) for size in range(2048))
"""Tag and length of a span, for all usual lengths."""


def _keys(names: Iterable[str]) -> bytes:
    """How attributes with these keys begin, as an alternative of an expression."""
    return b"|".join([re.escape(bytes((len(name),)) + name.encode()) for name in sorted(names)])


# one pass over a span; it starts with a literal, which is searched for at the speed of memory
_CARE = re.compile(
    b"\x0a(?:(?P<cut>%b)\x12|(?P<url>%b)\x12|.exception\\.)" % (_keys(_PERSONAL), _keys(_URLS)), re.DOTALL
).search


def suffix(attributes: dict[str, str | float]) -> bytes:
    """Attributes as the last fields of a span."""
    return b"".join([delimited(bytes((_ATTRIBUTE,)), key_value(key, value)) for key, value in attributes.items()])


def stamped(body: bytes, last: bytes, *, personal: bool, breathe: Callable[[], object] = lambda: None) -> bytes:
    """`body` with `last` at the end of each span, and without what Sentry is not to have.

    Args:
        body: an `ExportTraceServiceRequest`.
        last: from `suffix`.
        personal: whether query strings, addresses, names and messages of exceptions may leave.
        breathe: called after every 64 spans, so that other threads get the interpreter.
    """

    def spans(scope: bytes) -> bytes:
        # the hot loop: two microseconds a span
        parts: list[bytes] = []
        at, end, added, pause = 0, len(scope), len(last), _STRETCH
        while at < end:
            if len(parts) > pause:
                pause += _STRETCH
                breathe()
            began, tag, size = at, scope[at], scope[at + 1]
            at += 2
            if size > 0x7F:
                size, at = _length(scope, began + 1)
            stop = at + size
            if tag != _INNER:
                parts.append(scope[began:stop])
            else:
                span = scope[at:stop] if personal else _checked(scope[at:stop])
                size = len(span) + added
                parts += (_HEADS[size] if size < 2048 else b"\x12" + varint(size), span, last)
            at = stop
        return b"".join(parts)

    return _each(body, _LIST, lambda group: _each(group, _INNER, spans))


def _checked(span: bytes) -> bytes:
    """A span without what is personal; most spans are only looked over."""
    if span.endswith(_FAILED):
        return _guarded(span)
    found = _CARE(span, _IDS)
    while found is not None:
        kind, at = found.lastgroup, found.start()
        if kind == "cut":
            began = at - 1
            while span[began - 1] & 0x80:  # the length before the pair may have several bytes
                began -= 1
            size, pair = _length(span, began)
            if pair != at or span[began - 1] != _ATTRIBUTE:
                return _guarded(span)
            span = span[: began - 1] + span[at + size :]
            found = _CARE(span, began - 1)
        elif kind == "url" and span.find(b"?", at) < 0:
            found = _CARE(span, found.end())
        else:
            return _guarded(span)
    return span


def _each(message: bytes, wanted: int, change: Callable[[bytes], bytes]) -> bytes:
    """`message` with `change` applied to its fields of tag `wanted`; all its fields are length-delimited."""
    parts: list[bytes] = []
    at, end = 0, len(message)
    while at < end:
        began, tag = at, message[at]
        size, at = _length(message, at + 1)
        if tag == wanted:
            changed = change(message[at : at + size])
            parts += (message[began : began + 1], varint(len(changed)), changed)
        else:
            parts.append(message[began : at + size])
        at += size
    return b"".join(parts)


def _guarded(span: bytes) -> bytes:
    """A span without events, without personal attributes, and with the words only of its status' message."""
    parts: list[bytes] = []
    for tag, field, payload in _fields(span):
        if tag == _EVENT:
            continue
        if tag == _ATTRIBUTE:
            parts.append(_attribute(field, payload))
        elif tag == _STATUS:
            parts.append(_status(payload))
        else:
            parts.append(field)
    return b"".join(parts)


def _attribute(field: bytes, pair: bytes) -> bytes:
    found = dict((tag, payload) for tag, _, payload in _fields(pair))  # noqa: C402 - the middle one is not wanted
    key = found.get(_LIST, b"").decode("utf-8", "replace")
    if key in _PERSONAL:
        return b""
    value = found.get(_INNER, b"")
    if key in _URLS and value[:1] == b"\x0a" and (b"?" in value or b"#" in value):
        text = next((payload for tag, _, payload in _fields(value) if tag == _LIST), b"").decode("utf-8", "replace")
        return delimited(bytes((_ATTRIBUTE,)), key_value(key, text.partition("?")[0].partition("#")[0]))
    return field


def _status(status: bytes) -> bytes:
    parts: list[bytes] = []
    for tag, field, payload in _fields(status):
        if tag == _STATUS_MESSAGE:
            parts.append(text_field(b"\x12", words(payload.decode("utf-8", "replace"))))
        else:
            parts.append(field)
    return delimited(bytes((_STATUS,)), b"".join(parts))


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Tag, whole field and payload (empty for numbers) of each field."""
    at, end = 0, len(message)
    while at < end:
        began = at
        tag, at = _length(message, at)
        kind = tag & 7
        payload = b""
        if kind == 2:
            size, at = _length(message, at)
            payload = message[at : at + size]
            at += size
        elif kind == 0:
            _, at = _length(message, at)
        else:
            at += 8 if kind == 1 else 4
        yield tag, message[began:at], payload


def _length(message: bytes, at: int) -> tuple[int, int]:
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


__all__ = ["stamped", "suffix"]
