"""What one application's requests need, worked out once, and the beginning of each of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Setter
from opentelemetry.trace import NonRecordingSpan, Span, SpanKind, set_span_in_context
from opentelemetry.util.types import AnyValue

from otel_distro._compat import SPAN_KEY, SUPPRESS_HTTP_KEY, context_variable
from otel_distro.context import reset_scope, set_scope
from otel_distro.conventions import exception_type
from otel_distro.guard import Guard
from otel_distro.instrumentation.binding import Starts
from otel_distro.instrumentation.request_ids import ID_CHARACTERS, LONGEST_ID, RequestIds
from otel_distro.propagation import Headers, Propagation, join_headers
from otel_distro.tracing.context import span_context_in, suppressed
from otel_distro.tracing.span import UnsampledSpan

from .endings import Endings
from .exchange import INCOMPLETE, MARK, Exchange, begun
from .messages import Send
from .options import Message, MessageHook, RequestHook, Scope
from .origin import Origin, Origins, facts_of
from .summary import Summary

if TYPE_CHECKING:
    from opentelemetry.instrumentation.propagators import ResponsePropagator

    from otel_distro.answers import Answers
    from otel_distro.instrumentation.captured_headers import Capture
    from otel_distro.instrumentation.url_exclusion import Exclusion

    from .native import NativeApp
    from .streams import Streams

_VARIABLE = context_variable()
_current = _VARIABLE.get
_set = _VARIABLE.set
_SERVER = SpanKind.SERVER
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
        measures: whether requests are counted and timed.
        normal_disconnect: tells the end of a WebSocket that is no error.
        summary: says what a request spent.
        request_ids: takes them from headers; None for no ids of callers and none in responses.
        answers: paths that the distro answers by itself, or None.
        streams: counts connections that stay open.
    """

    def __init__(
        self,
        *,
        guard: Guard,
        origins: Origins,
        summary: Summary,
        request_ids: RequestIds | None = None,
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
        measures: bool = True,
        normal_disconnect: Callable[[BaseException], bool] = lambda _: False,
        answers: Answers | None = None,
        streams: Streams,
    ) -> None:
        self.guard = guard
        self.streams = streams
        self.native: Any = native  # never None where an exchange of FastAPI's kind asks
        self.receive_hook = receive_hook
        self.send_hook = send_hook
        self.has_message_hooks = receive_hook is not None or send_hook is not None
        # asked once: it is set where telemetry is set up, before the first request
        self.looks_at_responses = captured_response is not None or _response_propagator() is not None
        self.summary = summary
        self.slow = summary.slow
        self.measures = measures
        self.endings = Endings()
        self.echo = None if request_ids is None or not request_ids.echoes else request_ids.echo
        self._id_headers = () if request_ids is None else request_ids.names
        self.origins = origins
        self._tracer = tracer
        self._exclusion = exclusion
        self.captured_request = captured_request
        self._captured_response = captured_response
        self.request_hook = request_hook
        self._span_details = span_details
        self._native_key: str | None = None if native is None else native.context_key
        self._exchange_class = exchange_class
        # without all of these nothing is counted or timed of an unsampled request
        self._watches = (
            measures
            or summary.slow < inf
            or self.looks_at_responses
            or self.has_message_hooks
            or request_hook is not None
        )
        self._normal_disconnect = normal_disconnect
        self._extract = Propagation().extract
        self._answers = answers or None
        self._may_exclude = exclusion is not None or (native is not None and native.may_exclude)

    def open(self, app: object, scope: Scope, send: Send) -> Exchange | None:
        """Begin a request: its span is current, its scope marked, its metrics count it as active.

        Args:
            app: that is called.
            scope: of an `http` or `websocket` connection.
            send: the ASGI server's.

        Returns:
            The exchange, whose `leave` must be called; None when this request makes no telemetry.
        """
        raw: Any = scope.get("headers")
        try:
            headers: dict[bytes, bytes] = dict(raw) if raw.__class__ is list else self._table(raw)
            if len(headers) != len(raw):
                headers = join_headers(raw)
        except (TypeError, ValueError) as error:
            headers = self._no_headers(raw, error)
        current = _current()
        # an empty context, the usual one, holds neither a wish for silence nor a parent
        prefix = scope.get("root_path")
        if (current and (current.get(SUPPRESS_HTTP_KEY) or suppressed())) or (
            (self._may_exclude or (self._answers is not None and (prefix or scope["path"] in self._answers)))
            and self._excludes(app, scope, headers)
        ):
            return None
        exchange = begun(self._exchange_class, self, prefix.rstrip("/") if prefix else "")
        if self._tracer is not None:
            self._begin(self._tracer, exchange, scope, headers, current)
        else:
            exchange.started = perf_counter()
            self._pass_on(exchange, headers, current)
        for header in self._id_headers:
            given = headers.get(header)
            # text in the place of bytes is no id; most are digits and letters alone, known in a tenth of the time
            if (
                given
                and given.__class__ is bytes
                and len(given) <= LONGEST_ID
                and (given.isalnum() or not given.translate(None, ID_CHARACTERS))
            ):
                # on every span of the request from now on
                exchange.given_id = (header, given)
                exchange.told = None
                break
        exchange.opened = set_scope(exchange)
        scope[MARK] = exchange
        if exchange.recording or self._watches or scope["type"] == "websocket":
            try:
                exchange.watch(scope, headers, send)
            except BaseException:
                exchange.leave(scope, None)
                raise
        # last: until here the request may go on without us, and nobody would tell its end
        exchange.done = False
        return exchange

    def _begin(self, tracer: Starts, exchange: Exchange, scope: Scope, headers: Headers, current: Context) -> None:
        """Start the span and make it current; its name and attributes follow where nobody looks at them now."""
        try:
            parent, carried = self._extract(headers)
        except Exception as error:  # noqa: BLE001 - a third party's propagator, or headers that are no bytes
            self.guard.failed("propagator", error, remedy="the request starts a trace of its own")
            parent = carried = None
        if parent is None and current:
            parent = span_context_in(current)
        if carried is not None:
            current = carried
        span: Any = None if self._span_details is not None else tracer.begin_late(_SERVER, parent)
        # straight after its start, from which it ends so many seconds later
        exchange.started = perf_counter()
        if span is not None:
            exchange.recording = exchange.late = span.__class__ is not UnsampledSpan
        else:
            origin = self.origins.of(scope, headers)
            own = self.with_headers(origin.own_attributes(facts_of(scope, headers)), scope, headers)
            name, attributes = self._details(origin, scope, {**origin.attributes, **own})
            # a request made within another one of this process is about somebody else
            outer = set_scope(None)
            try:
                span = tracer.begin(name, _SERVER, parent, attributes, context=carried)
                exchange.started = perf_counter()
            finally:
                reset_scope(outer)
            exchange.recording, exchange.late = span.is_recording(), False
        exchange.server_span = span
        key = self._native_key
        if key is not None and not current:
            # the usual case, written out
            exchange.token = _set(Context({SPAN_KEY: span, key: exchange}))
            return
        values: dict[str, object] = {**current, SPAN_KEY: span}
        if key is not None:
            values[key] = exchange
        exchange.token = _set(Context(values))

    def _pass_on(self, exchange: Exchange, headers: Headers, current: Context) -> None:
        """Pass the caller's context on to the services that the application calls, without a span of our own."""
        exchange.server_span = None
        exchange.recording = exchange.late = False
        values: dict[str, object] = dict(current)
        try:
            parent, carried = self._extract(headers)
            values.update(carried or {})
            if parent is not None:
                values[SPAN_KEY] = NonRecordingSpan(parent)
        except Exception as error:  # noqa: BLE001 - as in `_begin`
            self.guard.failed("propagator", error)
        if self._native_key is not None:
            values[self._native_key] = exchange
        exchange.token = _set(Context(values))

    # --- the beginning -----------------------------------------------------------------------------------------------

    def _table(self, raw: Any) -> dict[bytes, bytes]:
        # anything else might be an iterator, which looking at would use up
        return dict(raw) if raw.__class__ is tuple else {}

    def _no_headers(self, raw: object, error: Exception) -> dict[bytes, bytes]:
        if isinstance(raw, (list, tuple)):
            self.guard.failed("request headers", error)
        return {}

    def with_headers(self, attributes: dict[str, AnyValue], scope: Scope, headers: Headers) -> dict[str, AnyValue]:
        """`attributes` with the captured headers of the request."""
        if self.captured_request is not None and headers:
            try:
                self.captured_request.into(attributes, scope["headers"])
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

    def _excludes(self, app: object, scope: Scope, headers: Headers) -> bool:
        answers = self._answers
        if answers and (scope["path"] in answers or scope.get("root_path")) and answers.of(app, scope) is not None:
            return True
        if self.native is not None and self.native.may_exclude and self.native.excludes(app, scope):
            return True
        if self._exclusion is None:
            return False
        host = headers.get(b"host")
        if host is not None:
            name = host.decode("latin-1")
        else:
            server = scope.get("server") or ("0.0.0.0", 80)  # noqa: S104 - what contrib's URLs say in this case
            name = f"{server[0]}:{server[1]}" if server[1] != 80 else f"{server[0]}"
        return self._exclusion.excludes(str(scope.get("scheme", "http")), name, str(scope.get("path", "")))

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

        A client that goes away is no error of the server: neither before a response that was not begun for that reason
        nor in the middle of one, and neither is the cancellation that tells about the latter.

        Args:
            exchange: at its end.
            error: what left the application.
        """
        status = exchange.status_code
        if isinstance(error, Exception):
            return None if self._normal_disconnect(error) else exception_type(error)
        if exchange.origin.word == "WS":
            return None
        if status is None:
            if error is None:
                return None if exchange.client_left() else INCOMPLETE
            return exception_type(error)
        return str(status) if status >= 500 else None


def _response_propagator() -> ResponsePropagator | None:
    # nobody can have set one without this import
    module = sys.modules.get("opentelemetry.instrumentation.propagators")
    found: ResponsePropagator | None = None if module is None else module.get_global_response_propagator()
    return found


class _ResponseSetter(Setter[Any]):
    def set(self, carrier: list[tuple[bytes, bytes]], key: str, value: str) -> None:
        carrier.append((key.lower().encode("latin-1"), value.encode("latin-1")))


_RESPONSE_SETTER = _ResponseSetter()
