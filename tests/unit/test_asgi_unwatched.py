"""Requests that no span records and nobody measures: hardly anything is done for them, and nothing is missing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import Body, FastAPI, Request
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import WebSocketRoute

from otel_distro.context import current_scope
from otel_distro.instrumentation.asgi import last
from otel_distro.instrumentation.asgi.exchange import MARK, Exchange
from otel_distro.loggers import REQUESTS
from tests.asgi_rig import Rig, drive, get, one_route, rigged, scope_of

ROUTE = "/p/{number}"


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


def test_such_a_request_is_not_watched_and_goes_through_as_it_is() -> None:
    """Its messages are the application's own but for the id, its context carries ids on, and nothing is left behind."""
    seen = []

    async def handler(request: Any) -> Any:
        seen.append((current().watched, trace.get_current_span().get_span_context()))
        return PlainTextResponse("hello")

    with quiet() as rig:
        scope = scope_of("/p/1")
        start, body = asyncio.run(drive(one_route(handler, ROUTE), scope))
        assert rig.take() == []
    [(watched, context)] = seen
    assert not watched
    assert context.is_valid
    assert not context.trace_flags.sampled
    assert dict(start["headers"])[b"x-request-id"] == f"{context.trace_id:032x}".encode()
    assert body["body"] == b"hello"
    assert MARK not in scope
    assert current_scope() is None


def served(scope_of_path: dict[str, Any], app: Any, order: list[Any], at: Any = None) -> None:
    """Run a request on a server that notes what it has sent, and calls `at` before each message."""

    waiting = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Any:
        message = next(waiting, None)
        if message is None:
            await asyncio.Event().wait()  # the client stays
        return message

    async def send(message: Any) -> None:
        if at is not None:
            at(message)
        await asyncio.sleep(0)
        order.append(message["type"].rpartition(".")[2])

    asyncio.run(app(scope_of_path, receive, send))


@pytest.mark.parametrize("chosen", ["accept,echo", "none"])
def test_its_access_line_is_told_after_the_last_byte(chosen: str) -> None:
    """Who waits for the end of the request hears of it once, with route and duration, before background tasks run."""
    order: list[Any] = []

    def told(**what: Any) -> None:
        assert what["seconds"] > 0
        order.append(what["route"])

    async def stream() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    async def handler(request: Any) -> Any:
        assert current().hold(told)
        assert not current().hold(told)
        return StreamingResponse(stream(), background=BackgroundTask(order.append, "task"))

    with quiet({"OTEL_DISTRO_REQUEST_ID": chosen}):
        served(scope_of("/p/1"), one_route(handler, ROUTE), order)
    assert order == ["start", "body", "body", "body", "/p/{number}", "task"]


@pytest.mark.parametrize("kind", ["start", "body"])
def test_a_server_may_wait_from_within_any_message(kind: str) -> None:
    """uvicorn's line comes with the response's start, hypercorn's with its last byte."""
    order: list[Any] = []

    def at(message: Any) -> None:
        if message["type"].endswith(kind):
            assert current().hold(lambda **_: order.append("line"))

    async def handler(request: Any) -> Any:
        return PlainTextResponse("hello", background=BackgroundTask(order.append, "task"))

    with quiet():
        served(scope_of("/p/1"), one_route(handler, ROUTE), order, at)
    assert order == ["start", "body", "line", "task"]


@pytest.mark.parametrize(
    "messages",
    [
        [("start", {"status": 200}), ("pathsend", {"path": __file__})],
        [("start", {"status": 200, "trailers": True}), ("body", {}), ("trailers", {"headers": []})],
        [("start", {"status": 200}), ("body", {"more_body": True}), ("body", {})],
    ],
    ids=["pathsend", "trailers", "parts"],
)
def test_each_way_to_end_a_response_is_one(messages: list[tuple[str, dict[str, Any]]]) -> None:
    """The end is told after the message that ends the response, and not before."""
    order: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert current().hold(lambda **_: order.append("line"))
        for kind, rest in messages:
            await send({"type": f"http.response.{kind}", **rest})
        order.append("after")

    starlette = one_route()
    starlette.middleware_stack = app
    with quiet():
        served(scope_of("/p/1"), starlette, order)
    assert order == [*[kind for kind, _ in messages], "line", "after"]


