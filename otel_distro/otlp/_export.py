"""What the exporters of the three signals share: encode, hand over, wait for the senders."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from otel_distro.guard import Guard, let_through
from otel_distro.process import Deadline

from ._batch import Encoded, breathe
from .sender import Sender

if TYPE_CHECKING:
    from ._batch import Encoder
    from .stats import SenderStats


class Export:
    """Encodes once, and gives the result to every sender.

    Args:
        encoder: for the signal.
        sender: where to; it takes the encoder's content type.
        guard: gets what goes wrong in encoding.

    Attributes:
        sender: as given.
    """

    def __init__(self, encoder: Encoder, sender: Sender, guard: Guard) -> None:
        self._encoder = encoder
        self._guard = guard
        self._senders: tuple[Sender, ...] = (sender,)
        self.sender = sender
        self.ended = False

    def __call__(self, data: Any) -> bool:
        """Encode and hand over; False when nothing could be encoded, or after the end. Never waits, never raises."""
        return self.hand_over(lambda: self._encoder.encode(data, breathe))

    def also(self, sender: Sender) -> None:
        """Give what is encoded from now on to `sender` as well."""
        self._senders = (*self._senders, sender)

    def hand_over(self, encode: Callable[[], Encoded]) -> bool:
        """The same for what `encode` makes."""
        if self.ended:
            return False
        try:
            encoded = encode()
            for sender in self._senders:
                sender.submit(encoded)
        except Exception as error:  # noqa: BLE001 - a processor's thread must not die of a batch
            self._failed(error)
            return False
        self._say_lost(encoded)
        return True

    def hand_over_now(self, encode: Callable[[], Encoded]) -> bool:
        """The same in the application's thread: False when a sender is busy, and nothing is written to a disk."""
        failure = None
        with ExitStack() as held:
            for sender in self._senders:
                if not sender.lock.acquire(blocking=False):
                    return False
                held.callback(sender.lock.release)
            try:
                encoded = encode()
            except Exception as error:  # noqa: BLE001 - the sender's thread tries it again, and says it
                let_through(error)
                return False
            try:
                for sender in self._senders:
                    sender.accept(encoded, stay=True)
            except Exception as error:  # noqa: BLE001 - this is the application's thread, and the batch is in a spool
                failure = error
        if failure is not None:
            self._failed(failure)
        self._say_lost(encoded)
        return True

    def postpone(self) -> None:
        """After that: let no sender's thread wake up for nothing; see `Sender.postpone`."""
        for sender in self._senders:
            sender.postpone()

    def _failed(self, error: Exception) -> None:
        self._guard.failed(f"OTLP export, {self._encoder.signal}", error)

    def _say_lost(self, encoded: Encoded) -> None:
        if encoded.lost:
            self._guard.failed(
                f"OTLP encoding, {self._encoder.signal}",
                f"{encoded.lost} could not be encoded",
                remedy="they are left out, the others are sent",
            )

    def flush(self, milliseconds: float) -> bool:
        """Wait until every sender has settled what it has; see `Sender.flush`."""
        deadline = Deadline(_seconds(milliseconds))
        for sender in self._senders:
            sender.hurry()
        flushed = [sender.flush(deadline.left()) for sender in self._senders]
        return all(flushed)

    def shutdown(self, milliseconds: float) -> None:
        """End every sender within this time altogether; see `Sender.shutdown`."""
        self.ended = True
        deadline = Deadline(_seconds(milliseconds))
        for sender in self._senders:
            sender.hurry()
        for sender in self._senders:
            sender.shutdown(deadline.left())

    @property
    def stats(self) -> tuple[SenderStats, ...]:
        """What each sender has done."""
        return tuple(sender.stats() for sender in self._senders)


class Delivering:
    """What the exporters of spans and of log records do alike, whatever interface of upstream's they stand behind.

    Args:
        encoder: of the signal.
        sender: where to.
        guard: gets what goes wrong in encoding.
        shutdown_timeout: milliseconds a `shutdown` without a timeout may take.
    """

    def __init__(self, encoder: Encoder, sender: Sender, guard: Guard, *, shutdown_timeout: int) -> None:
        self._export = Export(encoder, sender, guard)
        self._encoder = encoder
        self._shutdown_timeout = shutdown_timeout

    def hand_over(self, encode: Callable[[], Encoded]) -> bool:
        """Give the sender what `encode` makes."""
        return self._export.hand_over(encode)

    def hand_over_now(self, encode: Callable[[], Encoded]) -> bool:
        """The same in the application's thread: False when the sender is busy, and nothing is written to a disk."""
        return self._export.hand_over_now(encode)

    def postpone(self) -> None:
        """After that: let no sender's thread wake up for nothing; see `Sender.postpone`."""
        self._export.postpone()

    def feed(self, fetch: Callable[[], float], every: float) -> Callable[[], bool]:
        """Have the sender's thread call `fetch` every so many seconds; see `Sender.feed`."""
        return self._export.sender.feed(fetch, every)

    def also(self, sender: Sender) -> None:
        """Give what is encoded from now on to `sender` as well."""
        self._export.also(sender)

    def shutdown(self, timeout_millis: float | None = None) -> None:
        """Deliver, keep or count what waits, within the timeout."""
        self._export.shutdown(self._shutdown_timeout if timeout_millis is None else timeout_millis)

    def stats(self) -> tuple[SenderStats, ...]:
        """What each target got."""
        return self._export.stats


def _seconds(milliseconds: float) -> float:
    return min(max(milliseconds, 0.0), 3_600_000.0) / 1000 if math.isfinite(milliseconds) else 3600.0
