"""Requests of Starlette and FastAPI as sentry-sdk sees them: a scope each, and every exception that leaves one.

sentry-sdk's own integration forks two scopes for each request and wraps each middleware and handler. Here a request
that has a server span of ours leaves where it can be found and no more; everything else waits for an event, and
exceptions are seen where Starlette answers them.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import quote

from opentelemetry.trace import SpanContext
from sentry_sdk.scope import Scope as SentryScope

from otel_distro.context import current as current_record
from otel_distro.context import current_scope
from otel_distro.guard import Guard
from otel_distro.redaction import redact_target
from otel_distro.tracing.context import current_span_context

from ._scopes import LazyScope, filling, isolation_scope, lazy, renew, restore
from .link import note, was_told
from .scrub import HEADERS

Scope = MutableMapping[str, Any]
Call = Callable[[Any, Scope, Any, Any], Awaitable[None]]
Capture = Callable[[BaseException, Mapping[str, Any]], object]

_SEEN = "otel_distro.sentry"
_SERVED = frozenset({"http", "websocket"})
_NORMAL_CLOSE = frozenset({1000, 1001, 1005, 1006})
"""Ends of a WebSocket that are no errors of the application's (RFC 6455, 7.4.1): done, going away, without a word."""
_UNHANDLED = {"type": "asgi", "handled": False}
_HANDLED = {"type": "starlette", "handled": True}


class Request(NamedTuple):
    """What an event may say of the request in which it happened.

    Attributes:
        asgi: the connection's scope.
        exchange: the server instrumentation's own object, for the route; None where there is none.
    """

    asgi: Scope
    exchange: Any

    @property
    def route(self) -> str | None:
        """The template of the route, with the prefixes of routers and mounts."""
        route = getattr(self.exchange, "route", None)
        return route if isinstance(route, str) else None

    @property
    def transaction(self) -> tuple[str, str]:
        """The name that issues are grouped by, equal to the server span's, and where it comes from."""
        method = str(self.asgi.get("method") or "WS")
        return (f"{method} {self.route}", "route") if self.route else (method, "custom")

    @property
    def span(self) -> SpanContext | None:
        """The server span's context."""
        span = getattr(self.exchange, "server_span", None)
        return None if span is None else span.get_span_context()

    def described(self, *, personal: bool) -> dict[str, Any]:
        """The interface `request` of an event (develop.sentry.dev, "Request Interface").

        Args:
            personal: with query string, cookies, all headers and the client's address.
        """
        asgi = self.asgi
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in asgi.get("headers") or ()}
        server = asgi.get("server") or ("", None)
        host = headers.get("host") or ":".join(str(part) for part in server if part)
        path = quote(redact_target(str(asgi.get("path", ""))), errors="replace")
        found: dict[str, Any] = {"url": f"{asgi.get('scheme', 'http')}://{host}{path}"}
        if asgi.get("method"):
            found["method"] = asgi["method"]
        found["headers"] = {name: value for name, value in headers.items() if personal or name in HEADERS}
        if personal:
            query = asgi.get("query_string") or b""
            found["query_string"] = query.decode("latin-1") if isinstance(query, bytes) else str(query)
            client = asgi.get("client")
            found["env"] = {"REMOTE_ADDR": str(client[0])} if client else {}
        return found


