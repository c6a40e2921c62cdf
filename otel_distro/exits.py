"""The ends of a process: whatever way it goes, what waits is sent first, within one budget.

`atexit` covers a normal end. SIGTERM's default ends a process without it, and uvicorn gives the signal back to the
handler it found (its `Server.capture_signals`), so a handler is set where the default stands; uvicorn under gunicorn
puts the default back first, so the server's own shutdown is an end as well.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from .guard import Guard


class Exits:
    """Calls `flush` before the process is ended by SIGTERM and `shutdown` at its normal end.

    Args:
        flush: sends what waits; may be called more than once.
        shutdown: sends what waits and stops.
        guard: gets what fails.
    """

    def __init__(self, *, flush: Callable[[], object], shutdown: Callable[[], object], guard: Guard) -> None:
        self._flush = flush
        self._shutdown = shutdown
        self._guard = guard

    def watch(self) -> None:
        """Register with `atexit`, and with SIGTERM where nobody else has."""
        atexit.register(self._at_exit)
        if threading.current_thread() is not threading.main_thread():
            return
        try:
            if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
                signal.signal(signal.SIGTERM, self._on_sigterm)
        except (ValueError, OSError) as error:
            self._guard.failed("SIGTERM handler", error)

    def _at_exit(self) -> None:
        self._guard.call("exit", None, self._shutdown)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._guard.call("exit", None, self._flush)
        # the process still ends by the signal, so that whoever sent it sees that
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
