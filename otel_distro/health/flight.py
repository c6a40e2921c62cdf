"""One run of a check, in a thread or a task, that any number of requests wait for."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable

from otel_distro import loops

from .check import Check, silent
from .result import Result, raised, returned


class Flight:
    """A run that has begun.

    Nothing waits for its end longer than the check's timeout; a thread that hangs cannot be ended, so it goes on by
    itself (as a daemon: it does not keep the process alive), and no other run of this check begins meanwhile.

    Args:
        check: to run.
        landed: called with this flight and its result at its end, from whatever thread that is.

    Attributes:
        began: on the monotonic clock.
        at: in seconds since the epoch.
        over: whether it has ended.
        given_up: whether its timeout has passed.
    """

    def __init__(self, check: Check, landed: Callable[[Flight, Result], None]) -> None:
        self.began = time.monotonic()
        self.at = time.time()
        self.over = False
        self.given_up = False
        self._check = check
        self._landed = landed
        self._loop = loops.running()
        self._cancel: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._waiting: list[loops.Waiter] = []

    @property
    def lost(self) -> bool:
        """Whether it can never end, because its event loop is closed."""
        return self._cancel is not None and not self.over and self._loop.closed

    @property
    def left(self) -> float:
        """Seconds until its timeout."""
        return self.began + self._check.timeout - time.monotonic()

    def start(self) -> None:
        """Begin.

        Raises:
            RuntimeError: the process cannot start another thread.
        """
        context = silent()
        if self._check.is_async:
            self._cancel = self._loop.begin(self._in_task, context)
        else:
            name = f"otel-distro-check-{self._check.name[:40]}"
            threading.Thread(target=context.run, args=(self._in_thread,), name=name, daemon=True).start()

    async def wait(self) -> bool:
        """Wait for the end, at most until the timeout; whether it came."""
        left = self.left
        end = loops.running().waiter()
        with self._lock:
            if self.over or left <= 0:
                return self.over
            self._waiting.append(end)
        await end.ended(left)
        return self.over

    def give_up(self) -> None:
        """Its timeout has passed: a task is told to end, a thread cannot be."""
        self.given_up = True
        if self._cancel is not None:
            self._cancel()

    async def _in_task(self) -> None:
        try:
            result = returned(await self._check.function(), self._seconds(), self.at)
        except (Exception, SystemExit, self._loop.cancelled) as error:  # noqa: BLE001 - a check may raise anything
            result = raised(error, self._seconds(), self.at)
        self._land(result)

    def _in_thread(self) -> None:
        try:
            value = self._check.function()
            if inspect.isawaitable(value):
                value = self._loop.awaited(value)
            result = returned(value, self._seconds(), self.at)
        except BaseException as error:  # noqa: BLE001 - nobody else has this thread, and without a result none comes again
            result = raised(error, self._seconds(), self.at)
        self._land(result)

    def _seconds(self) -> float:
        return time.monotonic() - self.began

    def _land(self, result: Result) -> None:
        self._landed(self, result)
        with self._lock:
            self.over = True
            waiting, self._waiting = self._waiting, []
        for end in waiting:
            end.end()
