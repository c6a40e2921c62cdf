"""The ends of a process: whatever way it goes, what waits is sent first, within one budget.

`atexit` covers a normal end. SIGTERM's default ends a process without it, and uvicorn gives the signal back to the
handler that it found, so a handler is set where the default stands, and once more where it stands again when a server
of uvicorn begins: gunicorn's worker puts it back. The end of a server counts as an end as well.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any

from .guard import Guard, start_thread
from .process import Deadline

_SAME_END = 30.0
"""Seconds within which two flushes belong to one end of the process, and share the budget."""
_LEAST = 0.1
"""Seconds that a flush gets even when the budget is used up: enough for a collector that answers."""


_HOLDERS = ("otel_distro.otlp.", "otel_distro.metrics.", "otel_distro.ledger")
"""Modules with locks that a flush needs, or with spans on their way from one queue to the next, for a millisecond at
most."""
_AGAIN = 0.005
_MOST_AGAIN = 40
"""How often SIGTERM comes again, and after how many seconds, when it fell into one of them."""

_INIT = 1
"""The first process of a container, which a signal without a handler of its own does not end (pid_namespaces(7))."""
_HEAD_START = 0.25
"""Seconds that the end of the application's lifespan waits for a flush: a collector that answers takes a tenth."""
_POLL = 0.01
"""Seconds between two looks at a flush that runs beside an event loop."""


