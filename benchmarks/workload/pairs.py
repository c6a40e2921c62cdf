"""Two kinds of work by turns in one process: what one of them costs more.

A process that lies differently in memory runs the same code up to a tenth faster or slower, for as long as it lives:
the allocator finds other holes, the caches other neighbours. Where the cost of a request is small against the request
(1,000 routes are matched before it is served; a call of an HTTP client takes half a millisecond without telemetry),
the difference between two processes shows that and little else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter, process_time, thread_time
from typing import NamedTuple

_BLOCK = 0.005  # seconds: long enough to be warm, short enough to share the machine's mood
_SLICE = 0.25
"""Seconds of a turn that ends with a flush: exports fall into it as into any quarter of a second."""
_COLD = 5
"""Times of work before such a turn: what the change of sides has made the interpreter forget."""
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


class Whole(NamedTuple):
    """What was found with the export included.

    Attributes:
        paired_us: microseconds of all threads that the one side takes more, each time of work.
        pairs: how many turns were compared.
        one: times of work of the one side, also of those that were not measured.
        other: of the other side.
    """

    paired_us: float
    pairs: int
    one: int
    other: int


async def whole_difference(one: Side, other: Side, flush: Callable[[], None], seconds: float) -> Whole:
    """How much more CPU time of all threads `one` takes than `other`, up to the end of a flush."""
    turns: dict[Side, list[tuple[float, int]]] = {one: [], other: []}
    last, deadline = None, perf_counter() + seconds
    while last is None or perf_counter() < deadline:
        for side in (one, other, other, one):
            if side is not last:
                side.prepare()
            turns[side].append(await _slice(side.work, flush))
            last = side
    mean = {side: sum(cpu for cpu, _ in done) / sum(count for _, count in done) for side, done in turns.items()}
    times = {side: sum(_COLD + count for _, count in done) for side, done in turns.items()}
    return Whole(1e6 * (mean[one] - mean[other]), len(turns[one]), times[one], times[other])


async def _slice(work: Callable[[], Awaitable[None]], flush: Callable[[], None]) -> tuple[float, int]:
    for _ in range(_COLD):
        await work()
    flush()
    count, started, deadline = 0, process_time(), perf_counter() + _SLICE
    while not count or perf_counter() < deadline:
        await work()
        count += 1
    flush()
    return process_time() - started, count
