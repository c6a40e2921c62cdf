"""A dictionary that remembers what was computed before, within a fixed weight."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedCache(dict[K, V]):
    """A cache whose reads cost what a dictionary's cost; when it is full it forgets everything and starts again.

    Forgetting everything is cheap, needs no order and no lock, and a working set that fits is learnt again at once.

    Args:
        limit: most weight the entries may have together (entries, characters: whatever `keep` is told).
    """

    __slots__ = ("_left", "_limit")

    def __init__(self, limit: int) -> None:
        super().__init__()
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
        self[key] = value
        return value
