"""One request from its first to its last byte: counts what is sent, learns its route, ends span and metrics once.

The object lies in the scope under `MARK`: that is how mounted applications and FastAPI's own telemetry see that the
server span exists, and how routing tells which route it chose, also through middlewares that copy the scope.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Token
from time import perf_counter
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode

from otel_distro._compat import TRACE_ID
from otel_distro.context import NOTHING, REQUEST_ID, RequestScope, Value, reset_scope
from otel_distro.errors import note
from otel_distro.tracing.context import detach, end_after, error_status, reset_context

from .messages import Send
from .options import Message, Scope
from .origin import facts_of

if TYPE_CHECKING:
    from otel_distro.propagation import Headers
    from otel_distro.tracing.late import LateSpan

    from .server import Server
    from .streams import Stream

Told = Callable[..., object]
"""`told(seconds=..., route=..., spent=...)`: how long a request took, its route, the attributes of what it spent."""

MARK = "fastapi.telemetry"
"""The scope's key by which FastAPI 0.142 and newer leaves a request to somebody else; see `fastapi/applications.py`."""

_new = object.__new__
NOT_ASKED = object()
"""In place of FastAPI's data about a request before it asks for them."""
INCOMPLETE = "incomplete_response"
_MOUNTED = "/{path}"
_HANDSHAKE_DONE = 101
_HANDSHAKE_REFUSED = 403
_SERVER_ERROR = 500
_LONGEST_LENGTH = 18  # digits
_WITHOUT_LENGTH = frozenset({"2", "2.0", "3", "3.0"})  # versions of HTTP where a body needs no header that announces it
_FAILED = Status(StatusCode.ERROR)


