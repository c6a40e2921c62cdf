"""Dictionaries that remember what was computed before, within a fixed weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """A cache whose reads cost what a dictionary's cost; when it is full it forgets everything and starts again.

    Forgetting everything is cheap, needs no order and no lock, and a working set that fits is learnt again at once.

    Args:
        limit: most weight the entries may have together (entries, characters: whatever `keep` is told).

    Attributes:
        known: to be looked into and not written to. A plain dictionary: to look into one of a further class takes the
            interpreter eight times as long.
        get: the dictionary's own.
    """

    __slots__ = ("_left", "_limit", "get", "known")

    def __init__(self, limit: int) -> None:
        self.known: dict[K, V] = {}
        self.get = self.known.get
        self._limit = limit
        self._left = limit

    def keep(self, key: K, value: V, weight: int = 1) -> V:
        """Remember `value` and return it; an entry heavier than an eighth of the limit is not remembered."""
        if weight * 8 > self._limit:
            return value
        left = self._left - weight
        if left < 0:
            self.clear()
            left = self._limit - weight
        self._left = left
        self.known[key] = value
        return value

    def clear(self) -> None:
        """Forget everything."""
        self.known.clear()
        self._left = self._limit


class Memo(dict[K, V]):
    """What a function gives for each key, remembered: `memo[key]` costs a dictionary's look.

    Keys may be a stranger's, as the names in a payload that an application logs: one that weighs too much is worked out
    each time, and when it is full it forgets everything, as `BoundedCache`.

    Args:
        give: what a key is worth.
        most: entries.
        heaviest: weight of a key that is remembered.
        weigh: the weight of a key.
    """

    def __init__(self, give: Callable[[K], V], *, most: int, heaviest: int, weigh: Callable[[K], int]) -> None:
        super().__init__()
        self._give = give
        self._most = most
        self._heaviest = heaviest
        self._weigh = weigh

    def __missing__(self, key: K) -> V:
        value = self._give(key)
        if self._weigh(key) <= self._heaviest:
            if len(self) >= self._most:
                self.clear()
            self[key] = value
        return value
