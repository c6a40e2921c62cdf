"""How requests end, each way worked out once: the series they are counted in and what their spans have in common."""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import SpanKind

from otel_distro.bounded import BoundedCache
from otel_distro.instrumentation.binding import Records
from otel_distro.tracing.common import Common

from .metrics import Ending
from .origin import Origin

_REMEMBERED = 4_096

Key = tuple[Origin, str | None, int | None, str | None]
"""Where a request came from, the route's template, the response's status and `error.type`."""


class Ended:
    """Requests of one origin that ended alike.

    Args:
        origin: theirs.
        ending: route, status and `error.type`.

    Attributes:
        duration: the series of their durations, in seconds.
        response_size: the series of their responses' bodies, in bytes.
        common: what their spans have in common.
    """

    __slots__ = ("_ending", "_origin", "common", "duration", "response_size")

    def __init__(self, origin: Origin, ending: Ending) -> None:
        route, status, failure = ending
        self._origin = origin
        self._ending = ending
        self.duration, self.response_size = origin.group.ended(ending)
        attributes: dict[str, Any] = {**origin.attributes}
        if route is not None:
            attributes["http.route"] = route
        if status is not None:
            attributes["http.response.status_code"] = status
        if failure is not None:
            attributes["error.type"] = failure
        name = origin.word if route is None else f"{origin.word} {route}"
        self.common = Common(name, SpanKind.SERVER, attributes)

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
