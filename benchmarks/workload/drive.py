"""Rounds on command: requests against an application in this process for so many seconds, with their CPU time."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from math import inf
from time import perf_counter
from typing import Any, TextIO

from application import connect, full, small
from asgi import App, Request, Walk, wrapped
from cases import CASES, OFF, SILENT, Case
from fastapi import FastAPI
from pairs import Side, difference, whole_difference
from setups import Setup, setup
from sqlalchemy import Engine

_COLD = 5
_BEAT = 0.1  # seconds


@dataclass(slots=True)
class _Round:
    """What a round has done so far."""

    request: Request
    cpu: float = 0.0
    requests: int = 0
    wall: float = 0.0
    gaps: list[float] = field(default_factory=list)


class Driver:
    """The applications of one peer, each built when a case first asks for it.

    Args:
        wiring: The peer's own lines of code.
        wrap: Wrapper around each application, as `asgi.wrapped` knows it.
    """

    def __init__(self, wiring: Setup, wrap: str) -> None:
        self._wiring = wiring
        self._wrap = wrap
        wiring.before()
        self._app = cache(self._build)  # of this driver: it lives as long as the process
        self._applications: dict[str, tuple[FastAPI, Engine | None]] = {}

    def request(self, case: Case) -> Request:
        """The request of a case, ready to be sent any number of times."""
        return Request(self._app(case.app), case.method, case.path, size=case.size, fails=case.fails)

    async def warm(self, case: Case, requests: int, seconds: float = inf) -> dict[str, Any]:
        """Checks the answer, sends `requests` in all or as many as fit in `seconds`, and flushes.

        Returns:
            `requests`: how many were sent; what arrived of those tells the spans of one.
        """
        request, deadline = self.request(case), perf_counter() + seconds
        status = await request.status()
        if status != (500 if case.fails else 200):
            raise RuntimeError(f"{case.name}: the application answered {status}")
        sent = 1
        while sent < requests and perf_counter() < deadline:
            await request.send()
            sent += 1
        self._wiring.flush()
        return {"requests": sent}

    async def begin(self, case: Case) -> dict[str, Any]:
        """Starts a round: what it finds is warm and empty."""
        request = self.request(case)
        for _ in range(_COLD):  # connections and caches that went cold while others were measured
            await request.send()
        self._wiring.flush()
        gc.collect()
        self._round = _Round(request)
        return {}

    async def slice(self, case: Case, seconds: float) -> dict[str, Any]:
        """Sends requests one after the other for `seconds`, and flushes: this peer's turn in the round.

        The CPU time of all threads counts until everything has left; what a thread does while others have their turn is
        no request's cost.
        """
        held = self._round
        cpu, started = _cpu(), perf_counter()
        send = _send_and_time(held.request, seconds, held.gaps) if case.lag else _send(held.request, seconds)
        held.requests += await send
        held.wall += perf_counter() - started
        self._wiring.flush()
        held.cpu += _cpu() - cpu
        return {}

    async def end(self, _: Case) -> dict[str, Any]:
        """The requests of the round and the CPU time they took."""
        held = self._round
        result = {"requests": held.requests, "cpu_s": held.cpu, "wall_s": held.wall}
        return {**result, "gaps_ms": _percentiles(held.gaps)} if held.gaps else result

    async def pair(self, case: Case, seconds: float) -> dict[str, Any]:
        """What a request of the case costs more than one of what it is compared `against`, by turns for `seconds`.

        Returns:
            As `pairs.difference`, or as `pairs.Whole` for a library's calls, which `silent` must have left without
            telemetry; nothing where the peer's telemetry cannot be switched off.
        """
        request, switch = self.request(case), self._wiring.switch
        if case.against == SILENT:
            return await self._calls(case, request, seconds)
        if case.against != OFF:
            other = self.request(next(other for other in CASES if other.name == case.against))
            sides = Side(_nothing, request.send), Side(_nothing, other.send)
        elif switch is None:
            return {}
        else:
            app, _ = self._applications[case.app]
            sides = Side(partial(switch, app, True), request.send), Side(partial(switch, app, False), request.send)
        gc.collect()
        found: dict[str, Any] = await difference(*sides, seconds)
        sides[0].prepare()
        self._wiring.flush()
        return found

    async def silent(self, case: Case, requests: int) -> dict[str, Any]:
        """As `warm`, without the telemetry of the library that the case calls, and leaves it so."""
        self._switch(case)(False)
        return await self.warm(case, requests)

    def _switch(self, case: Case) -> Callable[[bool], None]:
        _, engine = self._applications[case.app]
        if self._wiring.library is None or engine is None:
            raise RuntimeError(f"{case.name}: telemetry of the library cannot be switched")
        return partial(self._wiring.library, case.library, engine)

    async def _calls(self, case: Case, request: Request, seconds: float) -> dict[str, Any]:
        switch = self._switch(case)
        sides = (Side(partial(switch, on), request.send) for on in (True, False))
        gc.collect()
        found = await whole_difference(*sides, self._wiring.flush, seconds)
        return found._asdict()

    def _build(self, kind: str) -> App:
        if kind == "full":
            backends = connect()
            app, engine = full(backends), backends.engine
        else:
            app, engine = small(1000 if kind == "many" else 1), None
        self._wiring.wire(app, engine)
        self._applications[kind] = app, engine
        return wrapped(Walk(app, small(1000).routes) if kind == "walk" else app, self._wrap)


def _nothing() -> None:
    """Both kinds of requests are sent as they are."""


async def _send(request: Request, seconds: float) -> int:
    count, deadline = 0, perf_counter() + seconds
    while perf_counter() < deadline:
        await request.send()
        count += 1
    return count


async def _send_and_time(request: Request, seconds: float, gaps: list[float]) -> int:
    before, last = len(gaps), perf_counter()
    deadline = last + seconds
    while last < deadline:
        await request.send()
        now = perf_counter()
        gaps.append(now - last)
        last = now
    return len(gaps) - before


def _cpu() -> float:
    """Seconds of processor time of all threads, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _percentiles(gaps: list[float]) -> dict[str, float]:
    """Milliseconds at each percentile: how long the loop was held by a request and by whatever stopped it."""
    ordered = sorted(gaps)
    at = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    result = {name: 1000 * ordered[int(share * (len(ordered) - 1))] for name, share in at.items()}
    return {**result, "max": 1000 * ordered[-1]}


