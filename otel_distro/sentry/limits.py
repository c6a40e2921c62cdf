"""How Sentry answers: rate limits, and backends that take no spans by OTLP."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from otel_distro.otlp.answer import Answer, Result, read_answer
from otel_distro.otlp.client import OtlpClient
from otel_distro.otlp.endpoint import Endpoint, Proxies
from otel_distro.otlp.voice import Later, Voice

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
            self._until = self._clock() + min(seconds, LONGEST)
        answer = read_answer(status, headers, body)
        if status in _WITHOUT_OTLP:
            return Answer(
                Result.REFUSED,
                None,
                f"it answered {status}: this Sentry takes no spans by OTLP, or not for this DSN"
                " (OTEL_DISTRO_SENTRY_SPANS=envelope is for backends without OTLP, =off sends errors only)",
            )
        return answer._replace(retry_after=seconds) if status == 429 else answer


class SentryClient(OtlpClient):
    """Posts spans to a project, and does not even try while Sentry has asked to wait.

    Args:
        endpoint: the project's OTLP endpoint.
        auth: the value of `x-sentry-auth`, the only credential that Sentry gets.
        proxies: of the process.
        limits: which it keeps to.
        fit: makes a request for the collector one for Sentry; here and not before it waits, so that both wait as the
            same bytes, and in the sender's own thread.
    """

    def __init__(
        self, endpoint: Endpoint, *, auth: str, proxies: Proxies, limits: Limits, fit: Callable[[bytes], bytes]
    ) -> None:
        super().__init__(
            endpoint,
            content_type="application/x-protobuf",
            headers={"x-sentry-auth": auth},
            gzip=True,
            proxies=proxies,
            read=limits.read,
        )
        self._limits = limits
        self._fit = fit

    def send(self, body: bytes, *, seconds: float | None = None) -> Answer:
        """As `OtlpClient.send`; while Sentry limits the rate nothing is sent and the answer is its last one again."""
        left = self._limits.left()
        if left:
            return Answer(Result.RETRY, 429, f"it limits the rate for another {left:.0f} s", 0, left)
        return super().send(self._fit(body), seconds=seconds)


class SentryVoice(Voice):
    """Says what happens to Sentry, with remedies that help there.

    Args:
        later: says them.
        endpoint: the project's endpoint, without the key.
    """

    def __init__(self, later: Later, endpoint: Endpoint) -> None:
        super().__init__(later, "traces", str(endpoint), endpoint.authority)

    def still_away(self) -> None:
        """A further failure of the same outage."""
        answer, self._unsaid = self._unsaid, None
        if answer is None:
            return
        self._said_at = time.monotonic()
        self._later.warn(
            f"Sentry at {self._endpoint} takes no spans: {_words(answer)}; they wait, the oldest go first when there"
            " are too many (check SENTRY_DSN and the network; SENTRY_TRACES_SAMPLE_RATE sends fewer)",
            once=f"sentry away {self._outages}",
        )

    def back(self, seconds: float, waiting: int, dropped: int) -> None:
        """The first answer after an outage."""
        if self._unsaid is not None:
            self._unsaid = None
        elif self._saying:
            self._later.info(
                f"Sentry takes spans again after {seconds:.0f} s: {waiting} waited, {dropped} were dropped"
            )

    def refused(self, answer: Answer, items: int) -> None:
        """A batch that will never be taken; said once for each status."""
        self._later.warn(
            f"Sentry at {self._endpoint} refuses spans: {_words(answer)}; {items} are dropped, more will only be"
            " counted (check SENTRY_DSN)",
            once=f"sentry refused {answer.status}",
        )

    def off(self, reason: str) -> None:
        """Nothing can be sent to this target at all."""
        self._later.failed(f"spans to Sentry at {self._endpoint}", reason, remedy="errors go on")

    def ended(self, kept: int, dropped: int) -> None:
        """The process ends and something was not delivered."""
        if dropped:
            unsaid = self._unsaid
            why = f": {_words(unsaid)}" if unsaid is not None else ""
            self._later.warn(
                f"{dropped} spans not delivered to Sentry before the process ended{why} (check SENTRY_DSN)"
            )


def _words(answer: Answer) -> str:
    said = [f"status {answer.status}" if answer.status else "", answer.message]
    return ", ".join(word for word in said if word)


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


__all__ = ["Limits", "SentryClient", "SentryVoice"]
