"""One request from its first to its last byte: counts what is sent, learns its route, ends span and metrics once.

The object lies in the scope under `MARK`: that is how mounted applications and FastAPI's own telemetry see that the
server span exists, and how routing tells which route it chose, also through middlewares that copy the scope.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable
from contextvars import Token
from time import perf_counter
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode

from otel_distro.tracing.context import detach, error_status

from .messages import Receive, Send, observed
from .options import Message, Scope

if TYPE_CHECKING:
    from .origin import Origin
    from .server import Server

MARK = "fastapi.telemetry"
"""The scope's key by which FastAPI 0.142 and newer leaves a request to somebody else; see `fastapi/applications.py`."""

INCOMPLETE = "incomplete_response"
_MOUNTED = "/{path}"
_HANDSHAKE_DONE = 101
_HANDSHAKE_REFUSED = 403


class Exchange:
    """A request or a WebSocket connection while it lasts.

    Args:
        server: whose request it is.
        origin: what it has in common with others.
        send: the ASGI server's.
        prefix: the path under which the application is reached, without a slash at its end.
        request_size: bytes of the request's body, 0 when they are to be counted, None when no body was announced.

    Attributes:
        server_span: None when there is none.
        recording: whether the span keeps what it is told.
        status_code: of the response, None before it starts.
        started: `perf_counter()` at the beginning.
        started_at: the same moment in nanoseconds since the epoch, 0 when nothing is recorded.
        sent: bytes of the response's body so far.
    """

    __slots__ = (
        "_closed",
        "_complete_at",
        "_data",
        "_done",
        "_errors",
        "_name",
        "_prefix",
        "_route",
        "_routed_by_fastapi",
        "_send",
        "_trailers",
        "origin",
        "recording",
        "request_size",
        "sent",
        "server",
        "server_span",
        "started",
        "started_at",
        "status_code",
        "token",
    )

    def __init__(self, server: Server, origin: Origin, send: Send, prefix: str, request_size: int | None) -> None:
        self.server = server
        self.origin = origin
        self.server_span: Span | None = None
        self.recording = False
        self.started = 0.0
        self.started_at = 0
        self.request_size = request_size
        self.sent = 0
        self.status_code: int | None = None
        self.token: Token[Context] | None = None
        self._send = send
        self._prefix = prefix
        self._name = origin.word
        self._route: str | None = None
        self._routed_by_fastapi = False
        self._trailers = False
        self._done = False
        self._complete_at = 0.0
        self._closed = False
        # what FastAPI's own telemetry keeps per request, made when it asks
        self._data: Any = None
        self._errors: list[BaseException] | None = None

    # --- routing ---------------------------------------------------------------------------------------------------

    @property
    def route(self) -> str | None:
        """The full template of the chosen route, None as long as there is none."""
        return self._route

    def choose(self, path: str, *, mount: bool) -> None:
        """Starlette chose a route.

        Args:
            path: its `path_format`.
            mount: it leads into another application, which will choose the rest.
        """
        if self._routed_by_fastapi:
            # FastAPI's router has told about this very route already
            self._routed_by_fastapi = False
            return
        if mount:
            self._prefix += path.removesuffix(_MOUNTED)
            self.set_route(self._prefix + _MOUNTED)
        else:
            self.set_route(self._prefix + path)

    def set_route(self, route: str) -> None:
        """Put the route on the span, and into its name unless the application has given it another."""
        self._route = route
        span = self.server_span
        if not self.recording or span is None:
            return
        span.set_attribute("http.route", route)
        if getattr(span, "name", self._name) == self._name:
            self._name = f"{self.origin.word} {route}"
            span.update_name(self._name)

    # --- messages of the application ---------------------------------------------------------------------------------

    def messages(self, scope: Scope, receive: Receive) -> tuple[Receive, Send]:
        """`receive` and `send` for the application; the server's own `receive` wherever nobody wants to look at it."""
        send: Send = self.send_websocket if scope["type"] == "websocket" else self.send
        if self.request_size != 0 and not self.server.has_message_hooks:
            return receive, send
        return observed(self, scope, receive, send)

    def send(self, message: Message) -> Awaitable[None]:
        """Stand in for the server's `send` of an HTTP request: the same message, looked at on its way."""
        try:
            kind = message["type"]
            if kind == "http.response.body":
                self.sent += len(message.get("body", b""))
                if not self._trailers and not message.get("more_body", False):
                    return self._send_last(message)
            elif kind == "http.response.start":
                status = message["status"]
                self.status_code = status if status.__class__ is int else int(status)
                if message.get("trailers", False):
                    self._trailers = True
                if self.server.looks_at_responses:
                    message = self.server.look_at_response(self, message)
            elif kind == "http.response.pathsend":
                self.sent = os.stat(message["path"]).st_size  # noqa: PTH116 - pathlib costs more than the call
                return self._send_last(message)
            elif kind == "http.response.trailers" and not message.get("more_trailers", False):
                return self._send_last(message)
        except Exception as error:  # noqa: BLE001 - whatever the application sends goes out as it is
            self.server.guard.failed("response", error)
        return self._send(message)

    async def _send_last(self, message: Message) -> None:
        await self._send(message)
        self.complete()

    def send_websocket(self, message: Message) -> Awaitable[None]:
        """Stand in for the server's `send` of a WebSocket: notes how the handshake ended."""
        if self.status_code is None:
            try:
                kind = message["type"]
                if kind == "websocket.accept":
                    self.status_code = _HANDSHAKE_DONE
                elif kind == "websocket.close":
                    self.status_code = _HANDSHAKE_REFUSED
                elif kind == "websocket.http.response.start":
                    self.status_code = int(message["status"])
            except Exception as error:  # noqa: BLE001 - as above
                self.server.guard.failed("response", error)
        return self._send(message)

    # --- the end -----------------------------------------------------------------------------------------------------

    def complete(self) -> None:
        """The response has left: end now, unless an exception that explains a server error is still on its way."""
        status = self.status_code
        if status is not None and status >= 500:
            self._complete_at = perf_counter()
            return
        self.end(None)

    def leave(self, scope: Scope, error: BaseException | None) -> None:
        """The application returned or raised: end what has not ended and put the context back.

        Args:
            scope: of the connection.
            error: what left the application, None when it returned.
        """
        self.end(error)
        if self.token is not None:
            detach(self.token, self.server_span)
        scope.pop(MARK, None)

    def end(self, error: BaseException | None) -> None:
        """End span and metrics, once; what goes wrong stays with the guard.

        Args:
            error: what left the application, None when it returned.
        """
        if self._done:
            return
        self._done = True
        try:
            self._end(error)
        except Exception as failure:  # noqa: BLE001 - the application has answered, nothing may change that
            self.server.guard.failed("server span", failure)

    def _end(self, error: BaseException | None) -> None:
        origin = self.origin
        origin.group.active.add(-1)
        seconds = (self._complete_at or perf_counter()) - self.started
        status = self.status_code
        failure = None
        if error is not None or status is None or status >= 500:
            failure = self.server.failure(self, error)
        duration, request_size, response_size = origin.group.ended(self._route, status, failure)
        span = self.server_span
        # an unsampled span is no exemplar
        exemplar = span if self.recording else None
        duration.record(seconds, exemplar)
        response_size.record(self.sent, exemplar)
        if self.request_size is not None:
            request_size.record(self.request_size, exemplar)
        if span is None or not self.recording:
            return
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if failure is not None:
            self._mark_failed(span, failure, error)
        span.end(self.started_at + int(seconds * 1e9))

    def _mark_failed(self, span: Span, failure: str, error: BaseException | None) -> None:
        span.set_attribute("error.type", failure)
        if isinstance(error, Exception):
            span.record_exception(error)
            span.set_status(error_status(error))
        else:
            span.set_status(Status(StatusCode.ERROR))
