"""SIGTERM under uvicorn: not ready at once, and still served for a while, so that nobody's request is refused.

uvicorn closes its listening sockets right after the signal, before any probe could see that the process drains.
"""

from __future__ import annotations

import asyncio
import functools
import signal
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .process import Health

_POLL = 0.05
"""Seconds between two looks at a second signal, which ends the wait."""


class Drain:
    """Waits between the signal and the end of the server.

    Args:
        health: of the process; its phase becomes draining.
        seconds: to wait; 0 for not at all.
    """

    def __init__(self, health: Health, seconds: float) -> None:
        self._health = health
        self._seconds = seconds

    def watch_uvicorn(self, module: ModuleType) -> None:
        """Change `uvicorn.server`, which has just been imported."""
        server = module.Server
        # a version without them ends as it did before
        handle_exit, main_loop = server.handle_exit, server.main_loop

        @functools.wraps(handle_exit)
        def noted(this: Any, sig: int, frame: FrameType | None) -> Any:
            if sig == signal.SIGTERM:
                self._health.lifecycle.drain()
            return handle_exit(this, sig, frame)

        @functools.wraps(main_loop)
        async def prolonged(this: Any, *args: Any, **kwargs: Any) -> Any:
            result = await main_loop(this, *args, **kwargs)
            if self._health.lifecycle.draining and self._seconds:
                await self._wait(this)
            return result

        server.handle_exit, server.main_loop = noted, prolonged

    async def _wait(self, server: Any) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds
        while loop.time() < end and not server.force_exit:  # noqa: ASYNC110 - a signal handler sets it
            await asyncio.sleep(min(_POLL, max(0.0, end - loop.time())))
