"""Spans as Sentry gets them: the bytes that were made for the collector, each with a few attributes behind its own.

Sentry reads release, environment and sample rate from attributes of each span, drops span events, and scrubs nothing
that it gets by OTLP. So each span gets the attributes, and the few that hold what must not leave by default are taken
apart and put together without it. All of a batch at a stretch: one by one, between the application's own work, each
would cost four times as much, and each would be one more object for the garbage collector while it waits.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import accumulate

from otel_distro.otlp._batch import Encoded, Group
from otel_distro.otlp._groups import Envelopes, Frames, Groups
from otel_distro.otlp._values import key_value
from otel_distro.otlp._wire import delimited, text_field

from .wire import fields, length
from .words import words

_LIST = 0x0A  # the key of an attribute, a text value
_INNER = 0x12  # the value of an attribute
_STATE, _PARENT, _ATTRIBUTE, _EVENT, _LINK, _STATUS = 0x1A, 0x22, 0x4A, 0x5A, 0x6A, 0x7A
_OF_LINK = 0x22  # an attribute of a link
_KIND_AND_NAME = b"\x30\x2a"
_STATUS_MESSAGE = 0x12

_PERSONAL = frozenset(
    {
        *("url.query", "client.address", "network.peer.address", "enduser.pseudo.id", "enduser.scope", "enduser.role"),
        *("user.email", "user.name", "user.full_name", "user.hash"),
    }
)
_URLS = frozenset({"url.full", "http.url", "http.target"})
_NEEDLES = {name: text_field(b"\x0a", name) + bytes((_INNER,)) for name in sorted(_PERSONAL | _URLS)}
"""How an attribute goes on behind its tag and length, by its name."""
_ADDRESS = _NEEDLES["client.address"]
_URL_LENGTHS = frozenset({len(name) for name in _URLS})
"""Of their names; no personal one is as long."""
_FAILED = 2
"""The last byte of a span that failed, with whose status our encoder ends it."""
_IDS = 28
"""Bytes of trace and span id with which our encoder begins a span; they hold any byte."""
_PARENTS = 10
"""Bytes of the parent's id, if there is one."""
_TIMES = 26
"""Bytes of flags, kind and times, which stand between the ids and the name."""
_TO_NAME = 20
"""Bytes of kind and times, before which a tracestate may stand."""
_BODY = _IDS + _TIMES
"""Where the name stands at the earliest; attributes are behind it, and events behind those."""
_LARGE = 16_383
"""Bytes of a span whose fields have lengths of at most two bytes."""
Names = Callable[[], Collection[str] | None]
"""Gives names of attributes, which only become more; None for all there may be."""


def _any_name() -> None:
    """Nobody knows which names there were."""


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


_EVENT_HEADS = re.compile(b"Z[\x80-\xff]{0,2}.\x09", re.DOTALL).finditer
"""Tag and length of an event, and the tag of its time."""
_FAILED_AND_NEXT = b"\x02\x0a\x10"
"""The last byte of a span that failed, and the beginning of the next one."""

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
        names: of the attributes that spans have had so far, so that none is looked for in vain.
    """

    def __init__(self, last: bytes, *, personal: bool, names: Names = _any_name) -> None:
        self._last = last
        self._guard = None if personal else _Guard(names)
        self._envelopes = Envelopes()
        # each span behind the end of the one before it
        self._frames = Frames(last, len(last))

    def __call__(self, groups: Sequence[Group]) -> Encoded:
        """The request of these spans."""
        guard, last = self._guard, self._last
        request, count = Groups(self._envelopes), 0
        for resource, scope, spans in groups:
            if not spans:
                continue
            parts = self._frames(spans if guard is None else guard(spans))
            # nothing to end before the first, and the last ends, too
            parts[0] = parts[0][len(last) :]
            parts.append(last)
            request.items(resource, scope).extend(parts)
            count += len(spans)
        return Encoded(request.body(), count)


class _Guard:
    """Takes what is personal out of spans.

    Args:
        names: see `Stamp`.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._looked_up: tuple[int, tuple[bytes, ...]] = (-1, ())

    def __call__(self, spans: Sequence[bytes]) -> Sequence[bytes]:
        """These spans without what is personal."""
        # all at a stretch: a search in each would cost several times as much, and most hold nothing
        text = b"".join(spans)
        needles = [needle for needle in self._look_up() if needle in text]
        taken_apart = {number: _guarded(spans[number]) for number in _doubtful(spans, text) if _holds(spans[number])}
        if taken_apart:
            return [taken_apart.get(number) or _cut(span, needles) for number, span in enumerate(spans)]
        return [_cut(span, needles) for span in spans] if needles else spans

    def _look_up(self) -> tuple[bytes, ...]:
        """What to look for."""
        names = self._names()
        if names is None:
            return tuple(_NEEDLES.values())
        # they only become more; in one step with what was found, which a signal handler's exception may interrupt
        count = len(names)
        known, needles = self._looked_up
        if count != known:
            needles = tuple([needle for name, needle in _NEEDLES.items() if name in names])
            self._looked_up = count, needles
        return needles


