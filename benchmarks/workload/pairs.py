"""Two kinds of work by turns in one process, a few milliseconds each: what one of them costs more.

A process that lies differently in memory runs the same code up to a tenth faster or slower, for as long as it lives:
the allocator finds other holes, the caches other neighbours. Where the cost of a request is small against the request
(1,000 routes are matched before it is served), the difference between two processes shows that and little else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter, thread_time
from typing import NamedTuple

_BLOCK = 0.005  # seconds: long enough to be warm, short enough to share the machine's mood
_OUTER = 0.02
"""The part of the pairs that is left out on either side: the one whole garbage collection that fell into either."""


class Side(NamedTuple):
    """One kind of work.

    Attributes:
        prepare: called before each turn.
        work: done any number of times.
    """

    prepare: Callable[[], None]
    work: Callable[[], Awaitable[None]]


async def difference(one: Side, other: Side, seconds: float) -> dict[str, float]:
    """How much more CPU time of this thread `one` takes than `other`.

    Returns:
        `paired_us`: microseconds for each time of work; `pairs`: how many turns were compared.
    """
    count = max(1, int(_BLOCK / await _once(one)))
    found: list[float] = []
    deadline = perf_counter() + seconds
    while not found or perf_counter() < deadline:
        first, second = (one, other) if len(found) % 2 else (other, one)
        took = {id(side): await _turn(side, count) for side in (first, second)}
        found.append(took[id(one)] - took[id(other)])
    found.sort()
    outer = int(len(found) * _OUTER)
    kept = found[outer : len(found) - outer]
    return {"paired_us": 1e6 * sum(kept) / len(kept), "pairs": len(found)}


async def _once(side: Side) -> float:
    side.prepare()
    await side.work()
    started = perf_counter()
    await side.work()
    return perf_counter() - started


async def _turn(side: Side, count: int) -> float:
    side.prepare()
    await side.work()  # what the change of sides left to do
    started = thread_time()
    for _ in range(count):
        await side.work()
    return (thread_time() - started) / count
