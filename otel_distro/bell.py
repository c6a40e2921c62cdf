"""Waking one waiting thread from anywhere."""

from __future__ import annotations

import threading


class Bell:
    """Wakes one waiting thread; ringing takes no lock, so a finaliser or signal handler may do it at any moment."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake the thread that waits, or the next that will."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # it rings already

    def wait(self, seconds: float | None) -> bool:
        """Wait for a ring, at most so many seconds (None: without an end); whether it rang."""
        return self._lock.acquire(timeout=-1 if seconds is None else seconds)
