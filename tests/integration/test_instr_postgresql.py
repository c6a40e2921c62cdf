"""SQLAlchemy over psycopg and asyncpg against a real PostgreSQL: spans end however a statement ends."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from opentelemetry.trace import StatusCode
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from otel_distro.instrumentation.sqlalchemy import SqlalchemyInstrumentation
from tests.recording import Recording, instrumented, recorded
from tests.servers import PostgresServer

SECRET = "joe@example.org"
MODERN = sa.__version__ >= "2"
# SQLAlchemy 1.4 does not know psycopg 3
SYNC = "psycopg" if MODERN else "psycopg2"
DBAPI = "opentelemetry.instrumentation.dbapi"
ASYNC = ["psycopg", "asyncpg"] if MODERN else ["asyncpg"]
METADATA = sa.MetaData()
USERS = sa.Table(
    "users",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("email", sa.Text, unique=True),
    sa.Column("tags", sa.JSON),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL server with a table `users`."""
    with PostgresServer(tmp_path_factory.mktemp("logs")) as server:
        engine = sa.create_engine(server.url(SYNC))
        METADATA.create_all(engine)
        engine.dispose()
        yield server


@pytest.fixture
def recording() -> Iterator[Recording]:
    """SQLAlchemy, instrumented; nothing of the distro may have failed in a test."""
    with recorded(SqlalchemyInstrumentation) as recording:
        yield recording


def test_psycopg_statements_have_the_servers_attributes(server: PostgresServer, recording: Recording) -> None:
    """A statement names system, database, server and table, and the parameters stay parameters."""
    engine = sa.create_engine(server.url(SYNC))
    with engine.connect() as connection:
        recording.take()
        connection.execute(sa.select(USERS.c.id).where(USERS.c.email == SECRET, USERS.c.id.in_([1, 2, 3])))
    engine.dispose()
    span = recording.one()
    attributes = dict(span.attributes or {})
    text = str(attributes.pop("db.query.text"))
    assert attributes == {
        "db.system.name": "postgresql",
        "db.namespace": "app",
        "db.operation.name": "SELECT",
        "db.collection.name": "users",
        "db.query.summary": "SELECT users",
        "server.address": "127.0.0.1",
        "server.port": server.ports["main"],
    }
    assert "users.email = %(email_1)s" in text
    assert text.endswith("users.id IN (?)")
    assert "app-secret" not in span.to_json()


def test_a_sequence_that_is_executed_is_a_statement(server: PostgresServer, recording: Recording) -> None:
    """SQLAlchemy executes a sequence by a way of its own; one that an INSERT needs is part of that."""
    number = sa.Sequence("number")
    table = sa.Table("numbers", sa.MetaData(), sa.Column("id", sa.Integer, number), implicit_returning=False)
    engine = sa.create_engine(server.url(SYNC))
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        recording.take()
        # 1.4 gives the number itself
        assert (connection.scalar(number) if MODERN else connection.execute(number)) == 1
        connection.execute(table.insert())
    engine.dispose()
    assert [span.name for span in recording.spans] == ["select", "INSERT numbers"]


@pytest.mark.parametrize("driver", ASYNC)
def test_an_integrity_error_has_its_sqlstate(server: PostgresServer, recording: Recording, driver: str) -> None:
    """A violated constraint gives class and SQLSTATE; the values that PostgreSQL quotes in its message stay here."""

    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            await connection.execute(sa.insert(USERS), {"id": 1, "email": SECRET})
            recording.take()
            with pytest.raises(sa.exc.IntegrityError, match=SECRET):
                await connection.execute(sa.insert(USERS), {"id": 2, "email": SECRET})
            await connection.rollback()
        await engine.dispose()

    asyncio.run(work(create_async_engine(server.url(driver))))
    span = recording.one()
    attributes = span.attributes or {}
    assert attributes["db.response.status_code"] == "23505"
    assert attributes["error.type"] in {"UniqueViolation", "UniqueViolationError", "IntegrityError"}
    assert span.status.status_code is StatusCode.ERROR
    assert SECRET not in span.to_json()


@pytest.mark.parametrize("driver", ASYNC)
def test_a_cancelled_statement_ends_its_span(server: PostgresServer, recording: Recording, driver: str) -> None:
    """A statement whose task is cancelled leaves no span open."""

    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))
            recording.take()
            task = asyncio.ensure_future(connection.execute(sa.text("SELECT pg_sleep(30)")))
            await asyncio.sleep(0.3)
            task.cancel()
            with pytest.raises((asyncio.CancelledError, sa.exc.DBAPIError)):
                await task
            await connection.invalidate()
        await engine.dispose()

    asyncio.run(work(create_async_engine(server.url(driver))))
    span = recording.one()
    assert span.end_time is not None
    assert (span.attributes or {})["error.type"] == "CancelledError"