def test_its_access_line_is_told_where_nothing_was_answered() -> None:
    """A request that never answered has an end, too."""
    order: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert current().hold(lambda **_: order.append("line"))
        raise ValueError("a bug")

    starlette = one_route()
    starlette.middleware_stack = app
    with quiet(), pytest.raises(ValueError, match="a bug"):
        served(scope_of("/p/1"), starlette, order)
    assert order == ["line"]


def test_nobody_waits_for_a_request_that_could_not_begin() -> None:
    """Where the beginning fails nothing of it is left, and the application is served without us."""
    found: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.extend((current_scope(), trace.get_current_span(), scope[MARK]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    starlette = one_route()
    starlette.middleware_stack = app
    scope = scope_of("/p/1", server=5)
    scope["headers"] = []
    order: list[Any] = []
    with rigged(sampler="always_off") as rig:
        served(scope, starlette, order)
        assert [failure.part for failure in rig.guard.failures] == ["server span"]
    assert found == [None, trace.INVALID_SPAN, None]
    assert order == ["start", "body"]


@pytest.mark.parametrize(("within", "found"), [(True, 1), (False, 0)])
def test_repeated_statements_of_the_request_are_told(within: bool, found: int) -> None:
    """A statement that ran too often is named in the log, with the route; one of a task after it is not."""

    class Statement:
        name = "SELECT users"
        attributes: Mapping[str, Any] = {"db.query.text": "SELECT name FROM users"}

    statement = Statement()
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    def query() -> None:
        for _ in range(20):
            current().spending().sql(statement, 0.001)

    async def later() -> None:
        query()

    async def handler(request: Any) -> Any:
        if within:
            query()
        return PlainTextResponse("hello", background=None if within else BackgroundTask(later))

    kept, logger = Kept(), logging.getLogger(REQUESTS)
    logger.addHandler(kept)
    try:
        with quiet():
            get(one_route(handler, ROUTE), "/p/1")
    finally:
        logger.removeHandler(kept)
    assert len(lines) == found
    for line in lines:
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
        starlette = one_route()
        starlette.middleware_stack = app
        asyncio.run(starlette(scope_of("/p/1"), receive, keep))
        assert [failure.part for failure in rig.guard.failures] == ["response"]
    assert len(sent) == 3
    assert sent[1]["headers"] == [b"no pair"]


def test_a_scope_can_be_shown_and_compared() -> None:
    """FastAPI's own telemetry would read fields that such a request does not have, and show what it was sent."""
    app = FastAPI()
    shown = []

    @app.post("/p")
    async def handler(request: Request, secret: str = Body(embed=True)) -> None:
        exchange = request.scope[MARK]
        shown.append((repr(request.scope), exchange == exchange, exchange == 1, len({exchange})))  # noqa: PLR0124

    body = b'{"secret": "canary"}'
    scope = scope_of("/p", "POST", headers={"content-type": "application/json"})
    with quiet():
        (start, _) = asyncio.run(drive(app, scope, [{"type": "http.request", "body": body, "more_body": False}]))
    assert start["status"] == 200
    [(text, same, other, number)] = shown
    assert (same, other, number) == (True, False, 1)
    assert "canary" not in text


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


@pytest.fixture
def remembering() -> Iterator[None]:
    """What a task served last is kept while a test runs."""
    forget = last.remember()
    last.remember()
    yield
    forget()


@pytest.mark.usefixtures("remembering")
def test_what_a_task_served_last_is_taken_once() -> None:
    """A server that writes its line when the application has returned finds the request, and never an earlier one."""
    found: list[Any] = []

    async def handler(request: Any) -> Any:
        return PlainTextResponse("hello")

    async def server() -> None:
        async def receive() -> Any:
            return {"type": "http.request"}

        async def send(_: Any) -> None:
            """Send nothing."""

        await one_route(handler, ROUTE)(scope_of("/p/1"), receive, send)
        found.extend((last.take(), last.take()))

    with quiet():
        asyncio.run(server())
    told: list[Any] = []
    found[0].tell(lambda **what: told.append(what["route"]))
    assert told == ["/p/{number}"]
    assert found[1] is None
