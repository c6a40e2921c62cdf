"""What all requests with one method to one origin have in common, computed once.

Source: semantic conventions 1.44, "HTTP client spans" and "HTTP client metrics".
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlsplit

from opentelemetry.metrics import Histogram

from otel_distro.bounded import BoundedCache
from otel_distro.tracing.client import ClientSpans
from otel_distro.tracing.common import Common

from .binding import Records, histogram_series
from .calls import CLIENT

_MAX_SERIES = 64
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Ending(NamedTuple):
    """What the requests of a target have in common that ended alike.

    Attributes:
        duration: the series of `http.client.request.duration`.
        alike: name and attributes of their spans.
    """

    duration: Records
    alike: Common


class Target:
    """One method at one origin.

    Args:
        method: as the application gave it.
        origin: scheme and authority of a URL.
        known: methods that are recorded by name.
        histogram: `http.client.request.duration`.

    Attributes:
        name: of the spans.
        attributes: of the spans, without the URL.
        endings: what `ending` has given so far, by its arguments.
        spans: makes them; None where it has not been asked for, or every span is whole.
    """

    __slots__ = ("_histogram", "_metric_attributes", "attributes", "endings", "name", "spans")

    def __init__(self, method: str, origin: str, known: frozenset[str], histogram: Histogram) -> None:
        upper = method.strip().upper()
        recorded = upper if upper in known else "_OTHER"
        self.name = upper if recorded == upper else "HTTP"
        self.attributes: dict[str, Any] = {"http.request.method": recorded, **_server(origin)}
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
        alike = Common(self.name, CLIENT, {**self.attributes, **attributes})
        return self.endings.keep((status, version, error), Ending(series, alike))


def is_error(status: int) -> bool:
    """Whether a client counts this status as an error (semantic conventions, "HTTP client", status); 0 is none."""
    return status >= 400 or 0 < status < 100


def _server(origin: str) -> dict[str, Any]:
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return {}
    if not host:
        return {}
    # required by the conventions also where it is the scheme's own
    return {"server.address": host} if port is None else {"server.address": host, "server.port": port}