@pytest.mark.skipif(not MODERN, reason="SQLAlchemy 1.4 has no insertmanyvalues")
@pytest.mark.parametrize("driver", ASYNC)
def test_three_thousand_rows_are_one_span(server: PostgresServer, recording: Recording, driver: str) -> None:
    """insertmanyvalues is one span on an asynchronous engine as well."""

    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))
            recording.take()
            rows = [{"id": 1000 + number, "email": f"{number}"} for number in range(3000)]
            result = await connection.execute(sa.insert(USERS).returning(USERS.c.id), rows)
            assert len(result.all()) == 3000
            await connection.rollback()
        await engine.dispose()

    asyncio.run(work(create_async_engine(server.url(driver))))
    span = recording.one()
    assert span.name == "BATCH INSERT users"
    assert (span.attributes or {})["db.operation.batch.size"] == 3000


@pytest.mark.parametrize("driver", ASYNC)
def test_statements_of_many_tasks_keep_their_parents(server: PostgresServer, recording: Recording, driver: str) -> None:
    """Concurrent statements on one pool are children of their own task's span."""
    tracer = recording.tracer_provider.get_tracer("t")

    async def one(engine: AsyncEngine, number: int) -> None:
        with tracer.start_as_current_span(f"task {number}"):
            async with engine.connect() as connection:
                await connection.execute(sa.text(f"SELECT {number} AS n{number}"))

    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))
        recording.take()
        await asyncio.gather(*(one(engine, number) for number in range(20)))
        await engine.dispose()

    asyncio.run(work(create_async_engine(server.url(driver), pool_size=3)))
    outer = {span.context.span_id: span.name.split()[1] for span in recording.spans if span.name.startswith("task")}
    texts = [
        (outer[span.parent.span_id], str((span.attributes or {})["db.query.text"]))
        for span in recording.spans
        if span.parent is not None and " AS n" in str((span.attributes or {})["db.query.text"])
    ]
    assert len(texts) == 20
    assert all(text == f"SELECT ? AS n{number}" for number, text in texts)


def test_sqlcommenter_reaches_the_server(server: PostgresServer) -> None:
    """PostgreSQL itself sees the trace context in the text of its query, also with percent signs in the way."""
    recording = Recording({"OTEL_DISTRO_SQLCOMMENTER": "true"})
    with instrumented(SqlalchemyInstrumentation, recording):
        engine = sa.create_engine(server.url(SYNC))
        with engine.connect() as connection:
            recording.take()
            query = sa.text("SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid() AND 'a%' LIKE :like")
            seen = connection.execute(query, {"like": "a%"}).scalar_one()
        engine.dispose()
    span = recording.one()
    assert f"traceparent='00-{span.context.trace_id:032x}-{span.context.span_id:016x}-" in seen
    assert "db_framework='sqlalchemy%3A" in seen
    assert recording.failures == []


@pytest.mark.parametrize("driver", ASYNC)
def test_an_instrumented_driver_makes_no_second_span(server: PostgresServer, driver: str) -> None:
    """Contrib's instrumentor of the driver, also in an asynchronous engine's greenlet, is silent below a statement."""
    module = pytest.importorskip(f"opentelemetry.instrumentation.{driver}")
    instrumentor = module.AsyncPGInstrumentor() if driver == "asyncpg" else module.PsycopgInstrumentor()
    recording = Recording()

    async def work() -> None:
        engine = create_async_engine(server.url(driver))
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))
            recording.take()
            await connection.execute(sa.text("SELECT 2"))
        await engine.dispose()

    with instrumented(SqlalchemyInstrumentation, recording) as instrumentation:
        instrumentor.instrument(tracer_provider=recording.tracer_provider)
        try:
            instrumentation.instrument(module if driver == "asyncpg" else importlib.import_module(DBAPI))
            asyncio.run(work())
        finally:
            instrumentor.uninstrument()
    scopes = [span.instrumentation_scope.name for span in recording.spans if span.instrumentation_scope]
    assert scopes.count("otel_distro.instrumentation.sqlalchemy") == 1
    assert [span.name for span in recording.spans if span.name.startswith("SELECT")] == ["SELECT"]
