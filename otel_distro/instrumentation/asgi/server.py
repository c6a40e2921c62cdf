"""What one application's requests need, worked out once, and the beginning of each of them."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context, get_current
from opentelemetry.instrumentation.propagators import ResponsePropagator, get_global_response_propagator
from opentelemetry.propagators.textmap import Setter
from opentelemetry.trace import Span, SpanKind, set_span_in_context
from opentelemetry.util.types import AnyValue

from otel_distro._compat import SPAN_KEY
from otel_distro.guard import Guard
from otel_distro.instrumentation.binding import Starts
from otel_distro.propagation import Headers, Propagation, join_headers
from otel_distro.tracing.context import attach, attach_span, current_span_context, suppressed

from .exchange import INCOMPLETE, MARK, Exchange
from .exclusion import Exclusion
from .headers import Capture
from .messages import Send
from .options import Message, MessageHook, RequestHook, Scope
from .origin import Origin, Origins

if TYPE_CHECKING:
    from .native import NativeApp

_NO_HEADERS: Headers = {}
_LONGEST_LENGTH = 18  # digits
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_WITHOUT_LENGTH = frozenset({"2", "2.0", "3", "3.0"})  # versions of HTTP where a body needs no header that announces it
SpanDetails = Callable[[Scope], tuple[str, dict[str, Any]]]


class Server:
    """The server side of one application.

    Args:
        guard: where failures go.
        origins: of its requests.
        tracer: starts its spans; None when the application wants none.
        exclusion: which URLs make no telemetry; None for all do.
        captured_request: headers that become attributes, or None.
        captured_response: likewise.
        request_hook: called with span and scope when a request begins.
        receive_hook: called with span, scope and each message from the client.
        send_hook: called with span, scope and each message to the client.
        span_details: a name and attributes of the user's for each span, or None.
        native: what FastAPI's own telemetry of this application wants, None where there is none.
        exchange_class: of its requests.
        root_path: the application's own, which goes before what the server says.
        normal_disconnect: tells the end of a WebSocket that is no error.
    """

    def __init__(
        self,
        *,
        guard: Guard,
        origins: Origins,
        tracer: Starts | None,
        exclusion: Exclusion | None = None,
        captured_request: Capture | None = None,
        captured_response: Capture | None = None,
        request_hook: RequestHook | None = None,
        receive_hook: MessageHook | None = None,
        send_hook: MessageHook | None = None,
        span_details: SpanDetails | None = None,
        native: NativeApp | None = None,
        exchange_class: type[Exchange] = Exchange,
        root_path: str = "",
        normal_disconnect: Callable[[BaseException], bool] = lambda _: False,
    ) -> None:
        self.guard = guard
        self.native: Any = native  # never None where an exchange of FastAPI's kind asks
        self.receive_hook = receive_hook
        self.send_hook = send_hook
        self.has_message_hooks = receive_hook is not None or send_hook is not None
        self._origins = origins
        self._tracer = tracer
        self._exclusion = exclusion
        self._captured_request = captured_request
        self._captured_response = captured_response
        self._request_hook = request_hook
        self._span_details = span_details
        self._exchange_class = exchange_class
        self._root_path = root_path.rstrip("/")
        self._normal_disconnect = normal_disconnect
        self._extract = Propagation().extract

    def open(self, app: object, scope: Scope, send: Send) -> Exchange | None:
        """Begin a request: its span is current, its scope marked, its metrics count it as active.

        Args:
            app: that is called.
            scope: of an `http` or `websocket` connection.
            send: the ASGI server's.

        Returns:
            The exchange, whose `leave` must be called; None when this request makes no telemetry.
        """
        headers = self._table(scope.get("headers"))
        origin = self._origins.of(scope, headers)
        if suppressed() or (self._exclusion is not None and self._excluded(self._exclusion, scope, headers)):
            return None
        native = self.native
        if native is not None and native.excludes(app, scope):
            return None
        prefix = self._root_path or scope.get("app_root_path", scope.get("root_path", "")).rstrip("/")
        exchange = self._exchange_class(self, origin, send, prefix, self._announced(origin, scope, headers))
        exchange.started = perf_counter()
        carried = self._begin(exchange, scope, headers) if self._tracer is not None else None
        span = exchange.server_span
        scope[MARK] = exchange
        origin.group.active.add(1)
        if native is not None or carried is not None:
            exchange.token = attach(self._context(exchange, carried))
        elif span is not None:
            exchange.token = attach_span(span)
        if self._request_hook is not None and span is not None:
            self.call_hook(self._request_hook, span, scope)
        return exchange

    def _begin(self, exchange: Exchange, scope: Scope, headers: Headers) -> Context | None:
        """Start the span; what its caller propagated besides the parent is returned."""
        origin = exchange.origin
        parent, carried = self._extracted(headers)
        if parent is None:
            parent = current_span_context()
        exchange.started_at = now = time_ns()
        tracer: Starts = self._tracer  # type: ignore[assignment]
        if tracer.takes_late_attributes and self._span_details is None:
            span = tracer.begin(origin.word, SpanKind.SERVER, parent, {}, start_time=now, context=carried)
            if span.is_recording():
                exchange.recording = True
                span.attributes = self._attributes(origin, scope, headers)
        else:
            name, attributes = self._details(origin, scope, self._attributes(origin, scope, headers))
            span = tracer.begin(name, SpanKind.SERVER, parent, attributes, start_time=now, context=carried)
            exchange.recording = span.is_recording()
        exchange.server_span = span
        return carried

    # --- the beginning ---------------------------------------------------------------------------------------------

    def _table(self, raw: Any) -> Headers:
        # anything else might be an iterator, which looking at would use up
        if raw.__class__ is not list and raw.__class__ is not tuple:
            return _NO_HEADERS
        try:
            headers: dict[bytes, bytes] = dict(raw)
            return headers if len(headers) == len(raw) else join_headers(raw)
        except (TypeError, ValueError) as error:
            self.guard.failed("request headers", error)
            return _NO_HEADERS

    def _extracted(self, headers: Headers) -> tuple[Any, Context | None]:
        try:
            return self._extract(headers)
        except Exception as error:  # noqa: BLE001 - a third party's propagator, or a server's header that is no bytes
            self.guard.failed("propagator", error, remedy="the request starts a trace of its own")
            return None, None

    def _attributes(self, origin: Origin, scope: Scope, headers: Headers) -> dict[str, AnyValue]:
        attributes = self._origins.request_attributes(origin, scope, headers)
        if self._captured_request is not None and headers:
            try:
                self._captured_request.into(attributes, scope["headers"])
            except Exception as error:  # noqa: BLE001 - the span is worth more than its headers
                self.guard.failed("captured headers", error)
        return attributes

    def _details(
        self, origin: Origin, scope: Scope, attributes: dict[str, AnyValue]
    ) -> tuple[str, dict[str, AnyValue]]:
        if self._span_details is None:
            return origin.word, attributes
        try:
            name, further = self._span_details(scope)
            return name, {**attributes, **further}
        except Exception as error:  # noqa: BLE001 - the user's function
            self.guard.failed("default_span_details", error)
            return origin.word, attributes

    def _excluded(self, exclusion: Exclusion, scope: Scope, headers: Headers) -> bool:
        host = headers.get(b"host")
        if host is not None:
            name = host.decode("latin-1")
        else:
            server = scope.get("server") or ("0.0.0.0", 80)  # noqa: S104 - what contrib's URLs say in this case
            name = f"{server[0]}:{server[1]}" if server[1] != 80 else f"{server[0]}"
        return exclusion.excludes(str(scope.get("scheme", "http")), name, str(scope.get("path", "")))

    def _announced(self, origin: Origin, scope: Scope, headers: Headers) -> int | None:
        """Bytes of the body by its header; 0 where they have to be counted; None without a body."""
        length = headers.get(b"content-length")
        if length is not None:
            return int(length) if length.isdigit() and len(length) <= _LONGEST_LENGTH else None
        if b"transfer-encoding" in headers:
            return 0
        return 0 if origin.word in _WITH_BODY and scope.get("http_version") in _WITHOUT_LENGTH else None

    def _context(self, exchange: Exchange, carried: Context | None) -> Context:
        values: dict[str, object] = {**(get_current() if carried is None else carried)}
        if exchange.server_span is not None:
            values[SPAN_KEY] = exchange.server_span
        if self.native is not None:
            values[self.native.context_key] = exchange
        return Context(values)

    # --- messages ----------------------------------------------------------------------------------------------------

    def look_at_response(self, exchange: Exchange, message: Message) -> Message:
        """Capture headers of `http.response.start`, and add those of a response propagator to a copy."""
        span = exchange.server_span
        if span is None:
            return message
        if self._captured_response is not None and exchange.recording:
            captured: dict[str, AnyValue] = {}
            self._captured_response.into(captured, message.get("headers", ()))
            span.set_attributes(captured)
        propagator = _response_propagator()
        if propagator is None:
            return message
        added: list[tuple[bytes, bytes]] = []
        propagator.inject(added, context=set_span_in_context(span, Context()), setter=_RESPONSE_SETTER)
        return {**message, "headers": [*message.get("headers", ()), *added]}

    @property
    def looks_at_responses(self) -> bool:
        """Whether `look_at_response` has anything to do."""
        return self._captured_response is not None or _response_propagator() is not None

    def call_hook(self, hook: Callable[..., object], span: Span, *arguments: object) -> None:
        """Call a user's hook; what it raises is counted and put on the span, as contrib does."""
        try:
            hook(span, *arguments)
        except Exception as error:  # noqa: BLE001 - contrib #3642
            self.guard.failed("hook of the FastAPI instrumentation", error)
            span.record_exception(error)

    # --- the end -----------------------------------------------------------------------------------------------------

    def failure(self, exchange: Exchange, error: BaseException | None) -> str | None:
        """`error.type` of a request, or None for one that did not fail.

        A client that goes away from a response that has begun is no error of the server, and neither is the
        cancellation that tells about it.

        Args:
            exchange: at its end.
            error: what left the application.
        """
        status = exchange.status_code
        if isinstance(error, Exception):
            return None if self._normal_disconnect(error) else type_of(error)
        if exchange.origin.word == "WS":
            return None
        if status is None:
            return INCOMPLETE if error is None else type_of(error)
        return str(status) if status >= 500 else None


def _response_propagator() -> ResponsePropagator | None:
    found: ResponsePropagator | None = get_global_response_propagator()  # type: ignore[no-untyped-call]
    return found


class _ResponseSetter(Setter[Any]):
    def set(self, carrier: list[tuple[bytes, bytes]], key: str, value: str) -> None:
        carrier.append((key.lower().encode("latin-1"), value.encode("latin-1")))


_RESPONSE_SETTER = _ResponseSetter()


def type_of(error: BaseException) -> str:
    """The full name of an exception's type, without the module for built-in ones."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
