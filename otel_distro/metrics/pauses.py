"""Giving the interpreter to other threads while a long piece of work goes on."""

from __future__ import annotations

import time
from typing import Final

_STRETCH: Final = 0.0004  # seconds of work between two pauses
_NAP: Final = 0.00001  # any positive time: a thread that only lets go for no time takes the interpreter back itself


class Pauses:
    """Called often, sleeps when 0.4 ms of work have passed since it last did.

    A thread that waits for the interpreter asks for it only after `sys.getswitchinterval()`, 5 ms; work that lets it go
    on its own account keeps other threads, an event loop's above all, from waiting that long.
    """

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = 0.0

    def __call__(self) -> None:
        """Sleep if it is time to."""
        now = time.perf_counter()
        if now - self._since > _STRETCH:
            time.sleep(_NAP)
            self._since = time.perf_counter()