class Requests:
    """Patches Starlette when it is imported, and finds the running request.

    Args:
        capture: sends an exception with a mechanism.
        owned: whether the active client of sentry-sdk is ours; another one captures by itself.
        guard: gets what fails.
        mark: the key under which the server instrumentation leaves its object in the scope.

    Attributes:
        has_lifespan: whether start and end of an application pass here, so that their exceptions are captured.
    """

    def __init__(self, capture: Capture, owned: Callable[[], bool], guard: Guard, mark: str) -> None:
        self._capture = capture
        self._owned = owned
        self._guard = guard
        self._mark = mark
        self.has_lifespan = False

    def current(self) -> Request | None:
        """The request that the running code belongs to; also in threads that sentry-sdk gave its scope."""
        scope = isolation_scope()
        found: Any = scope.request() if isinstance(scope, LazyScope) else None
        if not found:
            return None
        return found if type(found) is Request else Request(found.asgi, found)

    def running(self) -> Any:
        """The exchange of the running request, where that knows its scope; None where another client is in charge."""
        scope: Any = current_scope()
        if scope is None or not self._owned():
            return None
        # a task or thread that said something of its own has a scope of its own
        exchange = scope.request or scope
        return exchange if getattr(exchange, "asgi", None) is not None else None

    def isolation(self, exchange: Any, around: SentryScope | None) -> SentryScope:
        """The isolation scope of a request, made when it is first asked for.

        Args:
            exchange: from `running`.
            around: the scope that it is forked from.
        """
        kept: SentryScope | None = getattr(exchange, "isolation", None)
        if kept is None:
            with filling():
                kept = getattr(exchange, "isolation", None)
                if kept is None:
                    # without a reference back: each request that logs would wait for the garbage collector
                    kept = exchange.isolation = lazy(around, weakref.ref(exchange))
        return kept

    def errors(self, module: ModuleType) -> None:
        """Patch `starlette.middleware.errors`, the outermost layer of every application; called at its import."""
        owner = module.ServerErrorMiddleware
        owner.__call__ = _awaited(self._entered(owner.__call__))
        for name in ("error_response", "debug_response"):
            setattr(owner, name, self._telling(getattr(owner, name)))
        original = owner.__init__

        @functools.wraps(original)
        def __init__(middleware: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original(middleware, *args, **kwargs)
            if middleware.handler is not None:
                met = functools.partial(self._met, middleware)
                middleware.handler = self._around(middleware.handler, met, self._failed)

        owner.__init__ = __init__

    def exceptions(self, module: ModuleType) -> None:
        """Patch `starlette.middleware.exceptions`: what its handlers answer with 500 and above is captured as well."""
        original = module.ExceptionMiddleware.__init__

        @functools.wraps(original)
        def __init__(middleware: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original(middleware, *args, **kwargs)
            self._guard.call("Sentry, exception handlers", None, self._watch_handlers, middleware)

        module.ExceptionMiddleware.__init__ = __init__

    def _entered(self, original: Call) -> Call:
        mark, watched = self._mark, self._watched(original)
        running: Callable[[], Any] = current_scope

        # no coroutine of its own, for that would be resumed with every step of the application
        @functools.wraps(original)
        def __call__(middleware: Any, scope: Scope, receive: Any, send: Any) -> Awaitable[None]:  # noqa: N807
            if _SEEN in scope:  # of an application that is mounted in another one
                return original(middleware, scope, receive, send)
            scope[_SEEN] = middleware
            exchange: Any = scope.get(mark)
            if exchange is not None and exchange is running() and scope.get("type") == "http":
                try:
                    exchange.asgi = scope
                except AttributeError:
                    pass  # one that keeps nothing for others
                else:
                    return original(middleware, scope, receive, send)
            return watched(middleware, scope, receive, send)

        return __call__

    def _watched(self, original: Call) -> Call:
        """For WebSockets, and for requests without a server span of ours: scopes are put in place, and put back."""
        owned, failed, mark = self._owned, self._failed, self._mark

        async def watched(middleware: Any, scope: Scope, receive: Any, send: Any) -> None:
            tokens = None
            self.has_lifespan |= scope.get("type") == "lifespan"
            # another client's own middleware has forked its scopes already, and reads them when this has returned
            if scope.get("type") in _SERVED and owned():
                request = Request(scope, scope.get(mark))
                tokens = renew(lazy(isolation_scope(), lambda: request))
            try:
                await original(middleware, scope, receive, send)
            except Exception as error:
                if scope.get("type") != "http":  # whose errors are answered
                    failed(error)
                raise
            finally:
                if tokens is not None:
                    restore(tokens)

        return watched

    def _telling(self, original: Callable[..., Any]) -> Callable[..., Any]:
        met = self._met

        @functools.wraps(original)
        def respond(middleware: Any, request: Any, error: Exception) -> Any:
            met(middleware, request, error)
            return original(middleware, request, error)

        return respond

    def _met(self, middleware: Any, request: Any, error: Exception) -> None:
        """An exception has come as far as this layer, beyond which nobody answers it if it is the outermost."""
        if request.scope.get(_SEEN) is middleware:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._guard.call("Sentry, request", None, self._report, error)

    def _report(self, error: Exception) -> None:
        if type(error).__name__ == "WebSocketDisconnect" and getattr(error, "code", None) in _NORMAL_CLOSE:
            return
        context = current_span_context()
        if context is not None:
            note(context, error, None if self._owned() else current_record())
        if self._owned():
            self._capture(error, _UNHANDLED)

    def _watch_handlers(self, middleware: Any) -> None:
        for table in (middleware._exception_handlers, middleware._status_handlers):  # noqa: SLF001
            for key, handler in list(table.items()):
                table[key] = self._around(handler, self._answered, _leave)

    def _answered(self, _: Any, error: Any) -> None:
        """An exception that a handler of the application's answers is captured when its status is 500 or above."""
        self._guard.call("Sentry, handled exception", None, self._report_answered, error)

    def _report_answered(self, error: Any) -> None:
        status = getattr(error, "status_code", None)
        if isinstance(status, int) and status >= 500 and self._owned() and not was_told(error):
            self._capture(error, _HANDLED)

    def _around(
        self, handler: Callable[..., Any], before: Callable[[Any, Any], None], failed: Callable[[Exception], None]
    ) -> Callable[..., Any]:
        """A handler of exceptions, as asynchronous as it is.

        Args:
            handler: of the application's.
            before: gets the request and what it is to answer.
            failed: gets what it raises itself.
        """
        if _is_async(handler):

            @functools.wraps(handler, updated=())
            async def handle_async(request: Any, error: Any) -> Any:
                before(request, error)
                try:
                    return await handler(request, error)
                except Exception as another:
                    failed(another)
                    raise

            return handle_async

        @functools.wraps(handler, updated=())
        def handle(request: Any, error: Any) -> Any:
            before(request, error)
            try:
                return handler(request, error)
            except Exception as another:
                failed(another)
                raise

        return handle


def _awaited(function: Any) -> Any:
    """`function`, known as one that is awaited: asgiref, and so contrib's instrumentation, takes others for ASGI 2."""
    import inspect

    mark = getattr(inspect, "markcoroutinefunction", None)  # Python 3.12
    if mark is not None:
        return mark(function)
    from asyncio import coroutines

    function._is_coroutine = getattr(coroutines, "_is_coroutine", True)  # noqa: SLF001
    return function


def _leave(_: Exception) -> None:
    """It goes on to whoever answers it."""


def _is_async(handler: Any) -> bool:
    """Whether Starlette awaits it: a coroutine function, or an object that is called like one."""
    import inspect

    while isinstance(handler, functools.partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


__all__ = ["Request", "Requests"]