def _doubtful(spans: Sequence[bytes], text: bytes) -> set[int]:
    """Numbers of spans that may have failed or have events, or are so large that lengths in them have three bytes.

    Args:
        spans: of which some may be.
        text: all of them.
    """
    marks = [found.start() for found in _EVENT_HEADS(text)]
    place = text.find(_FAILED_AND_NEXT)
    while place >= 0:
        marks.append(place)
        place = text.find(_FAILED_AND_NEXT, place + 1)
    if text[-1:] == _FAILED_AND_NEXT[:1]:
        marks.append(len(text) - 1)
    found = set[int]()
    if marks:
        ends = list(accumulate(map(len, spans)))
        found.update([bisect(ends, mark) for mark in marks])
    if max(map(len, spans)) > _LARGE:
        found.update([number for number, span in enumerate(spans) if len(span) > _LARGE])
    return found


def _holds(span: bytes) -> bool:
    """Whether a span has more than attributes that must not leave."""
    return span[-1] == _FAILED or _CARE_EVERYWHERE(span, _BODY) is not None


def _cut(span: bytes, needles: Iterable[bytes]) -> bytes:
    """A span without its personal attributes, where nothing else in it is personal."""
    name = _BODY if span[_IDS] != _PARENT else _BODY + _PARENTS
    if span[name - _TO_NAME : name + 1 : _TO_NAME] != _KIND_AND_NAME:
        name = _name_of(span)
    if not name:
        return _guarded(span)
    size = span[name + 1]
    if size < 0x80:
        # behind the name of a server span of ours stands the caller's address
        at = name + 2 + size
        if span.startswith(_ADDRESS, at + 2) and span[at + 1] < 0x80:
            span = span[:at] + span[at + 2 + span[at + 1] :]
    found: list[int] = []
    for needle in needles:
        place = span.find(needle, _IDS)
        while place >= 0:
            if span[place - 2] == _ATTRIBUTE:
                found.append(place - 2)
            elif span[place - 3] == _ATTRIBUTE and span[place - 2] > 0x7F:  # the attribute's length has two bytes
                found.append(place - 3)
            else:  # of a link, or in a value
                return _guarded(span)
            place = span.find(needle, place + 1)
    if not found:
        return span
    found.sort()
    return _without(span, name, found)


def _name_of(span: bytes) -> int:
    """Where the name begins behind a tracestate; 0 where the fields before it are not those of our encoder."""
    at = _BODY if span[_IDS] != _PARENT else _BODY + _PARENTS
    if len(span) > at and span[at - _TO_NAME] == _STATE:
        # the caller's, of whatever bytes the caller wants
        size, end = length(span, at - _TO_NAME + 1)
        at = end + size + _TO_NAME
        if span[at - _TO_NAME : at + 1 : _TO_NAME] == _KIND_AND_NAME:
            return at
    return 0


def _without(span: bytes, at: int, places: list[int]) -> bytes:
    """A span without personal attributes.

    Args:
        span: one that has not failed.
        at: where its name begins.
        places: in it where such attributes may begin, in order.
    """
    kept, parts = 0, b""
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
        elif tag == _LINK:
            parts.append(_link(payload))
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
    if key in _URLS and _has_query(value):
        if value[:1] != b"\x0a":
            return b""  # a list of them, for instance
        text = next((payload for tag, _, payload in fields(value) if tag == _LIST), b"").decode("utf-8", "replace")
        return delimited(field[:1], key_value(key, text.partition("?")[0].partition("#")[0]))
    return field


def _link(link: bytes) -> bytes:
    parts = [_attribute(field, payload) if tag == _OF_LINK else field for tag, field, payload in fields(link)]
    return delimited(bytes((_LINK,)), b"".join(parts))


def _status(status: bytes) -> bytes:
    parts: list[bytes] = []
    for tag, field, payload in fields(status):
        if tag == _STATUS_MESSAGE:
            parts.append(text_field(b"\x12", words(payload.decode("utf-8", "replace"))))
        else:
            parts.append(field)
    return delimited(bytes((_STATUS,)), b"".join(parts))


__all__ = ["Stamp", "suffix"]
