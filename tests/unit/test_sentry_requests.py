"""Requests as sentry-sdk sees them: every exception that leaves an application once, whoever answers it."""

from __future__ import annotations

import asyncio
import functools
import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, NoReturn

import fastapi
import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocketDisconnect

from otel_distro.context import RequestScope, close_scope, open_scope
from otel_distro.guard import Guard
from otel_distro.instrumentation.asgi import exchange as served
from otel_distro.instrumentation.asgi.native import load
from otel_distro.sentry.link import tell
from otel_distro.sentry.requests import Request, Requests
from otel_distro.tracing.context import attach_span, detach

MARK = "mark"


class Exchange(RequestScope):
    """What the server instrumentation knows of a request; takes further attributes."""


class Rig:
    """Starlette's two layers of errors around an application, patched in classes of their own.

    Args:
        owned: whether the client of sentry-sdk is ours.
    """

    def __init__(self, *, owned: bool = True) -> None:
        self.captured: list[BaseException] = []
        self.requests = Requests(self.capture, lambda: owned, Guard(), MARK)
        errors = SimpleNamespace(ServerErrorMiddleware=type("Errors", (ServerErrorMiddleware,), {}))
        exceptions = SimpleNamespace(ExceptionMiddleware=type("Exceptions", (ExceptionMiddleware,), {}))
        self.requests.errors(errors)  # type: ignore[arg-type]
        self.requests.exceptions(exceptions)  # type: ignore[arg-type]
        self.errors: Any = errors.ServerErrorMiddleware
        self.exceptions: Any = exceptions.ExceptionMiddleware

    def capture(self, error: BaseException, mechanism: Mapping[str, Any]) -> None:
        """Note what is captured, as the bridge does."""
        self.captured.append(error)
        tell(error)

    def run(self, app: Any, *, kind: str = "http", served: bool = True) -> tuple[int | None, BaseException | None]:
        """The status of the answer, and what left the application; in a span where it is `served` by ours."""
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def call() -> BaseException | None:
            scope: dict[str, Any] = {"type": kind, "method": "GET", "path": "/a", "headers": []}
            exchange = Exchange()
            token = None
            if served:
                scope[MARK] = exchange
                open_scope(exchange)
                token = attach_span(NonRecordingSpan(SpanContext(7, 8, False, TraceFlags(1))))
            try:
                await app(scope, None, send)
            except Exception as error:
                return error
            finally:
                if token is not None:
                    detach(token)
                    close_scope(exchange)
            return None

        left = asyncio.run(call())
        return next((message["status"] for message in sent if "status" in message), None), left


def failing(error: Exception) -> Any:
    """An application that raises this."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    return app


class Handler:
    """A handler that is an object."""

    async def __call__(self, request: Any, error: Exception) -> PlainTextResponse:
        return PlainTextResponse("later", 599)


def answer(request: Any, error: Exception) -> PlainTextResponse:
    """A handler that is a function."""
    return PlainTextResponse("later", 599)


async def answer_async(status: int, request: Any, error: Exception) -> PlainTextResponse:
    """A handler that is a part of a coroutine function."""
    return PlainTextResponse("later", status)


HANDLERS = (None, answer, Handler(), functools.partial(answer_async, 599))


@pytest.mark.parametrize("served", [True, False])
@pytest.mark.parametrize("handler", HANDLERS, ids=["none", "function", "object", "partial"])
def test_an_exception_is_captured_once_and_answered_as_ever(handler: Any, served: bool) -> None:
    """With or without a span of ours, whatever kind of handler answers it."""
    rig, error = Rig(), ValueError("x")
    status, left = rig.run(rig.errors(failing(error), handler), served=served)
    assert (status, left) == (500 if handler is None else 599, error)
    assert rig.captured == [error]


def test_an_exception_is_captured_in_debug_mode_too() -> None:
    """Where Starlette answers with a traceback, the event is made as well."""
    rig, error = Rig(), ValueError("x")
    assert rig.run(rig.errors(failing(error), debug=True)) == (500, error)
    assert rig.captured == [error]


@pytest.mark.parametrize("is_async", [True, False])
def test_a_handler_that_fails_is_captured_too(is_async: bool) -> None:
    """Both exceptions are told: the one that was to be answered, and the one that came of it."""
    rig, first, second = Rig(), ValueError("x"), KeyError("y")

    def fail(request: Any, error: Exception) -> Any:
        raise second

    async def fail_async(request: Any, error: Exception) -> Any:
        raise second

    assert rig.run(rig.errors(failing(first), fail_async if is_async else fail)) == (None, second)
    assert rig.captured == [first, second]


def test_an_application_in_an_application_tells_once() -> None:
    """What left a mounted application is not captured again where the outer one answers it."""
    rig, error = Rig(), ValueError("x")
    assert rig.run(rig.errors(rig.errors(failing(error)))) == (500, error)
    assert rig.captured == [error]


class Refused(Exception):
    """Has a status."""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


@pytest.mark.parametrize("handler", HANDLERS[1:], ids=["function", "object", "partial"])
@pytest.mark.parametrize(("status", "captured"), [(503, 1), (404, 0)])
def test_what_is_answered_counts_from_500_on(handler: Callable[..., Any], status: int, captured: int) -> None:
    """A handler of the application's answers, and only an exception of 500 and above makes an event."""
    rig, error = Rig(), Refused(status)
    app = rig.errors(rig.exceptions(failing(error), {Refused: handler}))
    assert rig.run(app) == (599, None)
    assert rig.captured == [error] * captured


