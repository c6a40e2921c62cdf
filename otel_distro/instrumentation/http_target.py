"""What all requests with one method to one origin have in common, computed once.

Source: semantic conventions 1.44, "HTTP client spans" and "HTTP client metrics".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.metrics import Histogram

from otel_distro.bounded import BoundedCache
from otel_distro.conventions import server_of
from otel_distro.ledger import Entry
from otel_distro.tracing.client import ClientSpans, encoded
from otel_distro.tracing.common import Common, ids_of

from .binding import Records, histogram_series
from .calls import CLIENT

_MAX_SERIES = 64


class Ending(Common):
    """What the requests of a target have in common that ended alike, the account of their entries in the ledger.

    An entry is an `Ending`, the duration in seconds, the end by `time.perf_counter`, and the span, which was concluded.

    Args:
        name: of the spans.
        attributes: of the spans.
        duration: the series of `http.client.request.duration` that such requests are recorded in, in seconds.

    Attributes:
        duration: as given.
        waits: it may be told later, with the entries; otherwise it has been told.
    """

    __slots__ = ("duration", "waits")

    def __init__(self, name: str, attributes: dict[str, Any], duration: Records) -> None:
        super().__init__(name, CLIENT, attributes)
        self.duration = duration
        self.waits = duration.waits

    def encoded(self, entries: list[Entry]) -> Sequence[Any]:
        """Their spans; see `Account`."""
        return encoded(self, [entry[3] for entry in entries])

    def count(self, entries: list[Entry]) -> None:
        """Put them into metrics; see `Account`."""
        if self.waits:
            _, seconds, moments, spans = zip(*entries, strict=True)
            self.duration.took_all(seconds, moments, ids_of(spans))


class Target:
    """One method at one origin.

    Args:
        method: as the application gave it.
        origin: scheme and authority of a URL.
        known: methods that are recorded by name.
        histogram: `http.client.request.duration`.

    Attributes:
        name: of the spans.
        origin: as given.
        attributes: of the spans, without the URL.
        endings: what `ending` has given so far, by its arguments.
        spans: makes them; None where it has not been asked for, or every span is whole.
    """

    __slots__ = ("_histogram", "_metric_attributes", "attributes", "endings", "name", "origin", "spans")

    def __init__(self, method: str, origin: str, known: frozenset[str], histogram: Histogram) -> None:
        self.origin = origin
        upper = method.strip().upper()
        recorded = upper if upper in known else "_OTHER"
        self.name = upper if recorded == upper else "HTTP"
        self.attributes: dict[str, Any] = {"http.request.method": recorded, **server_of(origin)}
        self._metric_attributes = dict(self.attributes)
        if method.strip() != recorded:
            self.attributes["http.request.method_original"] = method.strip()
        self._histogram = histogram
        self.spans: ClientSpans | None = None
        self.endings: BoundedCache[tuple[int, str, str], Ending] = BoundedCache(_MAX_SERIES)

    def ending(self, status: int, version: str, error: str) -> Ending:
        """What the requests have in common that ended like this, and from now on is found in `endings`.

        Args:
            status: of HTTP; 0 where no answer came.
            version: of HTTP; empty where it is not known.
            error: the class of what was raised; empty where nothing was.
        """
        attributes: dict[str, Any] = {}
        if status:
            attributes["http.response.status_code"] = status
        if version:
            attributes["network.protocol.version"] = version
        if error or is_error(status):
            attributes["error.type"] = error or str(status)
        series = histogram_series(self._histogram, {**self._metric_attributes, **attributes})
        ending = Ending(self.name, {**self.attributes, **attributes}, series)
        return self.endings.keep((status, version, error), ending)


def is_error(status: int) -> bool:
    """Whether a client counts this status as an error (semantic conventions, "HTTP client", status); 0 is none."""
    return status >= 400 or 0 < status < 100
