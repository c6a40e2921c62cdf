"""Requests of Starlette and FastAPI as sentry-sdk sees them: a scope each, and every exception that leaves one.

sentry-sdk's own integration forks two scopes for each request and wraps each middleware and handler. Here a request
pays for two objects and four writes to context variables; everything else waits for an event.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import Token
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import quote

from opentelemetry.trace import SpanContext

from otel_distro.context import current as current_record
from otel_distro.guard import Guard
from otel_distro.tracing.context import current_span_context

from ._sdk import CURRENT, ISOLATION, LazyScope, lazy
from .link import note, was_told

Scope = MutableMapping[str, Any]
Call = Callable[[Any, Scope, Any, Any], Awaitable[None]]
Capture = Callable[[BaseException, Mapping[str, Any]], object]

_SEEN = "otel_distro.sentry"
_SERVED = frozenset({"http", "websocket"})
_NORMAL_CLOSE = frozenset({1000, 1001, 1005, 1006})
"""Ends of a WebSocket that are no errors of the application's (RFC 6455, 7.4.1): done, going away, without a word."""
_UNHANDLED = {"type": "asgi", "handled": False}
_HANDLED = {"type": "starlette", "handled": True}
_HEADERS = frozenset({"host", "content-type", "content-length", "accept", "user-agent"})
"""Headers that tell nothing of who asks, and are no credentials."""


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
        found: dict[str, Any] = {"url": f"{asgi.get('scheme', 'http')}://{host}{quote(str(asgi.get('path', '')))}"}
        if asgi.get("method"):
            found["method"] = asgi["method"]
        found["headers"] = {name: value for name, value in headers.items() if personal or name in _HEADERS}
        if personal:
            query = asgi.get("query_string") or b""
            found["query_string"] = query.decode("latin-1") if isinstance(query, bytes) else str(query)
            client = asgi.get("client")
            found["env"] = {"REMOTE_ADDR": str(client[0])} if client else {}
        return found


def current_request() -> Request | None:
    """The request that the running code belongs to; also in threads that sentry-sdk gave its scope."""
    scope = ISOLATION.get()
    return Request(scope.asgi, scope.exchange) if isinstance(scope, LazyScope) else None


class Requests:
    """Patches Starlette when it is imported.

    Args:
        capture: sends an exception with a mechanism.
        owned: whether the active client of sentry-sdk is ours; another one captures by itself.
        guard: gets what fails.
        mark: the key under which the server instrumentation leaves its object in the scope.
    """

    def __init__(self, capture: Capture, owned: Callable[[], bool], guard: Guard, mark: str) -> None:
        self._capture = capture
        self._owned = owned
        self._guard = guard
        self._mark = mark

    def applications(self, module: ModuleType) -> None:
        """Patch `starlette.applications`; called when it has been imported."""
        module.Starlette.__call__ = self._watched(module.Starlette.__call__)

    def exceptions(self, module: ModuleType) -> None:
        """Patch `starlette.middleware.exceptions`: what its handlers answer with 500 and above is captured as well."""
        original = module.ExceptionMiddleware.__init__

        @functools.wraps(original)
        def __init__(middleware: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original(middleware, *args, **kwargs)
            self._guard.call("Sentry, exception handlers", None, self._watch_handlers, middleware)

        module.ExceptionMiddleware.__init__ = __init__

    def _watched(self, original: Call) -> Call:
        owned, failed, mark = self._owned, self._failed, self._mark

        @functools.wraps(original)
        async def __call__(app: Any, scope: Scope, receive: Any, send: Any) -> None:  # noqa: N807
            if _SEEN in scope:
                await original(app, scope, receive, send)
                return
            scope[_SEEN] = True
            isolation: Token[Any] | None = None
            # another client's own middleware has forked its scopes already, and reads them when this has returned
            if scope.get("type") in _SERVED and owned():
                isolation = ISOLATION.set(lazy(ISOLATION.get(), scope, scope.get(mark)))
                if CURRENT.get() is not None:
                    # sentry-sdk makes one when somebody asks; what was there is not this request's
                    CURRENT.set(None)
            try:
                await original(app, scope, receive, send)
            except Exception as error:
                failed(error)
                raise
            finally:
                if isolation is not None:
                    try:
                        ISOLATION.reset(isolation)
                    except (ValueError, RuntimeError):
                        pass  # a request that is closed in another context, which is not ours to mend

        return __call__

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
                table[key] = self._reporting(handler)

    def _reporting(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """A handler of the application's that is captured when the exception's own status is 500 or above."""
        import inspect

        def report(error: Any) -> None:
            status = getattr(error, "status_code", None)
            if isinstance(status, int) and status >= 500 and self._owned() and not was_told(error):
                self._guard.call("Sentry, handled exception", None, self._capture, error, _HANDLED)

        if inspect.iscoroutinefunction(handler):

            @functools.wraps(handler)
            async def handle_async(request: Any, error: Any) -> Any:
                report(error)
                return await handler(request, error)

            return handle_async

        @functools.wraps(handler)
        def handle(request: Any, error: Any) -> Any:
            report(error)
            return handler(request, error)

        return handle


__all__ = ["Request", "Requests", "current_request"]
