"""Lines of a guard that are said when no lock is held."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from otel_distro.guard import Guard


class Later:
    """A guard's lines, kept until `say`: never said under a lock, for saying runs the application's log handlers.

    (A handler that exports what it gets would come back to the sender that is speaking, with a lock of its own held.)

    Args:
        guard: counts and says them in the end.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._pending: deque[Callable[[], None]] = deque(maxlen=64)

    def failed(self, part: str, error: BaseException | str, *, remedy: str = "") -> None:
        """As `Guard.failed`, later."""
        self._pending.append(partial(self._guard.failed, part, error, remedy=remedy))

    def warn(self, text: str, *, once: str | None = None) -> None:
        """As `Guard.warn`, later."""
        self._pending.append(partial(self._guard.warn, text, once=once))

    def info(self, text: str, *, once: str | None = None) -> None:
        """As `Guard.info`, later."""
        self._pending.append(partial(self._guard.info, text, once=once))

    def say(self) -> None:
        """Hand everything on to the guard; called without a lock."""
        while self._pending:
            try:
                line = self._pending.popleft()
            except IndexError:  # another thread took it
                return
            line()
