"""The application's `__call__` with a server span around it: the hot path itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import Token
from typing import Any

from opentelemetry.context import Context, get_current

from otel_distro.tracing.context import attach, detach

from .exchange import MARK
from .messages import Receive, Send, answering, counted, observed
from .native import keep_exporters
from .options import NO_OPTIONS, Options, Scope
from .servers import Servers

Call = Callable[[Any, Scope, Receive, Send], Awaitable[None]]
_SERVED = frozenset({"http", "websocket"})


def served(  # noqa: C901 - one coroutine a request and no calls between, because both cost each request
    original: Call, servers: Servers, options_of: Callable[[Any], Options] = lambda _: NO_OPTIONS
) -> Call:
    """`original` with a server span around the outermost call of a request.

    Args:
        original: the class's `__call__`.
        servers: where the application's server is found.
        options_of: what an application itself brings; asked once.
    """
    guard = servers.guard

    without = _without(original, servers)

    # a coroutine function, because ASGI servers tell version 3 from version 2 by that
    async def __call__(self: Any, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: C901, N807 - it stands in for the class's own
        kind = scope.get("type")
        if MARK in scope or kind not in _SERVED:
            if kind == "lifespan":
                keep_exporters(self, servers.ours, guard)
            await original(self, scope, receive, send)
            return
        exchange = None
        try:
            try:
                server = self._otel_distro_server  # `servers.ATTRIBUTE`, spelled out: the fastest read there is
            except AttributeError:
                server = servers.of(self, options_of(self))
            if server is not None:
                exchange = server.open(self, scope, send)
        except Exception as error:  # noqa: BLE001 - the request goes on without a span
            guard.failed("server span", error)
        if exchange is None:
            await without(self, scope, receive, send)
            return
        if exchange.watched:
            if kind == "http":
                send = exchange.send
            else:
                receive, send = counted(exchange, receive), exchange.send_websocket
            if exchange.request_size == 0 or exchange.server.has_message_hooks:
                receive, send = observed(exchange, scope, receive, send)
        else:
            send = answering(exchange, scope, send)
        try:
            await original(self, scope, receive, send)
        except BaseException as error:
            exchange.leave(scope, error)
            raise
        exchange.leave(scope, None)

    return __call__


def _without(original: Call, servers: Servers) -> Call:
    """The application without telemetry, ours and FastAPI's own, mounted applications included; or what we answer."""
    answers, guard = servers.answers, servers.guard

    async def call(self: Any, scope: Scope, receive: Receive, send: Send) -> None:
        answer = guard.call("answers", None, answers.of, self, scope) if answers else None
        if answer is not None:
            await answer(scope, receive, send)
            return
        scope[MARK] = None
        token: Token[Context] | None = None
        native = servers.native
        if native is not None and get_current().get(native.context_key) is not None:
            # a request made within another one must not write into that one's telemetry
            token = attach(Context({**get_current(), native.context_key: None}))
        try:
            await original(self, scope, receive, send)
        finally:
            if token is not None:
                detach(token)
            scope.pop(MARK, None)

    return call


__all__ = ["served"]
