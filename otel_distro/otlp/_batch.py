"""What an encoder makes and a sender sends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_distro.process import unforked

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

CHUNK = 64
"""Items encoded at a stretch: 512 at once held the interpreter for 4 ms at worst, 64 for 0.4 ms."""


Piece = tuple[Any, Any, bytes]
"""An item's resource, its instrumentation scope and its bytes, without tag and length; none when it has no form."""

Group = tuple[Any, Any, Sequence[bytes]]
"""A resource, an instrumentation scope and the bytes of items that have both."""


class Encoded(NamedTuple):
    """An export request as bytes."""

    body: bytes
    items: int
    """How many spans, points or records are in it."""
    lost: int = 0
    """How many could not be encoded at all, not even by substitution."""
    groups: Sequence[Group] = ()
    """What it was joined from, for who makes another request of that."""


if TYPE_CHECKING:
    from typing import Protocol

    class Encoder(Protocol):
        """Turns the finished items of one signal into an export request."""

        @property
        def signal(self) -> str:
            """`traces`, `metrics` or `logs`."""
            ...

        @property
        def content_type(self) -> str:
            """The media type of the bytes."""
            ...

        def encode(self, data: Any, breathe: Callable[[], object] | None = None) -> Encoded:
            """Encode `data`; `breathe` is called between chunks of 64 items: other threads get the interpreter."""
            ...


class LateEncoder:
    """An encoder that is imported when the first data is there, for signals that a short process never sends.

    Args:
        signal: see `Encoder`.
        content_type: see `Encoder`.
        make: imports and makes it; called by the thread that encodes.
    """

    def __init__(self, signal: str, content_type: str, make: Callable[[], Encoder]) -> None:
        self.signal = signal
        self.content_type = content_type
        self._make = make
        self._made: Encoder | None = None

    def encode(self, data: Any, breathe: Callable[[], object] | None = None) -> Encoded:
        """See `Encoder.encode`."""
        if self._made is None:
            with unforked():
                self._made = self._make()
        return self._made.encode(data, breathe)


def breathe() -> None:
    """Let other threads run: a sleep that is long enough for a waiting one to wake up and take the interpreter.

    `sleep(0)` releases it too, but often has it back before the other is awake.
    """
    time.sleep(0.000_05)