async def beating() -> None:
    """A timer in the loop, as under uvicorn, which looks ten times a second whether it should end.

    Each turn of a loop with any timer looks when that is due. Without this, who sets one would pay for all of it.
    """
    while True:  # noqa: ASYNC110 - the timer is what it is for
        await asyncio.sleep(_BEAT)


def drive(commands: TextIO, answers: TextIO, name: str, wrap: str) -> None:
    """Obeys `{"do": "warm"|"begin"|"slice"|"end"|"silent"|"pair", "case": …, …}`, one a line, until the input ends.

    A command that fails is answered with `{"error": …}`; the next one is obeyed all the same.
    """
    driver = Driver(setup(name), wrap)
    cases = {case.name: case for case in CASES}
    with asyncio.Runner() as runner:
        beat = runner.get_loop().create_task(beating())
        _answer(answers, lambda: {"ready": True})
        for line in commands:
            command = json.loads(line)
            case = cases[command.pop("case")]
            run = getattr(driver, command.pop("do"))(case, **command)
            _answer(answers, lambda run=run: runner.run(run))  # type: ignore[misc]
        beat.cancel()


def _answer(answers: TextIO, work: Callable[[], dict[str, Any]]) -> None:
    try:
        result = work()
    except Exception as error:  # noqa: BLE001 - one case of one peer must not end the whole run
        result = {"error": f"{type(error).__name__}: {error}"}
    answers.write(json.dumps(result) + "\n")
    answers.flush()
