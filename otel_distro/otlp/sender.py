"""One thread for each target that sends what waits, in order, and outlives every answer."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from otel_distro.bell import Bell
from otel_distro.process import Deadline, in_forked_child, unforked

from ._batch import Encoded
from ._http import TlsUnusable
from .answer import Answer, Result
from .backoff import Backoff
from .client import OtlpClient
from .spool import SHUTDOWN, Spool
from .voice import Later, Voice

if TYPE_CHECKING:
    from .stats import SenderStats

Settled = Callable[[float, str], object]
"""Gets the seconds from the first attempt to the last answer, and `error.type`, empty when all of it was taken."""

NOT_ENCODED, REJECTED, OFF = "not encodable", "rejected by the collector", "exporter off"

GATHER = 0.02
"""Seconds a batch waits for others, so that the slices of one burst leave as one request."""

_ANSWER_WAITS = 0.5
"""Seconds this sender's thread leaves an answer to the next batch; it does not wake up for one."""
_LOOKS_AGAIN = 5.0
_TRIES_ALONE = 2
"""How often the oldest batch is tried by itself before the others go first."""
_ADOPT_EVERY = (10.0, 20.0)
_KEEP_FOR_DISK = 0.25
_TOO_LARGE = 413


class _Begun(NamedTuple):
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


