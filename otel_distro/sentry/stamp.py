"""Spans as Sentry gets them: the bytes that were made for the collector, each with a few attributes behind its own.

Sentry reads release, environment and sample rate from attributes of each span, drops span events, and scrubs nothing
that it gets by OTLP. So each span gets the attributes, and the few that hold what must not leave by default are taken
apart and put together without it. All of a batch at a stretch: one by one, between the application's own work, each
would cost four times as much, and each would be one more object for the garbage collector while it waits.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
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
_URL_LENGTHS = frozenset({len(name) for name in _URLS})
"""Of their names; no personal one is as long."""
_CAREFUL = frozenset({name.encode() for name in _PERSONAL | _URLS})
_ADDRESS = text_field(b"\x0a", "client.address")
"""How an attribute that every server span has goes on behind its tag and length."""
_LONGEST_END, _ENDS_KEPT = 512, 1024
_SAMPLE = 8
"""Spans of a batch that tell whether it is worth while to look for ends that are known."""
_NOTHING = b"\x00"
"""In the place of a span that has been dealt with."""
_FAILED = 2
"""The last byte of a span that failed, with whose status our encoder ends it."""
_IDS = 28
"""Bytes of trace and span id with which our encoder begins a span; they hold any byte."""
_PARENTS = 10
"""Bytes of the parent's id, if there is one."""
_TIMES = 26
"""Bytes of flags, kind and times, which stand between the ids and the name."""
_KIND = _IDS + 7
"""Where the kind of a span without a parent stands."""
_SERVER = b"\x02"
_BODY = _IDS + _TIMES
"""Where the name stands at the earliest; attributes are behind it, and events behind those."""
_LARGE = 16_383
"""Bytes of a span whose fields have lengths of at most two bytes."""
_USUAL = 2048
"""Bytes below which the heads of spans are made beforehand."""


def _one_of(names: Iterable[str]) -> bytes:
    """A pattern for these; what they begin with is found out first."""
    firsts = {name[0]: [other[1:] for other in sorted(names) if other[0] == name[0]] for name in sorted(names)}
    return b"|".join(
        [
            re.escape(first.encode()) + b"(?:%b)" % b"|".join([re.escape(rest.encode()) for rest in rests])
            for first, rests in firsts.items()
        ]
    )


def _lengths(names: Iterable[str]) -> bytes:
    return re.escape(bytes({len(name) for name in names}))


# an attribute of a span: the tag is searched for at the speed of memory, and goes on with a length of one or two bytes
_CARE = re.compile(
    b"J[\x80-\xff]?.\x0a[%b](?:%b)\x12" % (_lengths(_PERSONAL | _URLS), _one_of(_PERSONAL | _URLS)), re.DOTALL
).finditer

_EVENT_HEAD = re.compile(b"Z[\x80-\xff]{0,2}.\x09", re.DOTALL).match
"""Tag and length of an event, and the tag of its time."""

