"""`receive` and `send` for hooks, for bodies of no known length, and for requests that are not watched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from opentelemetry.trace import Span

from .options import Message, MessageHook, Scope

if TYPE_CHECKING:
    from .exchange import Exchange

Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


def observed(exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """The same two with whatever the exchange and its server have to look at.

    Args:
        exchange: whose request body is counted when its size is 0.
        scope: of the connection, for hooks.
        receive: the ASGI server's.
        send: ours.
    """
    server, span = exchange.server, exchange.server_span
    if exchange.request_size == 0:
        receive = _counting(exchange, receive)
    if span is not None:
        if server.receive_hook is not None:
            receive = hooked_receive(server.receive_hook, exchange, span, scope, receive)
        if server.send_hook is not None:
            send = hooked_send(server.send_hook, exchange, span, scope, send)
    return receive, send


def answering(exchange: Exchange, scope: Scope, send: Send) -> Send:
    """`send` of a request that is not watched: puts the id into the response and settles the exchange at its end.

    Args:
        exchange: of the request.
        scope: of the connection.
        send: the ASGI server's.
    """
    server = exchange.server
    echo = server.echo
    trailers = False

    async def last(message: Message) -> None:
        await send(message)
        exchange.settle(scope)

    def answer(message: Message) -> Awaitable[None]:
        nonlocal trailers
        try:
            kind = message["type"]
            if kind == "http.response.body":
                if not trailers and not message.get("more_body", False):
                    return last(message)
            elif kind == "http.response.start":
                trailers = message.get("trailers", False)
                if echo is not None:
                    message = echo(exchange, message)
            elif kind == "http.response.pathsend" or (
                kind == "http.response.trailers" and not message.get("more_trailers", False)
            ):
                return last(message)
        except Exception as error:  # noqa: BLE001 - whatever the application sends goes out as it is
            server.guard.failed("response", error)
        return send(message)

    return answer


def _counting(exchange: Exchange, receive: Receive) -> Receive:
    async def counting() -> Message:
        message = await receive()
        try:
            if message["type"] == "http.request":
                exchange.request_size = (exchange.request_size or 0) + len(message.get("body", b""))
        except Exception as error:  # noqa: BLE001 - the message goes on as it is
            exchange.server.guard.failed("request", error)
        return message

    return counting


def counted(exchange: Exchange, receive: Receive) -> Receive:
    """`receive` of a WebSocket whose messages are counted.

    Args:
        exchange: of the connection.
        receive: the ASGI server's.
    """

    async def counting() -> Message:
        message = await receive()
        try:
            exchange.received(message)
        except Exception as error:  # noqa: BLE001 - the message goes on as it is
            exchange.server.guard.failed("request", error)
        return message

    return counting


def hooked_receive(hook: MessageHook, exchange: Exchange, span: Span, scope: Scope, receive: Receive) -> Receive:
    """`receive` that shows each message to a user's hook."""

    async def hooked() -> Message:
        message = await receive()
        exchange.server.call_hook(hook, span, scope, message)
        return message

    return hooked


def hooked_send(hook: MessageHook, exchange: Exchange, span: Span, scope: Scope, send: Send) -> Send:
    """`send` that shows each message to a user's hook before it leaves."""

    def hooked(message: Message) -> Awaitable[None]:
        exchange.server.call_hook(hook, span, scope, message)
        return send(message)

    return hooked
