"""What the process itself says about being ready: it starts, it runs, it drains."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import Enum


class Phase(Enum):
    """Where in its life the process is."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"


class Lifecycle:
    """The phase of the process, and how long it has been up.

    Args:
        started: when the process began, by `time.monotonic`.
    """

    def __init__(self, started: float) -> None:
        self.started = started
        self._draining = False
        self._holds: dict[object, str] = {}
        self._lock = threading.Lock()

    @property
    def draining(self) -> bool:
        """Whether the process goes away."""
        return self._draining

    @property
    def phase(self) -> Phase:
        """Draining wins over starting: who goes away gets no more requests."""
        if self._draining:
            return Phase.DRAINING
        return Phase.STARTING if self._holds else Phase.RUNNING

    @property
    def uptime(self) -> float:
        """Seconds since the process began."""
        return time.monotonic() - self.started

    @property
    def reasons(self) -> list[str]:
        """What the start still waits for."""
        with self._lock:
            return list(self._holds.values())

    def hold(self, reason: str) -> Callable[[], None]:
        """Stay in the start until the returned function is called; calling it again does nothing."""
        key = object()
        with self._lock:
            self._holds[key] = reason

        def release() -> None:
            with self._lock:
                self._holds.pop(key, None)

        return release

    def drain(self) -> None:
        """The process will go away; there is no way back."""
        self._draining = True

    def after_fork(self) -> None:
        """A child begins anew, with a lock that no vanished thread holds."""
        self.started = time.monotonic()
        self._lock = threading.Lock()
