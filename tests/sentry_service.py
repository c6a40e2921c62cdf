# ruff: noqa: TRY301 - failing on the spot is what it is for
"""The application of the Sentry tests: one route for each way in which an error, a message or a log comes about."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
from collections.abc import Awaitable, Callable

import httpx
import redis
import sentry_sdk
import sqlalchemy
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from opentelemetry import trace
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from sqlalchemy.pool import StaticPool
from starlette.middleware.base import BaseHTTPMiddleware

import otel_distro

if os.environ.get("APP_INIT"):
    from sentry_sdk.integrations.otlp import OTLPIntegration

    options = {"send_default_pii": True} if "pii" in os.environ["APP_INIT"] else {}
    rates = {"traces_sample_rate": 1.0} if "tracing" in os.environ["APP_INIT"] else {}
    integrations = [OTLPIntegration()] if "otlp" in os.environ["APP_INIT"] else []
    sentry_sdk.init(integrations=integrations, **options, **rates)

CANARY = "canary-" + "71c3f0"
app = FastAPI()
router = APIRouter(prefix="/v1")
tracer = trace.get_tracer("shop")
logger = logging.getLogger("shop")
engine = sqlalchemy.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})


class Refused(Exception):
    """Raised by the application."""


class Middleware(BaseHTTPMiddleware):
    """Fails where a header asks for it."""

    async def dispatch(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if "x-fail-middleware" in request.headers:
            raise Refused("middleware")
        return await call_next(request)


app.add_middleware(Middleware)


def query(text: str = "select 1") -> None:
    """One statement."""
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(text))


@router.get("/ok/{number}")
async def ok(number: int) -> dict[str, int]:
    """An ordinary request."""
    query()
    return {"number": number}


@router.get("/unhandled/{number}")
async def unhandled(number: int) -> None:
    """An exception that leaves a span and the handler."""
    query(f"select {number}, 'literal-{CANARY}'")
    with tracer.start_as_current_span("inner"):
        raise Refused(f"no {number}")


@router.get("/plain")
def plain() -> None:
    """An exception in a synchronous handler, without a span of its own."""
    raise Refused("plain")


@router.get("/http503")
async def http503() -> None:
    """An answer of the application's with a status of 5xx."""
    raise HTTPException(503, "later")


def dependency() -> None:
    """Fails."""
    with tracer.start_as_current_span("dependency"):
        raise Refused("dependency")


@router.get("/dependency", dependencies=[Depends(dependency)])
async def depends() -> None:
    """Never reached."""


@router.get("/captured-503")
async def captured_and_answered() -> None:
    """An exception that is captured, and answered by another one raised in its place."""
    try:
        with tracer.start_as_current_span("caught"):
            raise Refused("captured")
    except Refused as error:
        sentry_sdk.capture_exception(error)
        raise HTTPException(503) from error


@router.get("/captured")
async def captured() -> dict[str, str]:
    """An exception that is caught and captured outside its span."""
    try:
        with tracer.start_as_current_span("caught"):
            raise Refused("caught")
    except Refused as error:
        sentry_sdk.capture_exception(error)
    return {}


@router.get("/logged-and-raised")
async def logged_and_raised() -> None:
    """An exception that is logged and raised on, in a task of its own below the middleware."""
    try:
        with tracer.start_as_current_span("caught"):
            raise Refused("logged")
    except Refused:
        logger.exception("refused")
        raise


@router.get("/captured-and-raised")
def captured_and_raised() -> None:
    """An exception that is captured and raised on, in a thread."""
    try:
        with tracer.start_as_current_span("caught"):
            raise Refused("captured")
    except Refused as error:
        otel_distro.capture_exception(error)
        raise


class Outbox(Transport):
    """Keeps what a library sends to its own Sentry."""

    def __init__(self) -> None:
        super().__init__()
        self.envelopes: list[Envelope] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)


@router.get("/library")
async def library() -> dict[str, str]:
    """A library reports its own failure by a client of its own: without our data, and without a change for ours."""
    otel_distro.set_user("u1")
    outbox, scope = Outbox(), sentry_sdk.Scope()
    client = sentry_sdk.Client(dsn="http://k@127.0.0.1:9/1", transport=outbox, default_integrations=False)
    scope.set_client(client)
    client.capture_event({"message": "the library's"}, scope=scope)
    event = outbox.envelopes[0].items[0].payload.json
    assert event is not None
    assert not {"user", "tags", "request", "transaction"} & {name for name in event if event[name]}
    return {}


@router.get("/logged")
async def logged() -> dict[str, str]:
    """A log record at the level of an error, in a span."""
    with tracer.start_as_current_span("logging"):
        logger.error("it broke for %s", f"argument-{CANARY}")
    return {}


@router.get("/message")
async def message() -> dict[str, str]:
    """A message, in a span."""
    with tracer.start_as_current_span("messaging"):
        sentry_sdk.capture_message("hello")
    return {}


