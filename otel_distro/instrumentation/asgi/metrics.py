"""The server metrics of HTTP, each series bound once and found by one look-up.

Source: semantic conventions 1.44, "HTTP metrics", server.
"""

from __future__ import annotations

from opentelemetry.metrics import Meter

from otel_distro.bounded import BoundedCache
from otel_distro.instrumentation.binding import NOTHING, Adds, Records, counter_series, histogram_series

DURATION_BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds; the advisory bucket boundaries of `http.server.request.duration`."""

_SERIES = 4_096
_GROUPS = 64

Ended = tuple[Records, Records, Records]
"""Series of duration in seconds, request body and response body in bytes."""


class Instruments:
    """The four instruments of one meter.

    Args:
        meter: that makes them.
    """

    __slots__ = ("active", "duration", "request_size", "response_size")

    def __init__(self, meter: Meter) -> None:
        self.duration = meter.create_histogram(
            "http.server.request.duration",
            unit="s",
            description="Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=DURATION_BOUNDARIES,
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

    __slots__ = ("_attributes", "_instruments", "_series", "active")

    def __init__(self, instruments: Instruments | None, method: str, scheme: str, version: str) -> None:
        attributes: dict[str, str | int] = {"http.request.method": method, "url.scheme": scheme}
        self.active: Adds = NOTHING if instruments is None else counter_series(instruments.active, attributes.copy())
        if version:
            attributes["network.protocol.version"] = version
        self._attributes = attributes
        self._instruments = instruments
        self._series: BoundedCache[tuple[str | None, int | None, str | None], Ended] = BoundedCache(_SERIES)

    def ended(self, route: str | None, status: int | None, error: str | None) -> Ended:
        """The series of requests that ended like this.

        Args:
            route: the template, None when no route was chosen.
            status: of the response, None when none was started.
            error: `error.type`, None for a success.
        """
        key = (route, status, error)
        found = self._series.get(key)
        return self._bind(key) if found is None else found

    def _bind(self, key: tuple[str | None, int | None, str | None]) -> Ended:
        instruments = self._instruments
        if instruments is None:
            return self._series.keep(key, (NOTHING, NOTHING, NOTHING))
        attributes = self._attributes.copy()
        for name, value in zip(("http.route", "http.response.status_code", "error.type"), key, strict=True):
            if value is not None:
                attributes[name] = value
        return self._series.keep(
            key,
            (
                histogram_series(instruments.duration, attributes),
                histogram_series(instruments.request_size, attributes),
                histogram_series(instruments.response_size, attributes),
            ),
        )


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
