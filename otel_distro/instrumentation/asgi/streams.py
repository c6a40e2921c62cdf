"""Connections that stay open: server-sent events and WebSockets, counted by route while they last.

Semantic conventions 1.44 have no metrics for either, so the names are ours, built like those of `signalr.server.*` and
`http.server.*`: `sse.server.active_connections`, `sse.server.connection.duration`, `sse.server.events`, and
`websocket.server.active_connections`, `websocket.server.connection.duration`, `websocket.server.messages`.

A plain response never comes here: only a body in several parts is looked at, from its first part on.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from opentelemetry.metrics import Meter
from opentelemetry.trace import Span

from otel_distro.bounded import BoundedCache
from otel_distro.instrumentation.binding import NOTHING, Adds, Attributes, Records, counter_series, histogram_series

from .options import Message

DURATION_BOUNDARIES = (0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0)
"""Seconds: connections last minutes where requests last milliseconds."""

_SERIES = 4_096
_EVENTS = b"text/event-stream"


class Stream:
    """One open connection.

    Args:
        kind: where its series are.
        route: the template of its route, None where there is none.
    """

    __slots__ = ("_began", "_kind", "_received", "_route", "_sent")

    def __init__(self, kind: Kind, route: str | None) -> None:
        active, self._sent, self._received = kind.series(route)
        active.add(1)
        self._kind = kind
        self._route = route
        self._began = perf_counter()

    def sent(self, message: Message) -> None:
        """Count a message of the application's."""
        del message
        self._sent.add(1)

    def received(self) -> None:
        """Count a message of the client's."""
        self._received.add(1)

    def end(self, failure: str | None, span: Span | None) -> None:
        """The connection is over.

        Args:
            failure: `error.type`, None when it did not fail.
            span: becomes the exemplar.
        """
        self._kind.series(self._route)[0].add(-1)
        self._kind.duration(self._route, failure).record(perf_counter() - self._began, span)


class EventStream(Stream):
    """A response of server-sent events."""

    __slots__ = ()

    def sent(self, message: Message) -> None:
        """Count the events of one part of the body: the blank lines that end them, without a leading comment's.

        A comment (`: ping`) is no event. An event whose blank line is cut in two by the parts is not counted.
        """
        body: bytes = message.get("body", b"")
        events = body.count(b"\n\n") + body.count(b"\r\n\r\n") - (body[:1] == b":")
        if events > 0:
            self._sent.add(events)


class NoStream(Stream):
    """Stands in for a response in parts that is no stream, such as a file."""

    __slots__ = ()

    def __init__(self) -> None:
        """Nothing to keep."""

    def sent(self, message: Message) -> None:
        """Count nothing."""

    def end(self, failure: str | None, span: Span | None) -> None:
        """Record nothing."""


NO_STREAM = NoStream()


class Kind:
    """The instruments of one kind of connection.

    Args:
        meter: that makes them.
        name: what the metrics' names begin with.
        title: for people.
        counted: what is counted, in the plural.
        directions: whether it is counted both ways.
    """

    __slots__ = ("_active", "_counted", "_directions", "_duration", "_durations", "_series")

    def __init__(self, meter: Meter, name: str, title: str, counted: str, *, directions: bool) -> None:
        self._active = meter.create_up_down_counter(
            f"{name}.active_connections", unit="{connection}", description=f"Number of open {title} connections."
        )
        self._duration = meter.create_histogram(
            f"{name}.connection.duration",
            unit="s",
            description=f"Duration of {title} connections.",
            explicit_bucket_boundaries_advisory=DURATION_BOUNDARIES,
        )
        self._counted = meter.create_counter(
            f"{name}.{counted}", unit=f"{{{counted[:-1]}}}", description=f"Number of {title} {counted}."
        )
        self._directions = directions
        self._series: BoundedCache[str | None, tuple[Adds, Adds, Adds]] = BoundedCache(_SERIES)
        self._durations: BoundedCache[tuple[str | None, str | None], Records] = BoundedCache(_SERIES)

    def series(self, route: str | None) -> tuple[Adds, Adds, Adds]:
        """Of a route: active connections, what was sent, what was received."""
        found = self._series.get(route)
        if found is not None:
            return found
        attributes: Attributes = {} if route is None else {"http.route": route}
        active = counter_series(self._active, attributes)
        if not self._directions:
            return self._series.keep(route, (active, counter_series(self._counted, attributes), NOTHING))
        ways = [
            counter_series(self._counted, {**attributes, "network.io.direction": way})
            for way in ("transmit", "receive")
        ]
        return self._series.keep(route, (active, ways[0], ways[1]))

    def duration(self, route: str | None, failure: str | None) -> Records:
        """Of a route: durations of connections that ended like this."""
        key = (route, failure)
        found = self._durations.get(key)
        if found is not None:
            return found
        pairs = zip(("http.route", "error.type"), key, strict=True)
        attributes = {name: value for name, value in pairs if value is not None}
        return self._durations.keep(key, histogram_series(self._duration, attributes))


class Streams:
    """Tells which connections are counted as streams.

    Args:
        meter: of the application's provider; None counts nothing.
    """

    __slots__ = ("_meter", "_sse", "_websocket")

    def __init__(self, meter: Meter | None) -> None:
        self._meter = meter
        self._sse: Kind | None = None
        self._websocket: Kind | None = None

    def of_response(self, start: Message, route: str | None) -> Stream:
        """The stream of an HTTP response, asked for when its body turns out to come in parts.

        Args:
            start: its `http.response.start`.
            route: the template of its route, None where there is none.
        """
        if self._meter is None or not _sends_events(start):
            return NO_STREAM
        if self._sse is None:
            self._sse = Kind(self._meter, "sse.server", "server-sent events", "events", directions=False)
        return EventStream(self._sse, route)

    def of_websocket(self, route: str | None) -> Stream:
        """The stream of a WebSocket that the application has accepted."""
        if self._meter is None:
            return NO_STREAM
        if self._websocket is None:
            self._websocket = Kind(self._meter, "websocket.server", "WebSocket", "messages", directions=True)
        return Stream(self._websocket, route)


def _sends_events(start: Message) -> bool:
    headers: Any = start.get("headers", ())
    if not isinstance(headers, (list, tuple)):
        return False  # an iterator that the server has used up
    return any(name.lower() == b"content-type" and value.lower().startswith(_EVENTS) for name, value in headers)
