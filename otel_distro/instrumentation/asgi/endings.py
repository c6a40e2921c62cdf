"""How requests end, each way worked out once: the series they are counted in and what their spans have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.trace import SpanKind

from otel_distro.bounded import BoundedCache
from otel_distro.instrumentation.binding import Records
from otel_distro.ledger import Entry
from otel_distro.tracing.brief import Ids
from otel_distro.tracing.common import Common, ids_of
from otel_distro.tracing.late import Piece, encoded

from .metrics import Ending
from .origin import Origin

_REMEMBERED = 4_096

Key = tuple[Origin, str | None, int | None, str | None]
"""Where a request came from, the route's template, the response's status and `error.type`."""


class Ended(Common):
    """Requests of one origin that ended alike, the account of their entries in the ledger.

    An entry is an `Ended`, seconds, bytes of the response's body, the time of the end by `time.perf_counter`, and the
    server span, which has been concluded.

    Args:
        origin: theirs.
        ending: route, status and `error.type`.

    Attributes:
        duration: the series of their durations, in seconds.
        response_size: the series of their responses' bodies, in bytes.
        waits: the two may be told later, with the entries; otherwise they have been told.
    """

    __slots__ = ("_ending", "_origin", "duration", "response_size", "waits")

    def __init__(self, origin: Origin, ending: Ending) -> None:
        route, status, failure = ending
        self._origin = origin
        self._ending = ending
        self.duration, self.response_size = origin.group.ended(ending)
        self.waits = self.duration.waits and self.response_size.waits
        attributes: dict[str, Any] = {**origin.attributes}
        if route is not None:
            attributes["http.route"] = route
        if status is not None:
            attributes["http.response.status_code"] = status
        if failure is not None:
            attributes["error.type"] = failure
        super().__init__(origin.word if route is None else f"{origin.word} {route}", SpanKind.SERVER, attributes)

    def took(self, seconds: float, size: int, now: float, ids: Ids | None) -> None:
        """Put one into metrics at once.

        Args:
            seconds: how long it took.
            size: bytes of the response's body.
            now: its end by `time.perf_counter`.
            ids: of its span where that is sampled, else None.
        """
        self.duration.took(seconds, now, ids)
        self.response_size.took(float(size), now, ids)

    def encoded(self, entries: list[Entry]) -> Sequence[Piece]:
        """Their spans; see `Account`."""
        return encoded(self, [entry[4] for entry in entries])

    def count(self, entries: list[Entry]) -> None:
        """Put them into metrics; see `Account`."""
        if self.waits:
            _, seconds, sizes, moments, spans = zip(*entries, strict=True)
            ids = ids_of(spans)
            self.duration.took_all(seconds, moments, ids)
            self.response_size.took_all(tuple(map(float, sizes)), moments, ids)

    def request_size(self) -> Records:
        """The series of their own bodies, in bytes."""
        return self._origin.group.received(self._ending)


class Endings(BoundedCache[Key, Ended]):
    """The ways in which requests of one application have ended."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_REMEMBERED)

    def learn(self, key: Key) -> Ended:
        """See a way for the first time."""
        return self.keep(key, Ended(key[0], key[1:]))


__all__ = ["Ended", "Endings"]
