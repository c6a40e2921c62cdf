"""A dictionary that remembers what was computed before, within a fixed weight."""

from __future__ import annotations

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
