"""One thread for each target that sends what waits, in order, and outlives every answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING

from otel_distro.bell import Bell
from otel_distro.guard import start_thread
from otel_distro.process import Deadline, in_forked_child, unforked

from ._batch import Encoded
from .answer import Answer
from .backoff import Backoff
from .client import OtlpClient
from .express import Express
from .later import Later
from .outcomes import OFF, REJECTED, Begun, Outcomes, Settled
from .spool import SHUTDOWN, Spool

if TYPE_CHECKING:
    from .stats import SenderStats
    from .voice import Voice, Words

NOT_ENCODED = "not encodable"

GATHER = 0.02
"""Seconds a batch waits for others, so that the slices of one burst leave as one request."""

_ANSWER_WAITS = 0.5
"""Seconds at least that this sender's thread leaves an answer to the next batch; it does not wake up for one."""
_LOOKS_AGAIN = 5.0
_HEARS_WITHIN = 0.000_5
"""Seconds the application's thread waits until this sender's has woken up; mostly a fifth of that."""
_TOO_LONG = 0.002
_CROWDED = 60.0
_ADOPT_EVERY = (10.0, 20.0)
_FOR_DISK = 0.25
_FOR_WORDS = 0.05
"""Parts of the time for a shutdown that are left to keep what was not delivered, or to say how much is lost."""


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
        words: about this target; those about a collector if None.
        settled: called at the end of each export, with the sender's lock held.
        held: seconds for which the target wants nothing at all, 0 when it takes requests; nothing is tried meanwhile.
        gather: seconds for which the first of some batches waits for others, up to `most_items`, where none is fetched.
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
        words: Words | None = None,
        settled: Settled | None = None,
        held: Callable[[], float] = lambda: 0.0,
        gather: float = GATHER,
    ) -> None:
        self._gather = gather
        self._is_direct = client.is_direct
        self._most_items = most_items
        self._settled = settled
        self._held = held
        self._fetch: Callable[[], float] | None = None
        self._every = 0.0
        self.signal = signal
        self._client = client
        self._spool = spool
        self._later = later
        self._backoff = backoff or Backoff()
        self._words = words
        self._voice: Voice | None = None
        self._start()
        in_forked_child(self._after_fork, later.failed)

    def _start(self) -> None:
        # not reentrant: what a signal handler or finaliser ends while its thread is in here must not come in again
        self._changed = threading.Condition(threading.Lock())
        self._bell = Bell()
        self._heard = Bell()
        self._thread: threading.Thread | None = None
        self._gather_until = 0.0
        self._fetch_at = 0.0
        self._ring_from = inf
        self._rings_again = 0.0
        self._adopt_at = 0.0
        self._hurry = False
        self._closing: Deadline | None = None
        self._closed = False
        self._busy = False
        self._outcomes = Outcomes(
            self._spool,
            self._speak,
            self._backoff,
            most_items=self._most_items,
            settled=self._settled,
            held=self._held,
        )
        self._express = Express(self._client, self._spool, self._outcomes, self._conclude)

    def submit(self, batch: Encoded) -> None:
        """Hand over a batch; what does not fit into the spool is dropped and counted there."""
        with self._changed:
            self.accept(batch, stay=False)
        self._later.say()

    @property
    def lock(self) -> threading.Condition:
        """What `accept` is called under; held for the time of a write to the spool's directory at most."""
        return self._changed

    @property
    def is_taking(self) -> bool:
        """Whether a batch would be kept; a question for who holds the lock."""
        return not (self._closed or self._closing or self._outcomes.off)

    def accept(self, batch: Encoded, *, stay: bool) -> None:
        """As `submit`, for who holds the lock; with `stay` nothing is written to the spool's directory now."""
        outcomes = self._outcomes
        if batch.lost:
            outcomes.lost[NOT_ENCODED] += batch.lost
        if not batch.items:
            return
        if not self.is_taking:
            outcomes.lost[OFF if outcomes.off else SHUTDOWN] += batch.items
            return
        before = self._spool.items
        self._spool.put(batch.body, batch.items, away=outcomes.away_since is not None, stay=stay)
        if not before and self._most_items and self._fetch is None:
            self._gather_until = time.monotonic() + self._gather
        self._ensure_thread()
        wake = False
        if stay and self._is_direct and not self._busy and outcomes.away_since is None and not self._held():
            if self._express.send():
                if self._fetch_at:  # else somebody wants it fetched now
                    self._fetch_at = time.monotonic() + self._every
                return
            wake = True  # whatever has to be waited for: an answer, a connection, room in the kernel
        # woken for the first of a burst and for a full request, not for each slice in between
        if wake or not before or before < self._most_items <= self._spool.items:
            self._bell.ring()

    def postpone(self) -> None:
        """After a batch left from the application's thread: let this sender's thread wait anew, if half a wait is over.

        A thread whose wait is over needs the interpreter, and a busy event loop gives that up for an instant at each
        turn: it is woken by some fifty turns in vain. Woken from here, with the interpreter given up for the tenth of a
        millisecond that this takes, it has it at once. Where others take the interpreter meanwhile, so that it takes
        long to have it back, this is not tried again for a minute.
        """
        now = time.monotonic()
        if now < self._ring_from or self._express.begun is None:
            return
        self._ring_from = inf
        self._heard.wait(0)  # what it has heard before
        self._bell.ring()
        self._heard.wait(_HEARS_WITHIN)
        if time.monotonic() - now > _TOO_LONG:
            self._rings_again = now + _CROWDED

    def feed(self, fetch: Callable[[], float], every: float) -> Callable[[], bool]:
        """Have this sender's thread call `fetch`, without the lock, every so many seconds.

        Args:
            fetch: gives the seconds after which it wants to be called again, at most `every`.
            every: see above.

        Returns:
            What starts the thread if there is none yet, and has it call `fetch` soon; tells whether one runs; takes no
            lock that may be held for long, and may be called at any moment.
        """
        self._fetch, self._every = fetch, every
        return self._begin

    def _begin(self) -> bool:
        alive = self._thread is not None and self._thread.is_alive()
        if not alive and self._changed.acquire(blocking=False):
            try:
                self._fetch_at = time.monotonic() + self._every
                return self._ensure_thread()
            finally:
                self._changed.release()
        self._fetch_at = 0.0
        self._bell.ring()
        return alive

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
            last, begun = self._spool.last_number, self._outcomes.attempts
            self._hurry = bool(len(self._spool))
            running = self._ensure_thread() if self._hurry else True
            self._bell.ring()
            while self._spool.first_number <= last and self._goes_on(begun):
                if deadline.left() <= 0:
                    break
                if running:
                    self._changed.wait(deadline.left())
                elif not self._send_one(deadline.left()):
                    break
            flushed = self._spool.first_number > last
        self._later.say()
        return flushed

    def _goes_on(self, begun: int) -> bool:
        """Whether more than was settled up to attempt `begun` may still be settled now."""
        under_way = self._busy or self._express.begun is not None
        outcomes = self._outcomes
        return outcomes.failed_attempt <= begun and not outcomes.off and (under_way or not self._held())

    def shutdown(self, seconds: float) -> None:
        """End: one last attempt to deliver; what is left goes to the spool's directory, else it is counted and said.

        Args:
            seconds: how long all of it may take.
        """
        with self._changed:
            if self._closed or self._closing:
                return
            network = seconds * (1 - (_FOR_DISK if self._spool.has_directory else _FOR_WORDS))
            deadline, self._closing = Deadline(seconds), Deadline(network)
        self.flush(network)
        with self._changed:
            self._closed = True
            kept, dropped = self._spool.close(deadline.left)
            thread = self._thread
            self._changed.notify_all()
            self._bell.ring()
            if kept or dropped:
                self._say_ended(kept, dropped)
        self._later.say()
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(min(deadline.left(), 1.0))
        if thread is None:
            self._client.close()

    def stats(self) -> SenderStats:
        """What has become of everything so far."""
        from .stats import SenderStats

        with self._changed:
            of, spool = self._outcomes, self._spool
            return SenderStats(
                signal=self.signal,
                endpoint=str(self._client.endpoint),
                sent=of.sent,
                dropped=MappingProxyType(dict(of.lost + spool.dropped)),
                queued=spool.items,
                queued_bytes=spool.memory + spool.disk,
                requests=of.ended,
                failures=of.failures,
                latency=of.latency,
                away_for=None if of.away_since is None else time.monotonic() - of.away_since,
                off=of.off,
            )

    def _speak(self) -> Voice:
        """What says how the target is; one that takes everything needs none."""
        if self._voice is None:
            from .voice import Voice, Words  # there already where this sender's thread runs: see `_late`

            endpoint = self._client.endpoint
            words = self._words or Words(self.signal, str(endpoint))
            self._voice = Voice(self._later, words, endpoint.authority)
        return self._voice

    def _say_ended(self, kept: int, dropped: int) -> None:
        try:
            self._speak().ended(kept, dropped)
        except ImportError as error:  # of a package that was taken away under the running process
            self._later.warn(f"OTLP {self.signal}: {dropped} were not delivered and {kept} are kept: {error}")

    def _after_fork(self) -> None:
        self._client.close()
        self._spool.after_fork()
        self._start()

    def _ensure_thread(self) -> bool:
        """Whether a thread runs; at the interpreter's end no new one can be started."""
        if self._thread is None or not self._thread.is_alive():
            # known before it runs: a signal's handler may raise straight after, and there shall be no second one
            self._thread = threading.Thread(target=self._run, name=f"otel-distro-otlp-{self.signal}", daemon=True)
            if not start_thread(self._thread):
                self._thread = None
                return False
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
        while not (self._closed or self._outcomes.off):
            now = time.monotonic()
            if now >= self._adopt_at:
                self._adopt_at = now + self._outcomes.chance.uniform(*_ADOPT_EVERY)
                self._spool.adopt()
            if self._fetch is not None and now >= self._fetch_at:
                self._fetch_at = now + self._every
                self._changed.release()
                try:
                    again = self._fetch()
                finally:
                    self._changed.acquire()
                # sooner where somebody has asked for it meanwhile
                self._fetch_at = min(self._fetch_at, time.monotonic() + again)
                continue
            ready_at, held = self._ready_at(), self._held()
            if len(self._spool) and not held and (self._hurry or now >= ready_at):
                return True
            until = max(ready_at, now + held) if len(self._spool) else inf
            if self._spool.has_directory:
                until = min(until, self._adopt_at)
            if self._fetch is not None or self._express.used:
                # never long: a batch sent from the application whose connection broke is found out by looking
                until = min(until, self._fetch_at if self._fetch is not None else until, now + _LOOKS_AGAIN)
            wait = None if until == inf else max(until - now, 0.001)
            self._ring_from = max(now + (until - now) / 2, self._rings_again)
            self._unlocked(lambda: self._bell.wait(wait))  # noqa: B023 - called at once
            self._ring_from = inf
            self._heard.ring()
        return False

    def _ready_at(self) -> float:
        """When the next request is due, on the monotonic clock."""
        begun, ready_at = self._express.begun, self._outcomes.not_before
        if begun is not None and not begun.rest and not self._express.more_waits():
            # the next full batch reads the answer, if there is one soon
            ready_at = begun.started + max(_ANSWER_WAITS, min(self._every, _LOOKS_AGAIN))
        return max(ready_at, self._gather_until) if self._spool.items < self._most_items else ready_at

    def _unlocked(self, call: Callable[[], object]) -> None:
        self._changed.release()
        try:
            call()
        finally:
            self._changed.acquire()

    def _send_one(self, seconds: float | None) -> bool:
        """Send the oldest, with the lock given up meanwhile; False when nothing is there or it was not delivered."""
        self._hurry = False
        begun, answered = self._express.begun, self._express.answered()
        if begun is not None and answered is not None:
            return self._conclude(begun, *answered)
        send: Callable[..., Answer] = self._client.finish
        if begun is None:
            items, body = self._outcomes.take()
            if not self._spool.sending:
                self._changed.notify_all()
                return False
            begun, send = self._outcomes.begun(items, body, b""), self._send_whole
        if self._closing is not None:
            seconds = max(self._closing.left(), 0.01)
        self._busy = True
        self._changed.release()
        try:
            answer = send(begun.body, begun.rest, seconds=seconds)
        finally:
            self._changed.acquire()
            self._busy = False
        if self._closed:
            return False  # what was under way has been accounted for by `shutdown`
        return self._conclude(begun, answer, 0.0)

    def _send_whole(self, body: bytes, _: bytes, *, seconds: float | None) -> Answer:
        return self._client.send(body, seconds=seconds)

    def _conclude(self, begun: Begun, answer: Answer, lay: float) -> bool:
        """Account for an answer that has been here for `lay` seconds."""
        self._express.begun = None
        settled = self._outcomes.conclude(begun, answer, lay, ending=self._closing is not None)
        self._changed.notify_all()
        return settled


__all__ = ["GATHER", "NOT_ENCODED", "OFF", "REJECTED", "Sender", "Settled"]
