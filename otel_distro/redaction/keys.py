"""Redis keys as patterns."""

from __future__ import annotations

import re
from typing import Any

from otel_distro.bounded import BoundedCache

from .policy import PLACEHOLDER

_WORD = re.compile(r"[A-Za-z][A-Za-z_-]{0,23}")
_SEPARATORS = re.compile(r"[:/|.]")
_VERSION = re.compile(r"v\d{1,2}")
_MAX_SEGMENTS = 8
_MAX_KEY = 256
_MAX_REMEMBERED = 200_000  # characters of keys and of their first segments
# Nouns that name a kind of data and never a person or a thing: only these are shown behind the first segment.
_NOUNS = """
account accounts address api app auth balance basket blob body book cache cart carts catalog category channel chat
comment comments config count counter cursor customer customers dashboard data day detail details device devices doc
document documents event events feature features feed file flag flags followers friends group groups hash hour html
id ids image index info inventory invoice item items job jobs json key keys last latest leaderboard limit list
location lock locks login map member members message messages meta metadata metrics minute month name notification
notifications online order orders page pages payment payments permissions post posts prefs presence price prices
product products profile profiles progress queue quota rate ratelimit rates ref report request requests response
result results role roles room rooms schedule score scores search sequence session sessions set settings shop state
stats status stock store stream summary tag tags task tasks tenant tenants thread throttle time timeline token
tokens topic total tx unread url user users version view views visits week worker year
"""
_VOCABULARY = frozenset(_NOUNS.split())


def key_pattern(key: str | bytes | memoryview | float) -> str:
    """The pattern of a Redis key: its structure without identifiers, such as `user:?` for `user:42`.

    The first segment stays when it is a plain word, later ones only when they are words of a fixed vocabulary,
    everything else becomes `?`: a name or token in a key is as private as a value. A key of one segment stays only
    when the vocabulary has it.

    Args:
        key: as redis-py takes it; anything that is not text becomes `?`.
    """
    if isinstance(key, bytes):
        key = key.decode("utf-8", "replace")
    if not isinstance(key, str):
        return PLACEHOLDER
    text = key if len(key) <= _MAX_KEY else key[:_MAX_KEY]
    segments = _SEPARATORS.split(text, _MAX_SEGMENTS)
    if len(segments) == 1:
        return text if text in _VOCABULARY else PLACEHOLDER
    shown: list[str] = []
    at = 0
    for index, segment in enumerate(segments):
        if index:
            shown.append(text[at])
            at += 1
        at += len(segment)
        last = index == len(segments) - 1
        shown.append(segment if index < _MAX_SEGMENTS and _shown(segment, index, last) else PLACEHOLDER)
    return "".join(shown)


def _shown(segment: str, index: int, last: bool) -> bool:
    if index == 0:
        return _WORD.fullmatch(segment) is not None
    return segment in _VOCABULARY or (not last and _VERSION.fullmatch(segment) is not None)


class KeyPatterns:
    """`key_pattern` for the hot path, with a limit on how many patterns are told apart.

    Args:
        limit: of different patterns; the keys of all further ones are `?`.
    """

    __slots__ = ("_by_head", "_by_key", "_distinct", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._distinct: set[str] = set()
        self._by_head: BoundedCache[str, str] = BoundedCache(_MAX_REMEMBERED)
        self._by_key: BoundedCache[str, str] = BoundedCache(_MAX_REMEMBERED)

    def of(self, key: Any) -> str:
        """The pattern of a key; anything that is not text is `?`."""
        if key.__class__ is not str:
            if key.__class__ is not bytes:
                return PLACEHOLDER
            key = key.decode("utf-8", "replace")
        head, _, tail = key.partition(":")
        # `user:42` and `session:a1b2` are nearly all keys there are: they need no look at each segment
        if tail.isalnum() and tail not in _VOCABULARY:
            return self._by_head.get(head) or self._learn(self._by_head, head, f"{head}:0")
        return self._by_key.get(key) or self._learn(self._by_key, key, key)

    def _learn(self, cache: BoundedCache[str, str], known_as: str, key: str) -> str:
        pattern = key_pattern(key)
        if pattern not in self._distinct:
            if len(self._distinct) >= self._limit:
                pattern = PLACEHOLDER
            else:
                self._distinct.add(pattern)
        return cache.keep(known_as, pattern, len(known_as) + 32)
