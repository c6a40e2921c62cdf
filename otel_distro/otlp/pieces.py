"""What a queue of encoded items asks of its exporter and of its encoder; imported by type checkers alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ._batch import Encoded, Piece


class PieceExporter(Protocol):
    """What is asked of an OTLP exporter; see `Export` for each."""

    def hand_over(self, encode: Callable[[], Encoded]) -> bool:
        """Give the senders what `encode` makes."""
        ...

    def hand_over_now(self, encode: Callable[[], Encoded]) -> bool:
        """The same without waiting for anyone."""
        ...

    def postpone(self) -> None:
        """After that: let no sender's thread wake up for nothing."""
        ...

    def feed(self, fetch: Callable[[], float], every: float) -> Callable[[], bool]:
        """Have a sender's thread call `fetch`."""
        ...

    def force_flush(self, timeout_millis: float) -> bool:
        """Wait until all is delivered."""
        ...

    def shutdown(self, timeout_millis: float | None) -> None:
        """Deliver what waits, and end."""
        ...


class PieceEncoder(Protocol):
    """What is asked of an encoder."""

    def piece(self, item: Any, /) -> Piece:
        """One item's part of a request; never raises."""
        ...

    def join(self, pieces: Sequence[Piece]) -> Encoded:
        """The request of these pieces."""
        ...