class Unreadable(Exception):
    """Cannot say its status."""

    @property
    def status_code(self) -> NoReturn:
        raise RuntimeError("no status")


def test_an_exception_that_cannot_say_its_status_is_answered_as_ever() -> None:
    """What a property of the application's raises is nothing to the answer."""
    rig = Rig()
    app = rig.errors(rig.exceptions(failing(Unreadable()), {Unreadable: answer}))
    assert rig.run(app) == (599, None)
    assert rig.captured == []


@pytest.mark.parametrize(
    ("error", "captured"), [(ValueError("x"), 1), (WebSocketDisconnect(1001), 0), (WebSocketDisconnect(1011), 1)]
)
def test_a_websocket_that_fails_is_captured(error: Exception, captured: int) -> None:
    """Nobody answers it; a client that goes away as usual is no error."""
    rig = Rig()
    assert rig.run(rig.errors(failing(error)), kind="websocket") == (None, error)
    assert rig.captured == [error] * captured


def test_a_lifespan_that_fails_is_captured() -> None:
    """An application that cannot start says so."""
    rig, error = Rig(), ValueError("x")
    rig.run(rig.errors(failing(error)), kind="lifespan", served=False)
    assert rig.captured == [error]


def test_another_client_captures_by_itself() -> None:
    """Where the application has set sentry-sdk up, nothing is captured, and no request is ours."""
    rig, error = Rig(owned=False), ValueError("x")
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(rig.requests.running())
        raise error

    assert rig.run(rig.errors(app)) == (500, error)
    assert rig.captured == []
    assert seen == [None]


def test_the_running_request_knows_its_scope() -> None:
    """A request with a span of ours is found by the exchange, until it is over."""
    rig = Rig()
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((rig.requests.running(), scope))

    rig.run(rig.errors(app))
    ((exchange, scope),) = seen
    assert exchange.asgi is scope
    assert Request(exchange.asgi, exchange).described(personal=False)["url"] == "http:///a"
    exchange.asgi["path"] = "/a b;token=canary"
    assert Request(exchange.asgi, exchange).described(personal=False)["url"] == "http:///a%20b%3Btoken%3DREDACTED"
    assert rig.requests.running() is None


def test_what_requests_are_left_they_keep() -> None:
    """Starlette's exchange and FastAPI's have a place for it, and can be referred to weakly: else each were watched."""
    native = load(fastapi, Guard())
    for kind in (served.Exchange, served.Exchange if native is None else native.exchange_class):
        exchange: Any = kind.__new__(kind)
        assert not hasattr(exchange, "asgi")
        exchange.asgi, exchange.isolation = {}, None
        assert weakref.ref(exchange)() is exchange


def test_threads_that_ask_at_the_same_time_get_the_same_scope() -> None:
    """A request has one isolation scope, whoever asks for it first."""
    rig = Rig()
    for _ in range(50):
        exchange, start = Exchange(), threading.Barrier(4)

        def ask(exchange: Exchange = exchange, start: threading.Barrier = start) -> int:
            start.wait()
            return id(rig.requests.isolation(exchange, None))

        with ThreadPoolExecutor(4) as pool:
            assert len({future.result() for future in [pool.submit(ask) for _ in range(4)]}) == 1