class Exchange(RequestScope):
    """A request or a WebSocket connection while it lasts; made by `begun`.

    Attributes:
        server: whose request it is.
        server_span: None when there is none.
        given_id: the header in which the caller sent an id, in lower case, and that id; None where it sent none.
        held: gets told about the request's end, None where nobody waits for it; see `hold`.
        token: puts the context back.
        recording: whether the span keeps what it is told.
        late: the span is a `LateSpan`, which the exchange tells what it learns.
        started: by `time.perf_counter`, next to the span's beginning: its end is that and the time since.
        done: the end has come, or the beginning has not yet.
        watched: whether what is sent is counted and timed; only then the following exist.
        origin: what it has in common with others.
        request_size: bytes of the request's body, None when no body was announced.
        sent: bytes of the response's body so far.
        status_code: of the response, None before it starts.
        routed_by_fastapi: FastAPI's router has told about the route that is called next.
        asgi: the connection's scope, left by the Sentry bridge for as long as the exchange lives; unset without it.
        isolation: the scope of sentry-sdk's that the bridge has made for the request; likewise.
    """

    __slots__ = (
        "__weakref__",
        "_complete_at",
        "_data",
        "_errors",
        "_head",
        "_name",
        "_prefix",
        "_route",
        "_send",
        "_stream",
        "_trailers",
        "asgi",
        "done",
        "given_id",
        "held",
        "isolation",
        "late",
        "origin",
        "recording",
        "request_size",
        "routed_by_fastapi",
        "sent",
        "server",
        "started",
        "status_code",
        "token",
        "watched",
    )

    asgi: Scope
    done: bool
    given_id: tuple[bytes, bytes] | None
    held: Told | None
    isolation: Any
    late: bool
    recording: bool
    routed_by_fastapi: bool
    server: Server
    server_span: Span | None
    started: float
    token: Token[Context]
    watched: bool
    _data: Any
    _prefix: str
    _route: str | None

    def watch(self, scope: Scope, headers: Headers, send: Send) -> None:
        """Look at all that is sent: the request is measured, its span records, or a hook wants to see it.

        Without this the context and the route are kept, and `answering` sees its end.

        Args:
            scope: of the connection.
            headers: by name in lower case.
            send: the ASGI server's.
        """
        server = self.server
        self.origin = origin = server.origins.of(scope, headers)
        length = headers.get(b"content-length")
        if length is not None or origin.may_have_body:
            self.request_size = _announced(length, scope, headers)
        else:
            self.request_size = None
        self.watched = True
        self.sent = 0
        self.status_code: int | None = None
        self._send = send
        self._stream: Stream | None = None
        self._trailers = False
        self._complete_at = 0.0
        if self.late:
            late: LateSpan = self.server_span  # type: ignore[assignment]
            late.alike = origin
            given = None if self.given_id is None else self.given_id[1]
            try:
                # as `facts_of`, written out
                agent = headers.get(b"user-agent")
                late.facts = scope["path"], scope["query_string"], scope["client"], agent, given
            except KeyError:
                late.facts = facts_of(scope, headers, given)
            if server.captured_request is not None:
                late.tell(server.with_headers({}, scope, headers))
        else:
            self._name = origin.word
        if server.measures:
            origin.group.active.step(1)
        if server.request_hook is not None and self.server_span is not None:
            server.call_hook(server.request_hook, self.server_span, scope)

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
        if mount:
            self._prefix += path.removesuffix(_MOUNTED)
            self.set_route(self._prefix + _MOUNTED)
        else:
            self.set_route(self._prefix + path)

    def set_route(self, route: str) -> None:
        """Put the route on the span and into its name, unless the application has given it others."""
        span: Any = self.server_span
        if self.late:
            self._route = route
            span.reach(route)
            return
        former, self._route = self._route, route
        if not self.recording or span is None:
            return
        # not over the application's own
        if (getattr(span, "attributes", None) or NOTHING).get("http.route", former) == former:
            span.set_attribute("http.route", route)
        if getattr(span, "name", self._name) == self._name:
            self._name = f"{self.origin.word} {route}"
            span.update_name(self._name)

    # --- messages of the application ---------------------------------------------------------------------------------

    def send(  # noqa: C901 - no calls between, because each costs every request
        self, message: Message
    ) -> Awaitable[None]:
        """Stand in for the server's `send` of an HTTP request: the same message, looked at on its way."""
        try:
            kind = message["type"]
            if kind == "http.response.body":
                self.sent += len(message.get("body", b""))
                if message.get("more_body", False):
                    self._look_at_part(message)
                elif not self._trailers:
                    return self._send_last(message)
            elif kind == "http.response.start":
                status = message["status"]
                self.status_code = status if status.__class__ is int else int(status)
                self._head = message
                if message.get("trailers", False):
                    self._trailers = True
                server = self.server
                if server.looks_at_responses:
                    message = server.look_at_response(self, message)
                echo = server.echo
                if echo is not None:
                    message = echo(self, message)
            elif kind == "http.response.pathsend":
                self.sent = os.stat(message["path"]).st_size  # noqa: PTH116 - pathlib costs more than the call
                return self._send_last(message)
            elif kind == "http.response.trailers" and not message.get("more_trailers", False):
                return self._send_last(message)
        except Exception as error:  # noqa: BLE001 - whatever the application sends goes out as it is
            self.server.guard.failed("response", error)
        return self._send(message)

    def _look_at_part(self, message: Message) -> None:
        if self._stream is None:
            self._stream = self.server.streams.of_response(self._head, self._route)
        self._stream.sent(message)

    async def _send_last(self, message: Message) -> None:
        if self._stream is not None:
            self._stream.sent(message)
        await self._send(message)
        status = self.status_code
        if status is None or status < _SERVER_ERROR:
            self.end(None)
        else:
            # the exception that explains it is still on its way to `leave`
            self._complete_at = perf_counter()

    def send_websocket(self, message: Message) -> Awaitable[None]:
        """Stand in for the server's `send` of a WebSocket: notes how the handshake ended, and counts messages."""
        try:
            if self._stream is not None:
                if message["type"] == "websocket.send":
                    self._stream.sent(message)
            elif self.status_code is None:
                kind = message["type"]
                if kind == "websocket.accept":
                    self.status_code = _HANDSHAKE_DONE
                    self._stream = self.server.streams.of_websocket(self._route)
                elif kind == "websocket.close":
                    self.status_code = _HANDSHAKE_REFUSED
                elif kind == "websocket.http.response.start":
                    self.status_code = int(message["status"])
        except Exception as error:  # noqa: BLE001 - as above
            self.server.guard.failed("response", error)
        return self._send(message)

    def received(self, message: Message) -> None:
        """A message of a WebSocket's client, on its way to the application."""
        if self._stream is not None and message["type"] == "websocket.receive":
            self._stream.received()

    # --- as a scope --------------------------------------------------------------------------------------------------

    def identify(self) -> str:
        """See `RequestScope.identify`; a span of ours tells its trace in a quarter of the time."""
        found = self.request_id
        if found is None:
            given = self.given_id
            if given is not None:
                found = self.request_id = given[1].decode("ascii")
                return found
            try:
                found = self.server_span.context[TRACE_ID].to_bytes(16, "big").hex()  # type: ignore[union-attr]
            except (AttributeError, TypeError):
                return RequestScope.identify(self)
            self.request_id = found
        return found

    def knowing(self) -> Mapping[str, Value]:
        """See `Scope.knowing`; put together where somebody asks, because hardly a request's own span does."""
        return NOTHING if self.given_id is None else {REQUEST_ID: self.identify()}

    def repeats(self) -> int:
        """How often one statement may run; a WebSocket lasts, so any number there."""
        return 0 if self.watched and self.origin.word == "WS" else self.server.summary.repeats

    def hold(self, told: Told) -> bool:
        """Tell `told` about the request's end; False where the end has come, or another is to be told already."""
        if self.done or self.held is not None:
            return False
        self.held = told
        return True

    def tell(self, told: Told) -> None:
        """Tell `told` about the request's end, which has just been."""
        self._tell(told, perf_counter() - self.started)

    def settle(self, scope: Scope) -> None:
        """Tell the end of a request that is not watched, once: to whom `hold` promised it, and repeated statements.

        Args:
            scope: of the connection.
        """
        if self.done:
            return
        self.done = True
        held, spent = self.held, self.spent
        if held is not None:
            self._tell(held, perf_counter() - self.started)
        if spent is not None and spent.repeated:
            try:
                self.origin = self.server.origins.of(scope, {})
                self.server.summary.of(self, None, 0.0)  # slow requests are watched
            except Exception as error:  # noqa: BLE001 - as above
                self.server.guard.failed("summary of a request", error)

    def _tell(self, told: Told, seconds: float) -> None:
        try:
            told(seconds=seconds, route=self._route, spent={} if self.spent is None else self.spent.attributes)
        except Exception as error:  # noqa: BLE001 - a log handler of the application's may raise
            self.server.guard.failed("access log", error)

    # --- the end -----------------------------------------------------------------------------------------------------

    def leave(self, scope: Scope, error: BaseException | None) -> None:
        """The application returned or raised: end what has not ended and put the context back.

        Args:
            scope: of the connection.
            error: what left the application, None when it returned.
        """
        if error is not None:
            self.report(scope, error)
            if isinstance(error, Exception):
                # the server logs it when the request's context is gone
                note(error, None if self.server_span is None else self.server_span.get_span_context(), self.recorded())
        if not self.done:
            if self.watched:
                self.end(error)
            else:
                self.settle(scope)
        try:
            reset_scope(self.opened)  # type: ignore[arg-type]
        except (ValueError, RuntimeError, TypeError):
            pass
        try:
            reset_context(self.token)
        except Exception:  # noqa: BLE001 - it knows what to do with a token of another context
            detach(self.token, self.server_span)
        scope.pop(MARK, None)
        # a retained context does not keep the body alive
        self._data = self.held = None

    def client_left(self) -> bool:
        """Whether the client went away before its answer was complete; uvicorn tells, and asks itself the same."""
        return getattr(getattr(self._send, "__self__", None), "disconnected", False) is True

    def report(self, scope: Scope, error: BaseException) -> None:
        """Tell FastAPI's own telemetry, where the application has it, what has left the application."""

    def end(  # noqa: C901, PLR0912, PLR0915 - as `send`
        self, error: BaseException | None
    ) -> None:
        """End span and metrics, once; what goes wrong stays with the guard.

        In one piece, because each call between its steps would cost every request.

        Args:
            error: what left the application, None when it returned.
        """
        if self.done:
            return
        self.done = True
        now = self._complete_at or perf_counter()
        seconds = now - self.started
        if self.held is not None:
            self._tell(self.held, seconds)
        try:
            origin, server, status = self.origin, self.server, self.status_code
            if server.measures:
                origin.group.active.step(-1)
            elif not self.recording:
                if self.spent is not None or seconds > server.slow:
                    server.summary.of(self, None, seconds)
                return
            failure = None
            if error is not None or status is None or status >= _SERVER_ERROR:
                failure = server.failure(self, error)
            try:
                ended = server.endings.known[origin, self._route, status, failure]
            except KeyError:
                ended = server.endings.learn((origin, self._route, status, failure))
            # an unsampled span is no exemplar
            span: Any = self.server_span if self.recording else None
            plain = self.late and failure is None
            waits = plain and ended.waits
            if span is None:
                ended.took(seconds, self.sent, now, None)
            elif not self.late:
                ended.duration.record(seconds, span)
                ended.response_size.record(self.sent, span)
            elif not waits:
                ended.took(seconds, self.sent, now, span.context[:2])
            if self._stream is not None:
                self._stream.end(failure, span)
            if self.request_size is not None:
                ended.request_size().record(self.request_size, span)
            if self.spent is not None or seconds > server.slow:
                server.summary.of(self, span, seconds)
            if span is None:
                return
            if plain:
                # the span lasts as long as the clock says that never jumps
                if span.conclude(ended, span.start_time + int(seconds * 1e9), self.user, self.values):
                    ledger = ended.taker.ledger  # type: ignore[union-attr]  # `conclude` has met it
                    ledger.append((ended, seconds, self.sent, now, span))
                    if len(ledger) >= ledger.mark:
                        ledger.full()
                    return
                if waits:
                    ended.took(seconds, self.sent, now, span.context[:2])
            told = self.told
            if told is None:
                told = self.telling()
            if told:
                # user, tenant and what else the application said, whenever it was said
                span.set_attributes(told)
            self._end_span(span, status, failure, error, seconds)
        except Exception as problem:  # noqa: BLE001 - the application has answered, nothing may change that
            self.server.guard.failed("server span", problem)

    def _end_span(
        self, span: Span, status: int | None, failure: str | None, error: BaseException | None, seconds: float
    ) -> None:
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if failure is not None:
            span.set_attribute("error.type", failure)
            if isinstance(error, Exception):
                from otel_distro.captures import captured_on

                if not captured_on(error, span):
                    span.record_exception(error)
                span.set_status(error_status(error))
            else:
                span.set_status(_FAILED)
        end_after(span, seconds)


def begun(kind: type[Exchange], server: Server, prefix: str) -> Exchange:
    """A new exchange of this kind, to which `Server.open` adds span, token and scope.

    Args:
        kind: its class.
        server: whose request it is.
        prefix: the path under which the application is reached, without a slash at its end.
    """
    # a constructor would be called by the interpreter's type, which costs more than all of this
    exchange = _new(kind)
    exchange.server = server
    exchange.record = exchange.user = exchange.spent = exchange.request_id = None
    exchange.given_id = exchange.held = exchange._route = None  # noqa: SLF001 - this is the constructor
    exchange.values = exchange.told = NOTHING
    exchange.watched = exchange.routed_by_fastapi = False
    exchange.done = True
    exchange._data = NOT_ASKED  # noqa: SLF001 - as above
    exchange._prefix = prefix  # noqa: SLF001 - as above
    return exchange


def _announced(length: bytes | None, scope: Scope, headers: Headers) -> int | None:
    """Bytes of the body by its header; 0 where they have to be counted; None without a body."""
    if length is not None:
        return int(length) if length.isdigit() and len(length) <= _LONGEST_LENGTH else None
    return 0 if b"transfer-encoding" in headers or scope.get("http_version") in _WITHOUT_LENGTH else None
