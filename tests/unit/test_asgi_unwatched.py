"""Requests that no span records and nobody measures: hardly anything is done for them, and nothing is missing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from otel_distro.context import current_scope
from otel_distro.instrumentation.asgi.exchange import MARK, Exchange
from otel_distro.loggers import REQUESTS
from tests.asgi_rig import Rig, drive, get, rigged, scope_of


@contextmanager
def quiet(environ: Mapping[str, str] | None = None) -> Iterator[Rig]:
    """Nothing is sampled and nothing is measured."""
    with rigged(environ, sampler="always_off", measures=False) as rig:
        yield rig
        assert rig.lines == []


def current() -> Exchange:
    """The running request."""
    scope: Any = current_scope()
    assert isinstance(scope, Exchange)
    return scope


def one_route(handler: Any) -> Starlette:
    """An application of this handler alone."""
    return Starlette(routes=[Route("/p/{number}", handler)])


def test_such_a_request_is_not_watched_and_goes_through_as_it_is() -> None:
    """Its messages are the application's own but for the id, its context carries ids on, and nothing is left behind."""
    seen = []

    async def handler(request: Any) -> Any:
        seen.append((current().watched, trace.get_current_span().get_span_context()))
        return PlainTextResponse("hello")

    with quiet() as rig:
        scope = scope_of("/p/1")
        start, body = asyncio.run(drive(one_route(handler), scope))
        assert rig.take() == []
    [(watched, context)] = seen
    assert not watched
    assert context.is_valid
    assert not context.trace_flags.sampled
    assert dict(start["headers"])[b"x-request-id"] == f"{context.trace_id:032x}".encode()
    assert body["body"] == b"hello"
    assert MARK not in scope
    assert current_scope() is None


@pytest.mark.parametrize("chosen", ["accept,echo", "none"])
def test_its_access_line_is_told_after_the_last_byte(chosen: str) -> None:
    """Who waits for the end of the request hears of it once, with route and duration, before background tasks run."""
    order: list[Any] = []

    def told(**what: Any) -> None:
        order.append(what)

    async def stream() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    async def handler(request: Any) -> Any:
        assert current().hold(told)
        assert not current().hold(told)
        return StreamingResponse(stream(), background=BackgroundTask(order.append, "task"))

    with quiet({"OTEL_DISTRO_REQUEST_ID": chosen}):
        sent = get(one_route(handler), "/p/1")
    assert [message.get("body") for message in sent] == [None, b"a", b"b", b""]
    [what, task] = order
    assert task == "task"
    assert what["route"] == "/p/{number}"
    assert what["seconds"] > 0


def test_its_access_line_is_told_where_the_application_raises() -> None:
    """A request that never answered has an end, too."""
    order: list[Any] = []

    async def handler(request: Any) -> Any:
        assert current().hold(lambda **what: order.append(what["route"]))
        raise ValueError("a bug")

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        await one_route(handler)(scope, receive, send)

    with quiet(), pytest.raises(ValueError, match="a bug"):
        get(bare, "/p/1")
    assert order == ["/p/{number}"]


def test_repeated_statements_are_told_of_it() -> None:
    """A statement that ran too often is named in the log, with the route."""

    class Statement:
        name = "SELECT users"
        attributes: Mapping[str, Any] = {"db.query.text": "SELECT name FROM users"}

    statement = Statement()
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    async def handler(request: Any) -> Any:
        for _ in range(20):
            current().spending().sql(statement, 0.001)
        return PlainTextResponse("hello")

    kept, logger = Kept(), logging.getLogger(REQUESTS)
    logger.addHandler(kept)
    try:
        with quiet():
            get(one_route(handler), "/p/1")
    finally:
        logger.removeHandler(kept)
    [line] = lines
    assert line.startswith("GET /p/{number} ran the same statement 20 times: SELECT users")


def test_what_cannot_be_looked_at_goes_out() -> None:
    """A message without a type, or headers that are no pairs, reach the server; what went wrong is counted."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"status": 200})
        await send({"type": "http.response.start", "status": 200, "headers": [b"no pair"]})
        await send({"type": "http.response.body", "body": b""})

    async def keep(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    with rigged(sampler="always_off", measures=False) as rig:
        starlette = one_route(lambda _: None)
        starlette.middleware_stack = app
        asyncio.run(starlette(scope_of("/p/1"), receive, keep))
        assert [failure.part for failure in rig.guard.failures] == ["response"]
    assert len(sent) == 3
    assert sent[1]["headers"] == [b"no pair"]


def test_a_websocket_is_watched() -> None:
    """A connection may last, so that any number of statements is usual in it."""
    seen = []

    async def endpoint(websocket: Any) -> None:
        await websocket.accept()
        seen.append((current().watched, current().repeats()))
        await websocket.close()

    scope = scope_of("/ws", type="websocket", scheme="ws", subprotocols=[])
    with quiet():
        app = Starlette(routes=[WebSocketRoute("/ws", endpoint)])
        asyncio.run(drive(app, scope, [{"type": "websocket.connect"}]))
    assert seen == [(True, 0)]
