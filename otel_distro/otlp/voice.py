"""What a person is told about a target: once when it goes away, once when it is back, once for each kind of refusal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial

from otel_distro.guard import Guard

from .answer import Answer

_QUIET = 600.0
"""Seconds in which a target that comes and goes is spoken of once; the counters go on."""

_ITEMS = {"traces": "spans", "metrics": "points", "logs": "log records"}

_REMEDIES = {
    400: "the collector cannot read it",
    401: "check OTEL_EXPORTER_OTLP_HEADERS",
    403: "check OTEL_EXPORTER_OTLP_HEADERS",
    404: "check the path of the endpoint; OTEL_EXPORTER_OTLP_ENDPOINT is the part before /v1/...",
    405: "is the endpoint an OTLP/HTTP receiver?",
    413: "a smaller OTEL_BSP_MAX_EXPORT_BATCH_SIZE makes smaller requests",
    415: "check OTEL_EXPORTER_OTLP_PROTOCOL",
}


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


class Voice:
    """Says what happens to one target, in single lines without credentials.

    Args:
        later: says them.
        signal: `traces`, `metrics` or `logs`.
        endpoint: the target's URL as it may be shown.
        authority: its host and port; signals that go to the same collector say only once that it is away.
    """

    def __init__(self, later: Later, signal: str, endpoint: str, authority: str) -> None:
        self._later = later
        self._signal = signal
        self._items = _ITEMS.get(signal, signal)
        self._endpoint = endpoint
        self._authority = authority
        self._outages = 0
        self._said_at = float("-inf")
        self._saying = False
        self._unsaid: Answer | None = None

    def away(self, answer: Answer) -> None:
        """The first failure after a success, or at all.

        A connection that was not made is said with the second failure: a program that ends before has one line, about
        what was lost and why.
        """
        self._outages += 1
        self._saying = time.monotonic() - self._said_at > _QUIET
        if self._saying:
            self._unsaid = answer
            if answer.status is not None:
                self.still_away()

    def still_away(self) -> None:
        """A further failure of the same outage."""
        answer, self._unsaid = self._unsaid, None
        if answer is None:
            return
        self._said_at = time.monotonic()
        self._later.warn(
            f"the collector at {self._endpoint} does not take telemetry: {_words(answer)}; it waits, and is sent when"
            " the collector is back (check that it runs, and OTEL_EXPORTER_OTLP_ENDPOINT)",
            once=f"otlp away {self._authority} {self._outages}",
        )

    def back(self, seconds: float, waiting: int, dropped: int) -> None:
        """The first answer after an outage."""
        if self._unsaid is not None:
            self._unsaid = None
        elif self._saying:
            self._later.info(
                f"the collector at {self._endpoint} is back after {seconds:.0f} s:"
                f" {waiting} {self._items} waited and are sent now, {dropped} were dropped"
            )

    def refused(self, answer: Answer, items: int) -> None:
        """A batch that will never be taken; said once for each status."""
        status = answer.status or 0
        remedy = "set it to that place" if 300 <= status < 400 else _REMEDIES.get(status, "")
        self._later.warn(
            f"the collector at {self._endpoint} refuses {self._signal}: {_words(answer)}; {items} {self._items}"
            f" are dropped, more will only be counted{f' ({remedy})' if remedy else ''}",
            once=f"otlp refused {self._signal} {self._endpoint} {status}",
        )

    def rejected(self, answer: Answer, items: int) -> None:
        """A partial success; the first is said."""
        self._later.warn(
            f"the collector at {self._endpoint} took a part of {self._signal} and rejected {items} {self._items}"
            f"{f': {answer.message}' if answer.message else ''}; more will only be counted",
            once=f"otlp rejected {self._signal} {self._endpoint}",
        )

    def off(self, reason: str) -> None:
        """Nothing can be sent to this target at all."""
        self._later.failed(f"exporter otlp, {self._signal}", reason, remedy="it stays off until the next start")

    def ended(self, kept: int, dropped: int) -> None:
        """The process ends and something was not delivered."""
        if dropped:
            unsaid = self._unsaid
            why = f": {_words(unsaid)}" if unsaid is not None else ""
            check = "check that the collector runs, and OTEL_EXPORTER_OTLP_ENDPOINT; " if unsaid is not None else ""
            self._later.warn(
                f"{_counted(dropped, self._items)} not delivered to {self._endpoint} before the process ended{why}"
                f" ({check}OTEL_DISTRO_SPOOL_DIR keeps them for the next)"
            )
        if kept:
            self._later.info(f"{kept} {self._items} for {self._endpoint} are kept in the spool directory")


def _counted(number: int, items: str) -> str:
    return f"1 {items.removesuffix('s')} was" if number == 1 else f"{number} {items} were"


def _words(answer: Answer) -> str:
    words = [f"status {answer.status}" if answer.status else "", answer.message]
    return ", ".join(word for word in words if word)
