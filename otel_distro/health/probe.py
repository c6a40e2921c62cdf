"""A check with its memory: many ask, it runs once in its cache time."""

from __future__ import annotations

import threading
import time

from otel_distro.guard import Guard

from .check import Check
from .flight import Flight
from .result import Result, Status


class Probe:
    """One check of this process.

    Args:
        check: what it runs.
        guard: told once about a check that is not up.

    Attributes:
        check: as given.
        last: the newest result, None before the first run.
        told_at: when that was last told to somebody who asked, by `time.monotonic`.
        runs: how often it has run.
    """

    def __init__(self, check: Check, guard: Guard) -> None:
        self.check = check
        self.last: Result | None = None
        self.told_at = float("-inf")
        self.runs = 0
        self._guard = guard
        self._fresh_until = 0.0
        self._flight: Flight | None = None
        self._lock = threading.Lock()

    def begin(self) -> Flight | Result:
        """A result that still counts, or the run that is under way, which has begun just now where there was none."""
        last, now = self.last, time.monotonic()
        if last is not None and now < self._fresh_until:
            self.told_at = now
            return last
        return self._join()

    async def result(self, begun: Flight | Result) -> Result:
        """The result of what `begin` gave; within the check's timeout from the run's beginning."""
        if isinstance(begun, Result):
            return begun
        if not await begun.wait():
            self._late(begun)
        return self.last or self._remember(Result(Status.DOWN, None, begun.at, "no answer"))

    def forget(self) -> None:
        """In a forked child: whatever runs, runs in the parent."""
        self._lock = threading.Lock()
        self._flight = None
        self._fresh_until = 0.0

    def _join(self) -> Flight | Result:
        with self._lock:
            if self.last is not None and time.monotonic() < self._fresh_until:
                return self.last
            flight = self._flight
            if flight is not None and not flight.lost:
                if not flight.given_up:
                    return flight
                waited = time.monotonic() - flight.began
                return self._remember(Result(Status.DOWN, None, flight.at, f"no answer for {waited:.0f} s"))
            flight = Flight(self.check, self._landed)
            try:
                flight.start()
            except RuntimeError as error:
                # nothing is known about the dependency: the process has no thread left
                return self._remember(Result(Status.DOWN, None, flight.at, f"the check could not start: {error}"))
            self.runs += 1
            self._flight = flight
            return flight

    def _landed(self, flight: Flight, result: Result) -> None:
        with self._lock:
            if self._flight is flight:
                self._flight = None
            if not flight.given_up:
                self._remember(result)
        if result.status is not Status.UP:
            self._say(result)

    def _late(self, flight: Flight) -> None:
        with self._lock:
            if flight.over or flight.given_up:
                return
            flight.give_up()
            reason = f"no answer within {self.check.timeout:g} s"
            self._remember(Result(Status.DOWN, None, flight.at, reason))
        self._say(self.last)

    def _say(self, result: Result | None) -> None:
        """Name a check's first failure; what comes after is in the answers and the gauges."""
        name = f"health check {self.check.name}"
        if result is not None and result.nonsense:
            self._guard.failed(name, result.reason or "nonsense")
        elif result is not None:
            self._guard.warn(f"{name}: {result.status.value}: {result.reason}", once=name)

    def _remember(self, result: Result) -> Result:
        self.last, self.told_at = result, time.monotonic()
        self._fresh_until = self.told_at + self.check.cache
        return result
