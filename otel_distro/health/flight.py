"""One run of a check, in a thread or a task, that any number of requests wait for."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable

from .check import Check, on_loop, silent
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
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def lost(self) -> bool:
        """Whether it can never end, because its event loop is closed."""
        return self._task is not None and not self.over and self._loop.is_closed()

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
            self._task = self._loop.create_task(self._in_task(), context=context)
        else:
            name = f"otel-distro-check-{self._check.name[:40]}"
            threading.Thread(target=context.run, args=(self._in_thread,), name=name, daemon=True).start()

    async def wait(self) -> bool:
        """Wait for the end, at most until the timeout; whether it came."""
        left = self.left
        loop = asyncio.get_running_loop()
        with self._lock:
            if self.over or left <= 0:
                return self.over
            end = loop.create_future()
            self._waiting.append(end)
        await asyncio.wait({end}, timeout=left)
        return self.over

    def give_up(self) -> None:
        """Its timeout has passed: a task is told to end, a thread cannot be."""
        self.given_up = True
        task = self._task
        if task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(task.cancel)

    async def _in_task(self) -> None:
        try:
            result = returned(await self._check.function(), self._seconds(), self.at)
        except asyncio.CancelledError as error:
            result = raised(error, self._seconds(), self.at)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a check may raise anything
            result = raised(error, self._seconds(), self.at)
        self._land(result)

    def _in_thread(self) -> None:
        try:
            value = self._check.function()
            if inspect.isawaitable(value):
                value = on_loop(self._loop, value)
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
            try:
                end.get_loop().call_soon_threadsafe(_wake, end)
            except RuntimeError:
                continue  # that loop is closed, nobody waits there any more


def _wake(end: asyncio.Future[None]) -> None:
    if not end.done():
        end.set_result(None)
