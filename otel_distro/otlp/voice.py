"""What a person is told about a target: once when it goes away, once when it is back, once for each kind of refusal."""

from __future__ import annotations

import time

from .answer import Answer
from .later import Later

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


class Voice:
    """Says what happens to one target, in single lines without credentials.

    What is said when is decided here; a target that is no collector has other words (see `Words`).

    Args:
        later: says them.
        words: about this target.
        authority: its host and port; signals that go to the same place say only once that it is away.
    """

    def __init__(self, later: Later, words: Words, authority: str) -> None:
        self._later = later
        self._words = words
        self._authority = authority
        self._outages = 0
        self._said_at = float("-inf")
        self._held_at = float("-inf")
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
        words = self._words.untrusted if answer.tls else self._words.away
        self._later.warn(words(_told(answer)), once=f"otlp away {self._authority} {self._outages}")

    def held(self, seconds: float) -> None:
        """The target took a request, and wants no other for so long."""
        if time.monotonic() - self._held_at > _QUIET:
            self._held_at = time.monotonic()
            self._later.info(self._words.away(f"it limits the rate for {seconds:.0f} s"))

    def back(self, seconds: float, waiting: int, dropped: int) -> None:
        """The first answer after an outage."""
        if self._unsaid is not None:
            self._unsaid = None
        elif self._saying:
            self._later.info(self._words.back(seconds, waiting, dropped))

    def refused(self, answer: Answer, items: int) -> None:
        """A batch that will never be taken; said once for each status."""
        status = answer.status or 0
        text = self._words.refused(status, _told(answer), items)
        self._later.warn(text, once=f"otlp refused {self._words.signal} {self._words.endpoint} {status}")

    def rejected(self, answer: Answer, items: int) -> None:
        """A partial success; the first is said."""
        words = self._words
        self._later.warn(
            f"{words.who} took a part of {words.signal} and rejected {items} {words.items}"
            f"{f': {answer.message}' if answer.message else ''}; more will only be counted",
            once=f"otlp rejected {words.signal} {words.endpoint}",
        )

    def off(self, reason: str) -> None:
        """Nothing can be sent to this target at all."""
        part, remedy = self._words.off
        self._later.failed(part, reason, remedy=remedy)

    def ended(self, kept: int, dropped: int) -> None:
        """The process ends and something was not delivered."""
        words, unsaid = self._words, self._unsaid
        if dropped:
            self._later.warn(words.lost(_counted(dropped, words.items), "" if unsaid is None else _told(unsaid)))
        if kept:
            counted = _counted(kept, words.items, "is", "are")
            self._later.info(f"{counted} kept in the spool directory for {words.endpoint}")


class Words:
    """How a collector is spoken of.

    Args:
        signal: `traces`, `metrics` or `logs`.
        endpoint: the target's URL as it may be shown.
    """

    name = "the collector"

    def __init__(self, signal: str, endpoint: str) -> None:
        self.signal = signal
        self.endpoint = endpoint
        self.items = _ITEMS.get(signal, signal)
        self.who = f"{self.name} at {endpoint}"

    def away(self, why: str) -> str:
        """It takes nothing now."""
        return (
            f"{self.who} does not take telemetry: {why}; it waits, and is sent when"
            f" {self.name} is back (check that it runs, and OTEL_EXPORTER_OTLP_ENDPOINT)"
        )

    def untrusted(self, why: str) -> str:
        """There is no connection by TLS."""
        return (
            f"{self.who} does not take telemetry: {why}; it waits, and is sent when that is mended (check"
            " OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE and _CLIENT_KEY: a renewed file is read by itself)"
        )

    def back(self, seconds: float, waiting: int, dropped: int) -> str:
        """It takes telemetry again."""
        return (
            f"{self.who} is back after {seconds:.0f} s:"
            f" {waiting} {self.items} waited and are sent now, {dropped} were dropped"
        )

    def refused(self, status: int, why: str, number: int) -> str:
        """It will never take so many items."""
        remedy = "set it to that place" if 300 <= status < 400 else self.remedy(status)
        return (
            f"{self.who} refuses {self.signal}: {why}; {number} {self.items} are dropped,"
            f" more will only be counted{f' ({remedy})' if remedy else ''}"
        )

    def remedy(self, status: int) -> str:
        """What to do about a status, if anything is known."""
        return _REMEDIES.get(status, "")

    @property
    def off(self) -> tuple[str, str]:
        """The part that is off, and what that means."""
        return f"exporter otlp, {self.signal}", "it stays off until the next start"

    def lost(self, counted: str, why: str) -> str:
        """What was not delivered at the end of the process."""
        check = "check that the collector runs, and OTEL_EXPORTER_OTLP_ENDPOINT; " if why else ""
        return (
            f"{counted} not delivered to {self.endpoint} before the process ended{f': {why}' if why else ''}"
            f" ({check}OTEL_DISTRO_SPOOL_DIR keeps them for the next)"
        )


def _counted(number: int, items: str, one: str = "was", more: str = "were") -> str:
    return f"1 {items.removesuffix('s')} {one}" if number == 1 else f"{number} {items} {more}"


def _told(answer: Answer) -> str:
    words = [f"status {answer.status}" if answer.status else "", answer.message]
    return ", ".join(word for word in words if word)


__all__ = ["Voice", "Words"]