class Exits:
    """Sends what waits before the process is gone.

    Args:
        flush: sends what waits within the seconds it is given; may be called more than once.
        shutdown: sends what waits within the seconds it is given, and stops.
        budget: seconds that all flushes of one end together may take.
        guard: gets what fails.
    """

    def __init__(
        self,
        *,
        flush: Callable[[float], object],
        shutdown: Callable[[float], object],
        budget: float,
        guard: Guard,
    ) -> None:
        self._flush = flush
        self._shutdown = shutdown
        self._budget = budget
        self._guard = guard
        self._spent = 0.0
        self._last = float("-inf")
        self._postponed = 0
        self._ending = False
        self._ends_by: int | None = None

    def watch(self) -> None:
        """Register with `atexit`, and with SIGTERM where nobody else has."""
        atexit.register(self._end_whole, self._shutdown)
        self._take_sigterm()

    def watch_uvicorn(self, module: ModuleType) -> None:
        """Flush when a server of `uvicorn.server` has shut down; called when that module has been imported.

        uvicorn gives SIGTERM back to the handler that it found when it began to serve. gunicorn's worker of uvicorn has
        put the default there by then, by which the process would end without a word about what is left.
        """
        serve, original = module.Server.serve, module.Server.shutdown

        @functools.wraps(serve)
        async def serving(server: Any, *args: Any, **kwargs: Any) -> Any:
            self._take_sigterm()
            return await serve(server, *args, **kwargs)

        @functools.wraps(original)
        async def shutdown(server: Any, *args: Any, **kwargs: Any) -> Any:
            self._guard.call("exit", None, self._precede_lifespan, server)
            try:
                return await original(server, *args, **kwargs)
            finally:
                await self._end_beside_the_loop(self._budget)

        module.Server.serve = serving
        module.Server.shutdown = shutdown

    def watch_multiprocessing(self, module: ModuleType) -> None:
        """Flush in forked children of multiprocessing, which end without `atexit`; called when it is imported."""

        def in_child(exits: Exits) -> None:
            # among the last of the finalizers: the application's own may still make spans
            module.Finalize(None, exits._end_whole, args=(exits._flush,), exitpriority=-100)

        module.register_after_fork(self, in_child)

    def watch_billiard(self, module: ModuleType) -> None:
        """Flush in the processes of Celery's pool (`billiard.pool`), which end in `os._exit` without any finalizer."""
        original = module.Worker.__call__

        @functools.wraps(original)
        def working(worker: Any, *args: Any, **kwargs: Any) -> Any:
            told = worker.on_exit

            def on_exit(*about: Any) -> None:
                # behind the application's last word, Celery's signal `worker_process_shutdown`, which may make spans
                try:
                    if told is not None:
                        told(*about)
                finally:
                    self._end(self._flush)

            worker.on_exit = on_exit
            return original(worker, *args, **kwargs)

        module.Worker.__call__ = working

    def watch_rq(self, module: ModuleType) -> None:
        """Flush after the one job of a work horse of RQ (`rq.worker`), which ends in `os._exit` right behind it."""
        original = module.Worker.perform_job

        @functools.wraps(original)
        def performing(worker: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return original(worker, *args, **kwargs)
            finally:
                # a worker that does not fork has more jobs, and an end of its own
                if getattr(worker, "_is_horse", False):
                    self._end(self._flush)

        module.Worker.perform_job = performing

    def _take_sigterm(self) -> None:
        """Handle SIGTERM where the default stands; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            return
        try:
            if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
                signal.signal(signal.SIGTERM, self._on_sigterm)
        except (ValueError, OSError) as error:
            self._guard.failed("SIGTERM handler", error)

    def _precede_lifespan(self, server: Any) -> None:
        """Flush before the application's own end, in which some call `os._exit` (Chainlit): no request is left then."""
        lifespan: Any = getattr(server, "lifespan", None)
        told = getattr(lifespan, "shutdown", None)
        if told is None:
            return

        async def shutdown() -> None:
            await self._end_beside_the_loop(_HEAD_START)
            await told()

        lifespan.shutdown = shutdown

    async def _end_beside_the_loop(self, seconds: float) -> None:
        """Flush while the loop runs on, waited for at most `seconds`.

        Neither the application's executor nor a dead collector can hold it up.
        """
        import asyncio

        flushing = threading.Thread(target=self._end, args=(self._flush,), name="otel-distro-end", daemon=True)
        deadline = Deadline(seconds)
        try:
            flushing.start()
            while flushing.is_alive() and deadline.left():  # noqa: ASYNC110 - what is waited for ends in a thread
                await asyncio.sleep(_POLL)
        except Exception as error:  # noqa: BLE001 - the server's shutdown must succeed or fail as without us
            self._guard.failed("exit", error)

    def _end_whole(self, send: Callable[[float], object]) -> None:
        """In the main thread; SIGTERM that comes meanwhile, as a pool's `terminate` does, waits until that is done."""
        self._ending = True
        try:
            self._end(send)
        finally:
            self._ending = False
            if self._ends_by is not None:
                _end_by(self._ends_by)

    def _end(self, send: Callable[[float], object]) -> None:
        now = time.monotonic()
        if now - self._last > _SAME_END:
            self._spent = 0.0
        self._guard.call("exit", None, send, max(_LEAST, self._budget - self._spent))
        self._last = time.monotonic()
        self._spent += self._last - now

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        if self._ending:
            self._ends_by = number
            return
        if _in_a_holder(frame) and self._comes_again(number):
            return
        if os.getpid() == _INIT:
            # the kernel spares it what it does not handle: it works on, and so does its telemetry, until it is killed
            self._end(self._flush)
            return
        self._ends_by = number
        self._end_whole(self._shutdown)

    def _comes_again(self, number: int) -> bool:
        """Have the signal sent again in a moment: what it interrupted must go on, for a flush to get its locks."""

        def send() -> None:
            time.sleep(_AGAIN)
            os.kill(os.getpid(), number)

        if self._postponed >= _MOST_AGAIN:
            return False
        self._postponed += 1
        return start_thread(threading.Thread(target=send, name="otel-distro-end", daemon=True))


def _end_by(number: int) -> None:
    """The process ends by the signal, so that whoever sent it sees that."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _in_a_holder(frame: FrameType | None) -> bool:
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(_HOLDERS):
            return True
        frame = frame.f_back
    return False