@router.get("/info")
async def info() -> dict[str, str]:
    """An ordinary log record, in a span."""
    with tracer.start_as_current_span("informing"):
        logger.warning("something to know")
    return {}


@router.get("/recorded")
async def recorded() -> dict[str, str]:
    """An exception that is recorded on a span and handled: no event."""
    with tracer.start_as_current_span("recording") as span:
        try:
            raise Refused("recorded")
        except Refused as error:
            span.record_exception(error)
    return {}


@router.get("/swallowed")
async def swallowed() -> dict[str, str]:
    """An exception that leaves a span and is swallowed further out: no event."""
    try:
        with tracer.start_as_current_span("swallowing"):
            raise Refused("swallowed")
    except Refused:
        pass
    return {}


def later() -> None:
    """A background task that fails."""
    raise Refused("background")


@router.get("/background")
async def background(tasks: BackgroundTasks) -> dict[str, str]:
    """Its task fails after the response."""
    tasks.add_task(later)
    return {}


@router.get("/task")
async def task() -> dict[str, str]:
    """A task that nobody awaits fails."""

    async def work() -> None:
        await asyncio.sleep(0)
        raise Refused("task")

    with tracer.start_as_current_span("spawning"):
        lost = asyncio.create_task(work())
    await asyncio.sleep(0.05)
    del lost
    return {}


@router.get("/callback")
async def callback() -> dict[str, str]:
    """A callback of the event loop fails."""

    def work() -> None:
        raise Refused("callback")

    with tracer.start_as_current_span("calling"):
        asyncio.get_running_loop().call_soon(work)
    await asyncio.sleep(0.05)
    return {}


@router.get("/task-group")
async def task_group() -> None:
    """A task of a group fails, below a middleware with a group of its own."""

    async def work() -> None:
        with tracer.start_as_current_span("grouped"):
            raise Refused("grouped")

    async with asyncio.TaskGroup() as group:
        group.create_task(work())


@router.get("/thread")
async def thread() -> dict[str, str]:
    """A thread fails, in a span of its own."""

    def work() -> None:
        with tracer.start_as_current_span("threading"):
            raise Refused("thread")

    worker = threading.Thread(target=contextvars.copy_context().run, args=(work,))
    worker.start()
    await asyncio.to_thread(worker.join)
    return {}


@router.get("/bare-thread")
async def bare_thread() -> dict[str, str]:
    """A thread fails that knows of no span."""

    def work() -> None:
        raise Refused("bare thread")

    worker = threading.Thread(target=work)
    worker.start()
    await asyncio.to_thread(worker.join)
    return {}


@router.get("/late")
async def late() -> dict[str, str]:
    """A span that ends after its parent."""
    with tracer.start_as_current_span("parent"):
        child = tracer.start_span("late child")
    child.end()
    return {}


@router.get("/call")
async def call(url: str) -> None:
    """A call of another service, then an exception."""
    async with httpx.AsyncClient() as client:
        await client.get(url)
    raise Refused("after a call")


@router.get("/user/{name}")
async def user(name: str) -> dict[str, str]:
    """Says who it is for, by our API and by sentry-sdk's, and sends an event."""
    if name != "nobody":
        otel_distro.set_user(name, email=f"{name}-{CANARY}@example.com")
        otel_distro.set_context(tenant=f"tenant-{name}")
        sentry_sdk.set_tag("by-sdk", name)
    await asyncio.sleep(0.02)
    sentry_sdk.capture_message(f"about {name}")
    return {}


@router.get("/secrets")
async def secrets(request: Request) -> None:
    """Secrets everywhere."""
    value = f"local-{CANARY}"
    query(f"select 'sql-{CANARY}'")
    try:
        redis.Redis(port=1).get(f"user:redis-{CANARY}")
    except redis.ConnectionError:
        pass
    otel_distro.set_user("u1", email=f"mail-{CANARY}@example.com", name=f"name-{CANARY}")
    sentry_sdk.set_user({"id": "u1", "email": f"sdkmail-{CANARY}@example.com", "username": f"sdkname-{CANARY}"})
    raise Refused(f"message-{CANARY} of {len(value)}")


@app.exception_handler(504)
async def timed_out(request: Request, error: Exception) -> Response:
    """A handler of the application's for one status."""
    return Response("later", 504)


@router.get("/http504")
async def http504() -> None:
    """An answer that a handler of the application's makes."""
    raise HTTPException(504)


@router.get("/excluded")
async def excluded() -> None:
    """An exception in a request that makes no span."""
    sentry_sdk.set_tag("excluded", "yes")
    raise Refused("excluded")


mounted = FastAPI()


@mounted.get("/boom")
async def boom() -> None:
    """An exception in an application within the application."""
    raise Refused("mounted")


app.include_router(router)
app.mount("/mounted", mounted)
