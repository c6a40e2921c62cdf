"""Spans as Sentry gets them: the bytes that were made for the collector, each with a few attributes behind its own.

Sentry reads release, environment and sample rate from attributes of each span, drops span events, and scrubs nothing
that it gets by OTLP. So each span gets the attributes, and the few that hold what must not leave by default are taken
apart and put together without it. All of a batch at a stretch: one by one, between the application's own work, each
would cost four times as much, and each would be one more object for the garbage collector while it waits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from otel_distro.otlp._batch import Encoded, Piece
from otel_distro.otlp._groups import Envelopes, Groups
from otel_distro.otlp._values import key_value
from otel_distro.otlp._wire import delimited, text_field, varint

from .wire import fields, length
from .words import words

_LIST = 0x0A  # the key of an attribute, a text value
_INNER = 0x12  # the value of an attribute
_PARENT, _NAME, _ATTRIBUTE, _EVENT, _STATUS = 0x22, 0x2A, 0x4A, 0x5A, 0x7A
_STATUS_MESSAGE = 0x12

_PERSONAL = frozenset(
    {
        *("url.query", "client.address", "network.peer.address", "enduser.pseudo.id", "enduser.scope", "enduser.role"),
        *("user.email", "user.name", "user.full_name", "user.hash"),
    }
)
_URLS = frozenset({"url.full", "http.url", "http.target"})
_PERSONAL_KEYS = frozenset({name.encode() for name in _PERSONAL})
_URL_KEYS = frozenset({name.encode() for name in _URLS})
_FAILED = b"\x18\x02"
"""The end of the status of a span that failed, with which our encoder ends the span."""
_IDS = 28
"""Bytes of trace and span id with which our encoder begins a span; they hold any byte."""
_PARENTS = 10
"""Bytes of the parent's id, if there is one."""
_TIMES = 26
"""Bytes of flags, kind and times, which stand between the ids and the name."""
_HEADS = tuple(b"\x12" + varint(size) for size in range(2048))
"""Tag and length of a span, for all usual lengths."""


def _alternatives(names: Iterable[str]) -> bytes:
    return b"|".join([re.escape(name.encode()) for name in sorted(names)])


# it begins with one byte, which is searched for at the speed of memory, and goes on with lengths that our keys have
_CARE = re.compile(
    b"\x0a[%b](?:(?:%b)\x12|exception\\.)"
    % (
        re.escape(
            bytes({len(name) for name in _PERSONAL | _URLS} | {len("exception.message"), len("exception.stacktrace")})
        ),
        _alternatives(_PERSONAL | _URLS),
    )
).search


def suffix(attributes: dict[str, str | float]) -> bytes:
    """Attributes as the last fields of a span."""
    return b"".join([delimited(bytes((_ATTRIBUTE,)), key_value(key, value)) for key, value in attributes.items()])


class Stamp:
    """Makes the request for Sentry of what the one for the collector is made of.

    Args:
        last: from `suffix`.
        personal: whether query strings, addresses, names and messages of exceptions may leave.
    """

    def __init__(self, last: bytes, *, personal: bool) -> None:
        self._last = last
        self._care = not personal
        self._envelopes = Envelopes()

    def __call__(self, pieces: Sequence[Piece]) -> Encoded:
        """The request of these pieces; those that have no bytes are left out, for they are counted elsewhere."""
        groups = Groups(self._envelopes)
        resource: Any = groups  # nobody's resource: the first piece always looks for its group
        scope: Any = None
        items: list[bytes] = []
        last, care, heads, search, number = self._last, self._care, _HEADS, _CARE, 0
        added = len(last)
        for its_resource, its_scope, encoded in pieces:
            # the hot loop: half a microsecond for most spans
            if not encoded:
                continue
            if its_resource is not resource or its_scope is not scope:
                resource, scope = its_resource, its_scope
                items = groups.items(resource, scope)
            span = encoded[3:] if 130 < len(encoded) < 16387 else encoded[length(encoded, 1)[1] :]
            if care:
                found = search(span, _IDS)
                if span.endswith(_FAILED):
                    span = _guarded(span)
                elif found is not None:
                    span = _checked(span, found)
            size = len(span) + added
            items += (heads[size] if size < 2048 else b"\x12" + varint(size), span, last)
            number += 1
        return Encoded(groups.body(), number)


def _checked(span: bytes, found: re.Match[bytes] | None) -> bytes:
    """A span without what is personal.

    Args:
        span: one that has not failed.
        found: the first place in it to look at.
    """
    at = _IDS + _TIMES if span[_IDS] != _PARENT else _IDS + _PARENTS + _TIMES
    if span[at] != _NAME:
        return _guarded(span)
    while found is not None:
        pair = found.start()
        # any value may contain the bytes of an attribute: only walking tells, from field to field
        field = at
        while True:
            size, inside = span[field + 1], field + 2
            if size > 0x7F:
                size, inside = length(span, field + 1)
            if inside + size > pair or span[field] & 7 != 2:
                break
            field = inside + size
        if inside != pair or span[field] != _ATTRIBUTE:
            return _guarded(span)
        key = span[pair + 2 : pair + 2 + span[pair + 1]]
        if key in _PERSONAL_KEYS:
            span = span[:field] + span[pair + size :]
            at = field
        elif key in _URL_KEYS and not _has_query(span[pair : pair + size]):
            at = pair + size
        else:
            return _guarded(span)
        found = _CARE(span, at)
    return span


def _has_query(pair: bytes) -> bool:
    return b"?" in pair or b"#" in pair


def _guarded(span: bytes) -> bytes:
    """A span without events, without personal attributes, and with the words only of its status' message."""
    parts: list[bytes] = []
    for tag, field, payload in fields(span):
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
    found = dict((tag, payload) for tag, _, payload in fields(pair))  # noqa: C402 - the middle one is not wanted
    key = found.get(_LIST, b"").decode("utf-8", "replace")
    if key in _PERSONAL:
        return b""
    value = found.get(_INNER, b"")
    if key in _URLS and value[:1] == b"\x0a" and (b"?" in value or b"#" in value):
        text = next((payload for tag, _, payload in fields(value) if tag == _LIST), b"").decode("utf-8", "replace")
        return delimited(bytes((_ATTRIBUTE,)), key_value(key, text.partition("?")[0].partition("#")[0]))
    return field


def _status(status: bytes) -> bytes:
    parts: list[bytes] = []
    for tag, field, payload in fields(status):
        if tag == _STATUS_MESSAGE:
            parts.append(text_field(b"\x12", words(payload.decode("utf-8", "replace"))))
        else:
            parts.append(field)
    return delimited(bytes((_STATUS,)), b"".join(parts))


__all__ = ["Stamp", "suffix"]
