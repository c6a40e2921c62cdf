"""The server metrics of HTTP, each series bound once and found by one look-up.

Source: semantic conventions 1.44, "HTTP metrics", server.
"""

from __future__ import annotations

from opentelemetry.metrics import Meter

from otel_distro.bounded import BoundedCache
from otel_distro.conventions import HTTP_DURATION_BOUNDARIES
from otel_distro.instrumentation.binding import NOTHING, Adds, Records, counter_series, histogram_series

from .streams import Streams

_SERIES = 4_096
_GROUPS = 64

Ending = tuple[str | None, int | None, str | None]
"""How a request ended: the route's template, the response's status and `error.type`, each None where there is none."""


class Instruments:
    """The four instruments of one meter, and those of connections that stay open.

    Args:
        meter: that makes them.
    """

    __slots__ = ("active", "duration", "request_size", "response_size", "streams")

    def __init__(self, meter: Meter) -> None:
        self.duration = meter.create_histogram(
            "http.server.request.duration",
            unit="s",
            description="Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=HTTP_DURATION_BOUNDARIES,
        )
        self.active = meter.create_up_down_counter(
            "http.server.active_requests", unit="{request}", description="Number of active HTTP server requests."
        )
        self.request_size = meter.create_histogram(
            "http.server.request.body.size", unit="By", description="Size of HTTP server request bodies."
        )
        self.response_size = meter.create_histogram(
            "http.server.response.body.size", unit="By", description="Size of HTTP server response bodies."
        )
        self.streams = Streams(meter)


class Group:
    """Requests of one method, scheme and protocol version.

    Args:
        instruments: where the series are; None switches metrics off.
        method: the known method or `_OTHER`.
        scheme: `http` or `https`.
        version: of HTTP, such as `1.1`; empty when the server does not say.

    Attributes:
        active: the series of active requests.
    """

    __slots__ = ("_attributes", "_ended", "_instruments", "_received", "active")

    def __init__(self, instruments: Instruments | None, method: str, scheme: str, version: str) -> None:
        attributes: dict[str, str | int] = {"http.request.method": method, "url.scheme": scheme}
        self.active: Adds = NOTHING if instruments is None else counter_series(instruments.active, attributes.copy())
        if version:
            attributes["network.protocol.version"] = version
        self._attributes = attributes
        self._instruments = instruments
        self._ended: BoundedCache[Ending, tuple[Records, Records]] = BoundedCache(_SERIES)
        self._received: BoundedCache[Ending, Records] = BoundedCache(_SERIES)

    def ended(self, ending: Ending) -> tuple[Records, Records]:
        """The series of such requests: durations in seconds, and response bodies in bytes."""
        found = self._ended.get(ending)
        if found is not None:
            return found
        instruments = self._instruments
        if instruments is None:
            return self._ended.keep(ending, (NOTHING, NOTHING))
        attributes = self._all(ending)
        duration = histogram_series(instruments.duration, attributes)
        return self._ended.keep(ending, (duration, histogram_series(instruments.response_size, attributes)))

    def received(self, ending: Ending) -> Records:
        """The series of such requests' bodies in bytes; made when there is one, or it would be exported empty."""
        found = self._received.get(ending)
        if found is not None:
            return found
        instruments = self._instruments
        made = NOTHING if instruments is None else histogram_series(instruments.request_size, self._all(ending))
        return self._received.keep(ending, made)

    def _all(self, ending: Ending) -> dict[str, str | int]:
        attributes = self._attributes.copy()
        for name, value in zip(("http.route", "http.response.status_code", "error.type"), ending, strict=True):
            if value is not None:
                attributes[name] = value
        return attributes


class Groups:
    """The groups of one application, made when they are first seen.

    Args:
        instruments: where the series are; None switches metrics off.
    """

    __slots__ = ("_groups", "_instruments")

    def __init__(self, instruments: Instruments | None) -> None:
        self._instruments = instruments
        self._groups: BoundedCache[tuple[str, str, str], Group] = BoundedCache(_GROUPS)

    def of(self, method: str, scheme: str, version: str) -> Group:
        """The group of these requests."""
        key = (method, scheme, version)
        found = self._groups.get(key)
        return found if found is not None else self._groups.keep(key, Group(self._instruments, method, scheme, version))
