"""How Sentry answers: limits of rate and size, and backends that take no spans by OTLP."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from otel_distro.otlp.answer import Answer, Result, read_answer
from otel_distro.otlp.voice import Words

MOST_BYTES = 900_000
"""Of an event or a transaction as JSON; Relay refuses what is above a mebibyte (`limits.max_event_size`)."""
LONGEST = 86_400.0
"""Seconds; a server that asks for more is asked again after this."""
_DEFAULT = 60.0  # what sentry-sdk waits after a 429 that says nothing
_CATEGORIES = frozenset({"", "span", "span_indexed", "transaction"})
_WITHOUT_OTLP = frozenset({403, 404, 405})


class Limits:
    """Until when Sentry wants no spans (develop.sentry.dev, "Rate Limiting").

    Args:
        clock: seconds that never jump.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = float("-inf")

    def left(self) -> float:
        """Seconds until spans may be sent again, 0 when they may now."""
        return max(0.0, self._until - self._clock())

    def read(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """What an answer means; limits in it count from now on, whatever its status."""
        seconds = _limited(headers.get("x-sentry-rate-limits"))
        if status == 429 and seconds is None:
            seconds = _seconds(headers.get("retry-after")) or _DEFAULT
        if seconds:
            seconds = min(seconds, LONGEST)  # also for who waits: infinity is no time that a lock can be waited for
            self._until = self._clock() + seconds
        answer = read_answer(status, headers, body)
        if status in _WITHOUT_OTLP:
            return Answer(
                Result.REFUSED,
                None,
                f"it answered {status}: this Sentry takes no spans by OTLP, or not for this DSN"
                " (OTEL_DISTRO_SENTRY_SPANS=envelope is for backends without OTLP, =off sends errors only)",
            )
        return answer._replace(retry_after=seconds) if status == 429 else answer


class SentryWords(Words):
    """How Sentry is spoken of."""

    name = "Sentry"

    def away(self, why: str) -> str:
        """It takes no spans now."""
        return (
            f"{self.who} takes no spans: {why}; they wait, the oldest go first when there"
            " are too many (check SENTRY_DSN and the network; SENTRY_TRACES_SAMPLE_RATE sends fewer)"
        )

    untrusted = away
    """Its certificates are those of the system: no variable of ours is about them."""

    def remedy(self, status: int) -> str:
        """What to do about any refusal."""
        return (
            "a smaller OTEL_BSP_MAX_EXPORT_BATCH_SIZE makes smaller requests" if status == 413 else "check SENTRY_DSN"
        )

    @property
    def off(self) -> tuple[str, str]:
        """The part that is off, and what that means."""
        return f"spans to {self.who}", "errors go on"

    def lost(self, counted: str, why: str) -> str:
        """What was not delivered at the end of the process."""
        return (
            f"{counted} not delivered to Sentry before the process ended{f': {why}' if why else ''} (check SENTRY_DSN)"
        )


def _limited(header: str | None) -> float | None:
    """The longest wait of `x-sentry-rate-limits` that concerns spans: `60:span;error:organization, 10::key`."""
    waits: list[float] = []
    for limit in (header or "").split(","):
        seconds, _, rest = limit.strip().partition(":")
        categories = rest.partition(":")[0]
        wait = _seconds(seconds)
        if wait is not None and _CATEGORIES & set(categories.split(";")):
            waits.append(wait)
    return max(waits, default=None)


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float((text or "").strip()[:32]))
    except ValueError:
        return None


__all__ = ["Limits", "SentryWords"]