class Sender:
    """Takes encoded batches and delivers them, from a daemon thread that starts with the first of them.

    Nothing here raises or waits for the network, but `flush` and `shutdown`, which wait as long as they are told. A
    forked child starts without the parent's batches, connection and thread.

    Args:
        signal: `traces`, `metrics` or `logs`.
        client: posts one request.
        spool: where batches wait.
        later: gets what a person has to know; the one that `spool` has too.
        backoff: how long to wait between attempts.
        most_items: waiting batches are joined to requests of up to so many items; 0 sends each by itself.
        voice: says what happens to this target; one that speaks of a collector if None.
        settled: called at the end of each export, with the sender's lock held.
    """

    def __init__(
        self,
        signal: str,
        client: OtlpClient,
        spool: Spool,
        later: Later,
        *,
        backoff: Backoff | None = None,
        most_items: int = 0,
        voice: Voice | None = None,
        settled: Settled | None = None,
    ) -> None:
        self._most_items = most_items
        self._settled = settled
        self._fetch: Callable[[], object] | None = None
        self._every = 0.0
        self.signal = signal
        self._client = client
        self._spool = spool
        self._later = later
        self._backoff = backoff or Backoff()
        self._voice = voice or Voice(later, signal, str(client.endpoint), client.endpoint.authority)
        self._start()
        in_forked_child(self._after_fork, later.failed)

    def _start(self) -> None:
        # not reentrant: what a signal handler or finaliser ends while its thread is in here must not come in again
        self._changed = threading.Condition(threading.Lock())
        self._bell = Bell()
        self._thread: threading.Thread | None = None
        # not the module's generator: an application that seeds it would make all its workers wait alike
        self._chance = random.Random(os.urandom(8))  # noqa: S311 - jitter is no secret
        self._alone = 0
        self._probing = False
        self._not_before = 0.0
        self._gather_until = 0.0
        self._fetch_at = 0.0
        self._adopt_at = 0.0
        self._hurry = False
        self._closing: Deadline | None = None
        self._closed = False
        self._off = ""
        self._sent = 0
        self._lost: Counter[str] = Counter()
        self._attempts = 0
        self._failed_attempt = 0
        self._failures = 0
        self._streak = 0
        self._latency = 0.0
        self._began: float | None = None
        self._begun: _Begun | None = None
        self._busy = False
        self._away_since: float | None = None
        self._dropped_before = 0

    def submit(self, batch: Encoded) -> None:
        """Hand over a batch; what does not fit into the spool is dropped and counted there."""
        with self._changed:
            self.accept(batch, stay=False)
        self._later.say()

    @property
    def lock(self) -> threading.Condition:
        """What `accept` is called under; held for the time of a write to the spool's directory at most."""
        return self._changed

    def accept(self, batch: Encoded, *, stay: bool) -> None:
        """As `submit`, for who holds the lock; with `stay` nothing is written to the spool's directory now."""
        if batch.lost:
            self._lost[NOT_ENCODED] += batch.lost
        if not batch.items:
            return
        if self._closed or self._closing or self._off:
            self._lost[OFF if self._off else SHUTDOWN] += batch.items
            return
        before = self._spool.items
        self._spool.put(batch.body, batch.items, away=self._away_since is not None, stay=stay)
        if not before and self._most_items and self._fetch is None:
            self._gather_until = time.monotonic() + GATHER
        self._ensure_thread()
        wake = False
        if stay and not self._busy and self._away_since is None:
            if self._sent_at_once():
                return
            wake = True  # whatever has to be waited for: an answer, a connection, room in the kernel
        # woken for the first of a burst and for a full request, not for each slice in between
        if wake or not before or before < self._most_items <= self._spool.items:
            self._bell.ring()

    def _sent_at_once(self) -> bool:
        """Send what waits from the calling thread, where that takes no waiting: a full batch wakes no other thread.

        The answer is read with the next batch, or by this sender's own thread.

        Returns:
            False where something is left for that thread to do.
        """
        if self._alone or self._spool.disk or type(self._client) is not OtlpClient:
            return False
        try:
            return self._begin_next()
        except BaseException:
            # perhaps a signal handler's: an answer must not be taken for that of another request
            self._client.close()
            self._begun = None
            self._spool.let_go()
            raise

    def _begin_next(self) -> bool:
        begun = self._begun
        if begun is not None:
            lay = None if begun.rest else self._client.answered_for()
            if lay is None:
                return False
            self._conclude(begun, self._client.finish(begun.body, b""), lay)
            if self._streak:
                return False
        items, body = self._spool.take(self._most_items)
        rest = self._client.begin(body) if items else None
        if rest is None:
            self._spool.let_go()
            return False
        self._attempts += 1
        now = time.monotonic()
        self._begun = _Begun(items, body, rest, self._attempts, now)
        self._fetch_at = now + self._every
        return not rest and not self._more_waits()

    def _more_waits(self) -> bool:
        """Whether there are batches beside those under way."""
        return len(self._spool) > self._spool.sending

    def feed(self, fetch: Callable[[], object], every: float) -> Callable[[], object]:
        """Have this sender's thread call `fetch`, without the lock, every so many seconds.

        Returns:
            What starts the thread if there is none yet, and has it call `fetch` soon; takes no lock that may be held
            for long, and may be called at any moment.
        """
        self._fetch, self._every = fetch, every
        return self._begin

    def _begin(self) -> None:
        alive = self._thread is not None and self._thread.is_alive()
        if not alive and self._changed.acquire(blocking=False):
            try:
                self._fetch_at = time.monotonic() + self._every
                self._ensure_thread()
            finally:
                self._changed.release()
        else:
            self._fetch_at = 0.0
            self._bell.ring()

    def hurry(self) -> None:
        """Attempt to send now, also in the middle of a back-off."""
        with self._changed:
            self._hurry = True
            self._bell.ring()

    def flush(self, seconds: float) -> bool:
        """Wait until everything submitted so far is settled (delivered, refused or dropped).

        Returns:
            False when the time was over or an attempt made meanwhile failed: a dead collector costs one quick attempt.
        """
        deadline = Deadline(seconds)
        with self._changed:
            last, begun = self._spool.last_number, self._attempts
            self._hurry = bool(len(self._spool))
            running = self._ensure_thread() if self._hurry else True
            self._bell.ring()
            while self._spool.first_number <= last and self._failed_attempt <= begun and not self._off:
                if deadline.left() <= 0:
                    break
                if running:
                    self._changed.wait(deadline.left())
                elif not self._send_one(deadline.left()):
                    break
            flushed = self._spool.first_number > last
        self._later.say()
        return flushed

    def shutdown(self, seconds: float) -> None:
        """End: one last attempt to deliver; what is left goes to the spool's directory, else it is counted and said.

        Args:
            seconds: how long all of it may take.
        """
        with self._changed:
            if self._closed or self._closing:
                return
            network = seconds * (1 - _KEEP_FOR_DISK) if self._spool.has_directory else seconds
            deadline, self._closing = Deadline(seconds), Deadline(network)
        self.flush(network)
        with self._changed:
            self._closed = True
            kept, dropped = self._spool.close(deadline.left)
            thread = self._thread
            self._changed.notify_all()
            self._bell.ring()
            self._voice.ended(kept, dropped)
        self._later.say()
        if thread is not None and thread is not threading.current_thread():
            thread.join(min(deadline.left(), 1.0))
        if thread is None:
            self._client.close()

    def stats(self) -> SenderStats:
        """What has become of everything so far."""
        from .stats import SenderStats

        with self._changed:
            away = self._away_since
            return SenderStats(
                signal=self.signal,
                endpoint=str(self._client.endpoint),
                sent=self._sent,
                dropped=MappingProxyType(dict(self._lost + self._spool.dropped)),
                queued=self._spool.items,
                queued_bytes=self._spool.memory + self._spool.disk,
                requests=self._attempts,
                failures=self._failures,
                latency=self._latency,
                away_for=None if away is None else time.monotonic() - away,
                off=self._off,
            )

    def _after_fork(self) -> None:
        self._client.close()
        self._spool.after_fork()
        self._start()

    def _ensure_thread(self) -> bool:
        """Whether a thread runs; at the interpreter's end no new one can be started."""
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._run, name=f"otel-distro-otlp-{self.signal}", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        return True

    def _run(self) -> None:
        try:
            with unforked():
                from . import _late  # noqa: F401 - so that no import happens later, where a fork could fall into it
            while True:
                with self._changed:
                    if not self._wait_for_work():
                        return
                    self._send_one(None)
                self._later.say()
        except Exception as error:  # noqa: BLE001 - the next batch starts a new thread
            self._later.failed(f"OTLP sender, {self.signal}", error)
        finally:
            self._later.say()
            self._client.close()

    def _wait_for_work(self) -> bool:
        """Wait, with the lock given up, until there is something to send and it is time; False at the end."""
        while not (self._closed or self._off):
            now = time.monotonic()
            if now >= self._adopt_at:
                self._adopt_at = now + self._chance.uniform(*_ADOPT_EVERY)
                self._spool.adopt()
            if self._fetch is not None and now >= self._fetch_at:
                self._fetch_at = now + self._every
                self._unlocked(self._fetch)
                continue
            ready_at = self._not_before
            if self._begun is not None and not self._begun.rest and not self._more_waits():
                # the next full batch reads the answer, if there is one soon
                ready_at = self._begun.started + _ANSWER_WAITS
            if self._spool.items < self._most_items:
                ready_at = max(ready_at, self._gather_until)
            if len(self._spool) and (self._hurry or now >= ready_at):
                return True
            until = ready_at if len(self._spool) else float("inf")
            if self._spool.has_directory:
                until = min(until, self._adopt_at)
            if self._fetch is not None:
                # never long: a batch sent from the application whose connection broke is found out by looking
                until = min(until, self._fetch_at, now + _LOOKS_AGAIN)
            wait = None if until == float("inf") else max(until - now, 0.001)
            self._unlocked(lambda: self._bell.wait(wait))  # noqa: B023 - called at once
        return False

    def _unlocked(self, call: Callable[[], object]) -> None:
        self._changed.release()
        try:
            call()
        finally:
            self._changed.acquire()

    def _send_one(self, seconds: float | None) -> bool:
        """Send the oldest, with the lock given up meanwhile; False when nothing is there or it was not delivered."""
        self._hurry = False
        begun = self._begun
        lay = None if begun is None or begun.rest else self._client.answered_for()
        send: Callable[..., Answer] = self._client.finish
        if begun is None:
            items, body = self._spool.take(0 if self._alone else self._most_items)
            if not self._spool.sending:
                self._changed.notify_all()
                return False
            self._attempts += 1
            begun, send = _Begun(items, body, b"", self._attempts, time.monotonic()), self._send_whole
        if self._closing is not None:
            seconds = max(self._closing.left(), 0.01)
        self._busy = True
        self._changed.release()
        try:
            answer = send(begun.body, begun.rest, seconds=seconds)
        except TlsUnusable as error:
            answer = Answer(Result.REFUSED, None, str(error))
        finally:
            self._changed.acquire()
            self._busy = False
        if self._closed:
            return False  # what was under way has been accounted for by `shutdown`
        return self._conclude(begun, answer, lay or 0.0)

    def _send_whole(self, body: bytes, _: bytes, *, seconds: float | None) -> Answer:
        return self._client.send(body, seconds=seconds)

    def _conclude(self, begun: _Begun, answer: Answer, lay: float) -> bool:
        """Account for an answer that has been here for `lay` seconds."""
        self._begun = None
        now = max(time.monotonic() - lay, begun.started)
        began = self._began = self._began or begun.started
        settled = self._settle(begun.items, answer, begun.number, now - begun.started)
        if answer.result is not Result.RETRY:
            self._began = None
            if self._settled is not None:
                self._settled(now - began, answer.error_type)
        self._changed.notify_all()
        return settled

    def _settle(self, items: int, answer: Answer, number: int, took: float) -> bool:
        if answer.result is Result.RETRY:
            self._failed(answer, number)
            return False
        if answer.status is None:
            self._switch_off(answer.message)
            return False
        if self._away_since is not None:
            self._back()
        self._streak = 0
        self._alone = 0
        self._probing = False
        self._not_before = 0.0
        if answer.result is Result.REFUSED:
            self._failures += 1
            if answer.status == _TOO_LARGE and self._spool.sending > 1:
                self._most_items = 0  # from now on each by itself, as they came
                return True
            self._spool.done(refused=f"refused with status {answer.status}")
            self._voice.refused(answer, items)
            return True
        rejected = min(answer.rejected, items)
        self._latency = took
        self._sent += items - rejected
        self._spool.done()
        if rejected:
            self._lost[REJECTED] += rejected
            self._voice.rejected(answer, rejected)
        return True

    def _failed(self, answer: Answer, number: int) -> None:
        self._failures += 1
        self._streak += 1
        self._failed_attempt = number
        wait = self._backoff.wait(self._streak, answer.retry_after, self._chance)
        self._not_before = time.monotonic() + wait
        if self._away_since is None:
            self._away_since = time.monotonic()
            self._dropped_before = self._spool.dropped.total()
            self._voice.away(answer)
        elif self._closing is None:  # at the end there is one line, about what was lost and why
            self._voice.still_away()
        self._spool.failed()
        if answer.status is not None and self._streak > 1:
            # it answers: one of the batches that were joined may be what it cannot take
            self._alone += 1
            if self._probing:
                self._probing = False
                self._spool.put_back()
            elif self._alone > _TRIES_ALONE:
                self._alone = 1
                self._probing = self._spool.postpone(self._sent)

    def _back(self) -> None:
        away = time.monotonic() - (self._away_since or 0.0)
        self._away_since = None
        self._voice.back(away, self._spool.items, self._spool.dropped.total() - self._dropped_before)

    def _switch_off(self, reason: str) -> None:
        self._off = reason
        self._spool.drop_all(OFF)
        self._voice.off(reason)
