"""What has come of the requests to one target, and what that means for the next."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from otel_distro.guard import let_through

from .answer import Answer, Result
from .backoff import Backoff
from .spool import TOO_LARGE, Spool, refused

if TYPE_CHECKING:
    from .voice import Voice

Settled = Callable[[float, str], object]
"""Gets the seconds from the first attempt to the last answer, and `error.type`, empty when all of it was taken."""

REJECTED, OFF = "rejected by the collector", "exporter off"

_TRIES_ALONE = 2
"""How often the oldest batch is tried by itself before the others go first."""
_SMALLER_FOR = 60.0
"""Seconds for which requests stay below a size that was refused; a limit that was raised is noticed afterwards."""


class Begun(NamedTuple):
    """A request that is under way.

    Attributes:
        items: how many are in it.
        body: all of it, for another attempt.
        rest: what has still to be sent.
        number: of the attempt.
        started: when, on the monotonic clock.
    """

    items: int
    body: bytes
    rest: bytes
    number: int
    started: float


class Outcomes:
    """Takes requests out of a spool and settles them there. Not thread-safe: its sender holds a lock.

    Args:
        spool: where batches wait.
        voice: gives what says what happens.
        backoff: how long to wait between attempts.
        most_items: waiting batches are joined to requests of up to so many items; 0 sends each by itself.
        settled: called at the end of each export.
        held: see the attribute.

    Attributes:
        held: seconds for which the other side wants nothing at all.
        attempts: requests so far, the one under way too.
        ended: requests that came to an end, whichever.
        failures: attempts that failed.
        failed_attempt: the number of the last one of those.
        streak: failures in a row.
        sent: items delivered.
        lost: items lost on this side of the spool, by reason.
        latency: seconds the last delivered request took.
        not_before: when the next attempt may be made, on the monotonic clock.
        away_since: since when the other side takes nothing, on the monotonic clock.
        alone: how often the oldest batch was tried by itself; 0 while batches are joined.
        off: why nothing is sent at all; empty while it is.
    """

    def __init__(
        self,
        spool: Spool,
        voice: Callable[[], Voice],
        backoff: Backoff,
        *,
        most_items: int,
        settled: Settled | None,
        held: Callable[[], float],
    ) -> None:
        self._spool = spool
        self._voice = voice
        self._backoff = backoff
        self._most_items = most_items
        self._settled = settled
        self.held = held
        # not the module's generator: an application that seeds it would make all its workers wait alike
        self.chance = random.Random(os.urandom(8))  # noqa: S311 - jitter is no secret
        self.attempts = 0
        self.ended = 0
        self.failures = 0
        self.failed_attempt = 0
        self.streak = 0
        self.sent = 0
        self.lost: Counter[str] = Counter()
        self.latency = 0.0
        self.not_before = 0.0
        self.away_since: float | None = None
        self.alone = 0
        self.off = ""
        self._probing = False
        self._began: float | None = None
        self._dropped_before = 0
        self._refused_size = 0
        self._refused_until = 0.0

    def take(self) -> tuple[int, bytes]:
        """The items and the bytes of the next request; 0 and nothing when nothing waits. See `Spool.take`."""
        if self._refused_size and time.monotonic() > self._refused_until:
            self._refused_size = 0
        try:
            return self._spool.take(0 if self.alone else self._most_items, self._refused_size)
        except OSError as error:
            let_through(error)
            self.not_before = time.monotonic() + self._backoff.wait(1, None, self.chance)
            return 0, b""

    def begun(self, items: int, body: bytes, rest: bytes) -> Begun:
        """Count an attempt."""
        self.attempts += 1
        return Begun(items, body, rest, self.attempts, time.monotonic())

    def conclude(self, begun: Begun, answer: Answer, lay: float, *, ending: bool) -> bool:
        """Account for an answer.

        Args:
            begun: what was answered.
            answer: what it says.
            lay: seconds since it came.
            ending: whether this is the end of the process, which has one line about everything.

        Returns:
            Whether these batches wait no more, or as other ones.
        """
        self.ended += 1
        now = max(time.monotonic() - lay, begun.started)
        began = self._began = self._began or begun.started
        settled = self._settle(begun, answer, now - begun.started, ending=ending)
        if answer.result is not Result.RETRY:
            self._began = None
            if self._settled is not None:
                self._settled(now - began, answer.error_type)
        return settled

    def _settle(self, begun: Begun, answer: Answer, took: float, *, ending: bool) -> bool:
        if answer.result is Result.RETRY:
            self._failed(answer, begun.number, ending=ending)
            return False
        if answer.status is None:
            self._switch_off(answer.message)
            return False
        if self.away_since is not None:
            self._back()
        self.streak = 0
        self.alone = 0
        self._probing = False
        self.not_before = 0.0
        if answer.result is Result.REFUSED:
            self._refused(begun, answer)
            return True
        rejected = min(answer.rejected, begun.items)
        self.latency = took
        self.sent += begun.items - rejected
        self._spool.done()
        if rejected:
            self.lost[REJECTED] += rejected
            self._voice().rejected(answer, rejected)
        held = self.held()
        if held:
            self._voice().held(held)
        return True

    def _refused(self, begun: Begun, answer: Answer) -> None:
        self.failures += 1
        if answer.status == TOO_LARGE:
            size = len(begun.body)
            self._refused_size = min(self._refused_size or size, size)
            self._refused_until = time.monotonic() + _SMALLER_FOR
            if self._spool.smaller():
                return
        self._spool.done(refused=refused(answer.status))
        self._voice().refused(answer, begun.items)

    def _failed(self, answer: Answer, number: int, *, ending: bool) -> None:
        self.failures += 1
        self.streak += 1
        self.failed_attempt = number
        wait = self._backoff.wait(self.streak, answer.retry_after, self.chance)
        self.not_before = time.monotonic() + wait
        first = self.away_since is None
        if first:
            self.away_since = time.monotonic()
            self._dropped_before = self._spool.dropped.total()
        # before anything is said, which may fail
        self._spool.failed()
        if first:
            self._voice().away(answer)
        elif not ending:
            self._voice().still_away()
        if answer.status is not None and self.streak > 1:
            # it answers: one of the batches that were joined may be what it cannot take
            self.alone += 1
            if self._probing:
                self._probing = False
                self._spool.put_back()
            elif self.alone > _TRIES_ALONE:
                self.alone = 1
                self._probing = self._spool.postpone(self.sent)

    def _back(self) -> None:
        away = time.monotonic() - (self.away_since or 0.0)
        self.away_since = None
        self._voice().back(away, self._spool.items, self._spool.dropped.total() - self._dropped_before)

    def _switch_off(self, reason: str) -> None:
        self.failures += 1
        self.off = reason
        self._spool.drop_all(OFF)
        self._voice().off(reason)


__all__ = ["OFF", "REJECTED", "Begun", "Outcomes", "Settled"]
