"""The event loop that a coroutine of ours runs on, asyncio's or trio's: waiting there for a thread, and work beside it.

Which of the two it is the server decides (hypercorn's `-k trio`), and what waits on one cannot wait on the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from math import inf
from typing import Any, Protocol

Work = Callable[[], Coroutine[Any, Any, None]]


class Waiter(Protocol):
    """Something that one coroutine waits for."""

    def end(self) -> None:
        """It has come; from any thread, and harmless where the loop is gone."""

    async def ended(self, seconds: float | None = None) -> None:
        """Wait for it, at most so long."""


class Loop(Protocol):
    """A loop that runs.

    Attributes:
        cancelled: what cancelled work raises.
    """

    cancelled: type[BaseException]

    @property
    def closed(self) -> bool:
        """Whether nothing can run on it any more."""
        ...

    def waiter(self) -> Waiter:
        """For a coroutine of this loop."""
        ...

    def begin(self, work: Work, context: Context) -> Callable[[], None]:
        """Run `work` soon, in `context`, beside what runs.

        Args:
            work: a coroutine function that raises nothing but `cancelled`.
            context: of its own.

        Returns:
            What cancels it: from any thread, harmless when it has ended.
        """
        ...

    def awaited(self, value: Any) -> Any:
        """What an awaitable gives, awaited on the loop by another thread."""
        ...


def running() -> Loop:
    """The loop of the coroutine that calls.

    Raises:
        RuntimeError: there is none, or one that is neither asyncio's nor trio's.
    """
    try:
        return _Asyncio(asyncio.get_running_loop())
    except RuntimeError:
        # imported by whoever runs it
        trio = sys.modules.get("trio")
        if trio is None:
            raise
        return _Trio(trio)


class _Asyncio:
    """See `Loop`."""

    cancelled: type[BaseException] = asyncio.CancelledError

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    @property
    def closed(self) -> bool:
        return self._loop.is_closed()

    def waiter(self) -> _AsyncioWaiter:
        return _AsyncioWaiter(self._loop.create_future())

    def begin(self, work: Work, context: Context) -> Callable[[], None]:
        # not by the loop's own factory: an eager one runs the work before this returns, within its caller's locks
        task = asyncio.Task(work(), loop=self._loop, context=context)

        def cancel() -> None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(task.cancel)

        return cancel

    def awaited(self, value: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(_awaited(value), self._loop).result()


class _AsyncioWaiter:
    def __init__(self, end: asyncio.Future[None]) -> None:
        self._end = end

    def end(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._end.get_loop().call_soon_threadsafe(self._set)

    def _set(self) -> None:
        if not self._end.done():
            self._end.set_result(None)

    async def ended(self, seconds: float | None = None) -> None:
        await asyncio.wait({self._end}, timeout=seconds)


class _Trio:
    """See `Loop`; without trio's names, because it need not be installed."""

    def __init__(self, trio: Any) -> None:
        self._trio = trio
        self._token = trio.lowlevel.current_trio_token()
        self.cancelled: type[BaseException] = trio.Cancelled

    @property
    def closed(self) -> bool:
        try:
            self._token.run_sync_soon(int, idempotent=True)
        except RuntimeError:
            return True
        return False

    def waiter(self) -> _TrioWaiter:
        return _TrioWaiter(self._trio, self._token)

    def begin(self, work: Work, context: Context) -> Callable[[], None]:
        scope = self._trio.CancelScope()

        async def scoped() -> None:
            with scope:
                await work()

        # of the whole run: a nursery of the request's would have the request wait for it
        self._trio.lowlevel.spawn_system_task(scoped, name="otel-distro", context=context)

        def cancel() -> None:
            with contextlib.suppress(RuntimeError):
                self._token.run_sync_soon(scope.cancel)

        return cancel

    def awaited(self, value: Any) -> Any:
        return self._trio.from_thread.run(_awaited, value, trio_token=self._token)


class _TrioWaiter:
    def __init__(self, trio: Any, token: Any) -> None:
        self._trio = trio
        self._token = token
        self._end = trio.Event()

    def end(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._token.run_sync_soon(self._end.set)

    async def ended(self, seconds: float | None = None) -> None:
        with self._trio.move_on_after(inf if seconds is None else max(0.0, seconds)):
            await self._end.wait()


async def _awaited(value: Any) -> Any:
    return await value


__all__ = ["Loop", "Waiter", "running"]
