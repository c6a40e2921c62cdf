"""What a request spent: calls and time by kind, repeated statements with the line that ran them, slow requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import fakeredis
import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from otel_distro.callers import application_line
from otel_distro.context import RequestScope
from otel_distro.instrumentation.httpx import HttpxInstrumentation
from otel_distro.instrumentation.redis import RedisInstrumentation
from otel_distro.instrumentation.sqlalchemy import SqlalchemyInstrumentation
from otel_distro.loggers import REQUESTS as LOGGER_NAME
from otel_distro.spent import EVENT, REPEATS, Spent
from tests.asgi_rig import Rig, get, rigged
from tests.http_echo import serve

STATEMENT = "SELECT name FROM users WHERE id = :id"
FEW, OFTEN = REPEATS, REPEATS + 5


@contextmanager
def working(environ: Mapping[str, str] | None = None, **how: Any) -> Iterator[tuple[Rig, FastAPI]]:
    """An application that queries, caches and calls, with everything instrumented."""
    with rigged(environ, **how) as rig, serve() as echo, TemporaryDirectory() as directory:
        parts = [kind(rig.tools) for kind in (SqlalchemyInstrumentation, RedisInstrumentation, HttpxInstrumentation)]
        import redis
        import sqlalchemy

        for part, module in zip(parts, (sqlalchemy, redis, httpx), strict=True):
            part.instrument(module)
        # a file, because threads cannot use one connection at the same time, and one in memory has only that
        engine = sa.create_engine(f"sqlite:///{directory}/spent.db")
        cache = fakeredis.FakeRedis()
        try:
            with engine.begin() as connection:
                connection.execute(sa.text("CREATE TABLE users (id INTEGER, name TEXT)"))
            rig.take()
            yield rig, _application(engine, cache, echo.url)
        finally:
            cache.close()
            engine.dispose()
            for part in parts:
                part.uninstrument()
        assert rig.guard.failures == ()


def _application(engine: sa.engine.Engine, cache: Any, url: str) -> FastAPI:
    app = FastAPI()

    @app.get("/query/{times}")
    def query(times: int) -> None:
        with engine.connect() as connection:
            for number in range(times):
                connection.execute(sa.text(STATEMENT), {"id": number})

    @app.get("/mixed")
    def mixed() -> None:
        query(2)
        cache.get("user:1")
        with httpx.Client() as client:
            client.get(url)
            client.get(url)

    @app.get("/sleep")
    async def sleep() -> None:
        await asyncio.sleep(0.02)

    return app


def served(spans: Iterable[ReadableSpan]) -> Any:
    """The server span; not the last one: a wall clock may be set while a request lasts."""
    (found,) = (span for span in spans if span.kind is SpanKind.SERVER)
    return found


def spent_of(span: Any) -> dict[str, Any]:
    """What a span says of calls."""
    return {name: value for name, value in span.attributes.items() if name.startswith("request.")}


def test_calls_and_seconds_are_on_the_server_span() -> None:
    """Each kind that was called is there with its count and its time; a request without calls says nothing."""
    with working() as (rig, app):
        get(app, "/mixed")
        spans = rig.take()
        get(app, "/sleep")
        assert spent_of(rig.only()) == {}
    spent = spent_of(served(spans))
    assert {name: value for name, value in spent.items() if name.endswith(".calls")} == {
        "request.sql.calls": 2,
        "request.redis.calls": 1,
        "request.http.calls": 2,
    }
    for kind, system in (("sql", "sqlite"), ("redis", "redis")):
        calls = [span for span in spans if span.attributes.get("db.system.name") == system]
        seconds = sum(span.end_time - span.start_time for span in calls) / 1e9
        assert 0 < spent[f"request.{kind}.duration"] <= seconds + 0.001
    assert spent["request.http.duration"] > 0


def test_a_repeated_statement_is_named_with_its_line(caplog: pytest.LogCaptureFixture) -> None:
    """More than ten times the same statement: an event on the span and one warning a process, with place and count."""
    with working() as (rig, app), caplog.at_level(logging.WARNING, LOGGER_NAME):
        get(app, f"/query/{FEW}")
        assert served(rig.take()).events == ()
        get(app, f"/query/{OFTEN}")
        (event,) = served(rig.take()).events
        get(app, f"/query/{OFTEN}")
        assert len(served(rig.take()).events) == 1
    assert event.name == EVENT
    told = event.attributes
    assert told["request.sql.calls"] == OFTEN
    assert told["db.query.text"] == "SELECT name FROM users WHERE id = ?"
    assert told["code.file.path"].endswith("tests/unit/test_spent.py")
    assert told["code.function.name"].endswith("query")
    (line,) = [record.getMessage() for record in caplog.records if record.name == LOGGER_NAME]
    assert f"{OFTEN} times" in line
    assert f"test_spent.py:{told['code.line.number']}" in line


@pytest.mark.parametrize(("limit", "found"), [("2", 1), ("0", 0)])
def test_how_often_is_too_often_is_a_setting(limit: str, found: int) -> None:
    """`OTEL_DISTRO_REPEATED_STATEMENTS` sets the number; 0 is any."""
    with working({"OTEL_DISTRO_REPEATED_STATEMENTS": limit}) as (rig, app):
        get(app, "/query/3")
        assert len(served(rig.take()).events) == found


@pytest.mark.parametrize("sampler", ["parentbased_always_on", "always_off"])
def test_a_slow_request_is_one_warning(sampler: str, caplog: pytest.LogCaptureFixture) -> None:
    """A request above the limit says what it spent in one line, sampled or not; one below says nothing."""
    environ = {"OTEL_DISTRO_SLOW_REQUEST": "60000", "OTEL_DISTRO_SLOW_ROUTES": "/sleep=10,/query/{times}=0"}
    with working(environ, sampler=sampler) as (_, app), caplog.at_level(logging.WARNING, LOGGER_NAME):
        get(app, "/mixed")
        get(app, "/query/2")
        get(app, "/sleep")
    (record,) = [record for record in caplog.records if record.name == LOGGER_NAME]
    assert record.getMessage().startswith("slow request: GET /sleep 200 took ")
    assert record.getMessage().endswith("limit 10 ms; no calls")
    assert record.__dict__["http.route"] == "/sleep"
    assert record.__dict__["http.server.request.duration"] > 0.01


def test_a_slow_request_tells_where_its_time_went(caplog: pytest.LogCaptureFixture) -> None:
    """The line has calls and milliseconds of each kind, and the statement that was repeated."""
    environ = {"OTEL_DISTRO_SLOW_ROUTES": "/query/{times}=1", "OTEL_DISTRO_REPEATED_STATEMENTS": "3"}
    with working(environ) as (_, app), caplog.at_level(logging.WARNING, LOGGER_NAME):
        get(app, "/query/400")
    repeated, slow = [record for record in caplog.records if record.name == LOGGER_NAME]
    assert "ran the same statement 400 times" in repeated.getMessage()
    assert "; 400 sql " in slow.getMessage()
    assert "400 times SELECT users from " in slow.getMessage()
    assert slow.__dict__["request.sql.calls"] == 400


def test_nothing_is_slow_by_default(caplog: pytest.LogCaptureFixture) -> None:
    """Without a limit no request is looked at."""
    with working() as (_, app), caplog.at_level(logging.WARNING, LOGGER_NAME):
        get(app, "/sleep")
    assert [record for record in caplog.records if record.name == LOGGER_NAME] == []


def test_calls_of_threads_and_tasks_are_the_requests() -> None:
    """Calls made side by side, in threads and tasks of a request, are all counted."""
    with working() as (rig, app):

        @app.get("/both")
        async def both() -> None:
            query = next(route.endpoint for route in app.routes if getattr(route, "name", "") == "query")
            await asyncio.gather(*[asyncio.to_thread(query, 1) for _ in range(5)])

        get(app, "/both")
        assert spent_of(served(rig.take()))["request.sql.calls"] == 5


class _Statement:
    name = "SELECT t"
    attributes: Mapping[str, Any] = {}


def test_statements_are_bounded() -> None:
    """A request that runs thousands of different statements remembers 256 of them and eight findings."""
    spent = Spent(repeats=1)
    statements = [_Statement() for _ in range(2_000)]
    for _ in range(3):
        for statement in statements:
            spent.sql(statement, 0.0)
    assert spent.sql_calls == 6_000
    assert len(spent.repeated) == 8
    assert sum(spent.count(statement) > 0 for statement in statements) == 256


def test_the_applications_line_is_the_innermost_of_its_own() -> None:
    """Frames of the standard library between the application and the call are passed over."""
    found = next(iter(map(lambda _: application_line(), [0])))  # noqa: C417 - the lambda is the line that is meant
    assert found is not None
    assert found.path.endswith("tests/unit/test_spent.py")
    assert "<lambda>" in found.function


def test_an_installed_applications_line_is_found() -> None:
    """Where all code is installed, known libraries and ours are passed over, the innermost other package counts."""
    frames: dict[str, Any] = {"line": application_line}
    for path, code in (
        ("/usr/lib/python3/dist-packages/sqlalchemy/engine.py", "def execute():\n    return line()"),
        ("/venv/lib/python3/site-packages/shop/orders.py", "def load():\n    return execute()"),
        ("/venv/lib/python3/site-packages/starlette/routing.py", "def route():\n    return load()"),
    ):
        exec(compile(code, path, "exec"), frames)  # noqa: S102 - code that says it lies in other places
    with ThreadPoolExecutor(1) as thread:  # a thread has no frame of this file below it
        line = thread.submit(frames["route"]).result()
    assert line == ("/venv/lib/python3/site-packages/shop/orders.py", 2, "load")


def test_the_line_of_an_asynchronous_statement_is_found() -> None:
    """SQLAlchemy runs drivers in a greenlet: the application's coroutine above it is named."""
    pytest.importorskip("aiosqlite")
    pytest.importorskip("greenlet")
    from sqlalchemy.ext.asyncio import create_async_engine

    with working({"OTEL_DISTRO_REPEATED_STATEMENTS": "2"}) as (rig, app):

        @app.get("/async")
        async def load_names() -> None:
            engine = create_async_engine("sqlite+aiosqlite://")
            async with engine.connect() as connection:
                for _ in range(3):
                    await connection.execute(sa.text("SELECT 1"))
            await engine.dispose()

        get(app, "/async")
        server = next(span for span in rig.take() if span.name == "GET /async")
    (event,) = server.events
    assert event.attributes["code.file.path"].endswith("tests/unit/test_spent.py")
    assert event.attributes["code.function.name"].endswith("load_names")


def test_a_request_without_calls_has_nothing_to_count() -> None:
    """What a request spends is made with its first call, and says its numbers in one line."""
    scope = RequestScope("r1")
    assert scope.spent is None
    scope.spending().http(0.25)
    scope.spending().redis(0.001)
    assert str(scope.spent) == "1 redis 1 ms, 1 http 250 ms"