# one of anything, an event for instance
_CARE_EVERYWHERE = re.compile(
    b"\x0a[%b](?:%b)"
    % (
        _lengths({*_PERSONAL, *_URLS, "exception.message", "exception.stacktrace"}),
        _one_of({*(f"{name}\x12" for name in _PERSONAL | _URLS), "exception."}),
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
        self._guard = None if personal else _Guard()
        self._envelopes = Envelopes()
        # what stands between one span and the next, by the next one's size
        self._between = tuple(last + b"\x12" + varint(size + len(last)) for size in range(_USUAL))

    def __call__(self, pieces: Sequence[Piece]) -> Encoded:
        """The request of these pieces; those that have no bytes are left out, for they are counted elsewhere."""
        pieces = [piece for piece in pieces if len(piece[2]) > _IDS]
        # without tag and length, which is of one byte for short spans and of two for most
        spans = [
            encoded[3:] if 130 < (size := len(encoded)) < 16387 else encoded[2 if size < 130 else _inside(encoded) :]
            for _, _, encoded in pieces
        ]
        if self._guard is not None:
            self._guard(spans)
        groups = Groups(self._envelopes)
        lists: dict[tuple[int, int], list[bytes]] = {}
        resource: Any = groups  # nobody's resource: the first piece always looks for its group
        scope: Any = None
        items: list[bytes] = []
        between = self._between
        for (its_resource, its_scope, _), span in zip(pieces, spans, strict=True):
            if its_scope is not scope or its_resource is not resource:
                resource, scope = its_resource, its_scope
                # the pieces hold both, so that an id is nobody else's meanwhile
                key = (id(resource), id(scope))
                items = lists.get(key) or lists.setdefault(key, groups.items(resource, scope))
            size = len(span)
            items += (between[size] if size < _USUAL else self._before(size), span)
        for items in {id(items): items for items in lists.values()}.values():
            # nothing to end before the first, and the last ends, too
            items[0] = items[0][len(self._last) :]
            items.append(self._last)
        return Encoded(groups.body(), len(spans))

    def _before(self, size: int) -> bytes:
        return self._last + b"\x12" + varint(size + len(self._last))


def _inside(encoded: bytes) -> int:
    return length(encoded, 1)[1]


class _Guard:
    """Takes what is personal out of spans.

    Most server spans have one thing in common: what follows the caller's address is the same as in others of its
    requests. What has been searched once is remembered.
    """

    def __init__(self) -> None:
        self._ends: set[bytes] = set()

    def __call__(self, spans: list[bytes]) -> None:
        """Replace those that hold something, in their places."""
        if not all(map(_is_server, spans[:: len(spans) // _SAMPLE + 1])):
            _search(spans)
            return
        known: dict[int, bytes] = {}
        new: list[tuple[int, bytes, int]] = []
        for number, span in enumerate(spans):
            place = span.find(_ADDRESS, _BODY) - 2
            if place > 0 and span[place:] in self._ends and _is_harmless(span, place):
                known[number] = _without_one(span, place)
                spans[number] = _NOTHING
            elif place > 0:
                new.append((number, span, place))
        if len(known) < len(spans):
            _search(spans)
        for number, span, place in new:
            self._learn(span, spans[number], place)
        for number, span in known.items():
            spans[number] = span

    def _learn(self, span: bytes, cleaned: bytes, place: int) -> None:
        # nothing was found but the address, so whoever ends like this needs no search
        if len(span) - place <= _LONGEST_END and cleaned == _without_one(span, place):
            if len(self._ends) >= _ENDS_KEPT:
                self._ends.clear()
            self._ends.add(span[place:])


def _is_server(span: bytes) -> bool:
    at = _KIND if span[_IDS] != _PARENT else _KIND + _PARENTS
    return span[at : at + 1] == _SERVER


def _without_one(span: bytes, place: int) -> bytes:
    """A span without the attribute that begins there and is short."""
    return span[:place] + span[place + 2 + span[place + 1] :]


def _is_harmless(span: bytes, place: int) -> bool:
    """Whether an attribute begins there, and nothing that is personal or long comes before it."""
    at = _BODY if span[_IDS] != _PARENT else _BODY + _PARENTS
    if span[at] != _NAME or span[at + 1] > 0x7F:
        return False
    at += 2 + span[at + 1]
    while at < place:
        size = span[at + 1]
        if span[at] != _ATTRIBUTE or size > 0x7F or span[at + 2] != _LIST:
            return False
        if span[at + 4 : at + 4 + span[at + 3]] in _CAREFUL:
            return False
        at += 2 + size
    return at == place


def _search(spans: list[bytes]) -> None:
    """Take what is personal out of these spans, in their places."""
    # all at a stretch: a search in each would cost twice as much
    text, ends = b"".join(spans), list(accumulate(map(len, spans)))
    _cut(spans, text, ends)
    events = [bisect(ends, place) for place in _events(text)]
    large = [number for number, span in enumerate(spans) if len(span) > _LARGE or span[-1] == _FAILED]
    for number in {*events, *large}:
        span = spans[number]
        if span[-1] == _FAILED or _CARE_EVERYWHERE(span, _BODY) is not None:
            spans[number] = _guarded(span)


def _events(text: bytes) -> Iterator[int]:
    """Where events may begin; ids and values may hold the same bytes."""
    # one byte by itself is found many times faster than a pattern that begins with it
    place = text.find(b"Z")
    while place >= 0:
        if _EVENT_HEAD(text, place) is not None:
            yield place
        place = text.find(b"Z", place + 1)


def _cut(spans: list[bytes], text: bytes, ends: Sequence[int]) -> None:
    """Take personal attributes out of spans that have no other fields that are.

    Args:
        spans: of which some are replaced.
        text: all of them.
        ends: of each, in the text.
    """
    number, start, end = -1, 0, 0
    places: list[int] = []
    for place in [found.start() for found in _CARE(text)]:
        if place < end:
            places.append(place - start)
            continue
        if places:
            spans[number] = _without(spans[number], places)
        number += 1
        end = ends[number]
        if place >= end:
            number = bisect(ends, place, number)
            end = ends[number]
        start = end - len(spans[number])
        places = [place - start]
    if places:
        spans[number] = _without(spans[number], places)


def _without(span: bytes, places: list[int]) -> bytes:
    """A span without what is personal, at these places.

    Args:
        span: one that has not failed.
        places: in it where something that is personal may begin.
    """
    at, kept, parts = _BODY if span[_IDS] != _PARENT else _BODY + _PARENTS, 0, b""
    if span[at] != _NAME:
        return _guarded(span)
    for place in places:
        # any value may contain the bytes of an attribute: only walking tells, from field to field
        while at < place:
            size = span[at + 1]
            at += 2
            if size > 0x7F:
                size, at = length(span, at - 1)
            at += size
        if at != place:
            return _guarded(span)
        size = span[at + 1]
        pair = at + 2
        if size > 0x7F:
            size, pair = length(span, at + 1)
        at = pair + size
        if span[pair + 1] not in _URL_LENGTHS:
            parts += span[kept:place]
            kept = at
        elif _has_query(span[pair:at]):
            return _guarded(span)
    return parts + span[kept:]


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
