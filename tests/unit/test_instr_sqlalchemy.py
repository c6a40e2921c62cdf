"""SQLAlchemy: one span for each execute(), whatever the engine, the version and the way it ends."""

from __future__ import annotations

import gc
import importlib
import sqlite3
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy.dialects import registry
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.pool import NullPool, Pool, QueuePool

from otel_distro.instrumentation.sqlalchemy import SqlalchemyInstrumentation
from otel_distro.instrumentation.sqlalchemy.statements import status_code
from tests.recording import Recording, instrumented, named, recorded

SECRET = "joe@example.org"
MODERN = sa.__version__ >= "2"


@pytest.fixture(params=["whole", "brief"])
def recording(request: pytest.FixtureRequest) -> Iterator[Recording]:
    """SQLAlchemy, instrumented, with spans that are objects and without; nothing of the distro may have failed."""
    with recorded(SqlalchemyInstrumentation, brief=request.param == "brief") as recording:
        yield recording


OPENED: list[sa.engine.Engine] = []


@pytest.fixture(autouse=True)
def _dispose() -> Iterator[None]:
    """No connection outlives its test."""
    yield
    while OPENED:
        OPENED.pop().dispose()


def memory() -> sa.engine.Engine:
    """A SQLite database with a table `users`, on a queueing pool of one connection."""
    engine = sa.create_engine("sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.05,
                              connect_args={"check_same_thread": False})  # fmt: skip
    OPENED.append(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE)"))
    return engine


def test_a_statement_makes_one_client_span_with_stable_attributes(recording: Recording) -> None:
    """A statement is one CLIENT span named by its summary, with stable names and no literal."""
    engine = memory()
    recording.take()
    with engine.connect() as connection:
        connection.execute(sa.text(f"SELECT id FROM users WHERE email = '{SECRET}' LIMIT 5"))
    span = recording.one()
    assert (span.name, span.kind, span.parent) == ("SELECT users", SpanKind.CLIENT, None)
    assert dict(span.attributes or {}) == {
        "db.system.name": "sqlite",
        "db.operation.name": "SELECT",
        "db.collection.name": "users",
        "db.query.summary": "SELECT users",
        "db.query.text": "SELECT id FROM users WHERE email = ? LIMIT ?",
    }
    assert span.status.status_code is StatusCode.UNSET


def test_the_current_span_is_the_parent(recording: Recording) -> None:
    """A statement's span is a child of the span around it and is not made current itself."""
    engine = memory()
    with (
        recording.tracer_provider.get_tracer("t").start_as_current_span("above") as above,
        engine.connect() as connection,
    ):
        recording.take()
        connection.execute(sa.text("SELECT 1"))
        assert trace.get_current_span() is above
    spans = named(recording.spans)
    outer = spans.pop("above")
    (statement,) = spans.values()
    assert statement.parent is not None
    assert statement.parent.span_id == outer.context.span_id


def test_an_engine_made_before_counts() -> None:
    """An engine with an open connection, made before instrumentation, is traced from its next statement on."""
    engine = memory()
    recording = Recording()
    with engine.connect() as connection, instrumented(SqlalchemyInstrumentation, recording):
        connection.execute(sa.text("SELECT 1"))
        assert recording.one().name == "SELECT"


def test_uninstrumented_means_silent() -> None:
    """After `uninstrument` nothing is recorded, and SQLAlchemy's own functions are back."""
    engine = memory()
    recording = Recording()
    before = sa.engine.Engine.raw_connection
    with instrumented(SqlalchemyInstrumentation, recording):
        assert sa.engine.Engine.raw_connection is not before
    assert sa.engine.Engine.raw_connection is before
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
    assert recording.spans == []


def test_instrumenting_twice_makes_one_span() -> None:
    """`instrument` is idempotent."""
    recording = Recording()
    with instrumented(SqlalchemyInstrumentation, recording) as instrumentation:
        instrumentation.instrument(sa)
        engine = memory()
        assert len(recording.spans) == 1
        assert engine is not None


def test_an_error_is_marked_and_raised_unchanged(recording: Recording) -> None:
    """A failing statement raises what it would raise; the span has its class and no message, which may quote values."""
    engine = memory()
    with engine.connect() as connection:
        connection.execute(sa.text(f"INSERT INTO users VALUES (1, '{SECRET}')"))
        recording.take()
        with pytest.raises(sa.exc.IntegrityError, match="UNIQUE"):
            connection.execute(sa.text(f"INSERT INTO users VALUES (2, '{SECRET}')"))
    span = recording.one()
    assert (span.attributes or {})["error.type"] == "IntegrityError"
    assert (span.attributes or {})["db.response.status_code"] == "SQLITE_CONSTRAINT_UNIQUE"
    assert (span.status.status_code, span.status.description, span.events) == (StatusCode.ERROR, None, ())
    assert SECRET not in span.to_json()


def test_executemany_is_one_batch(recording: Recording) -> None:
    """Several parameter sets of one statement are one span, a batch of that size; one set is no batch."""
    engine = memory()
    recording.take()
    statement = sa.text("INSERT INTO users (id) VALUES (:id)")
    with engine.connect() as connection:
        connection.execute(statement, [{"id": 1}, {"id": 2}, {"id": 3}])
        connection.execute(statement, [{"id": 4}])
    spans = named(recording.spans)
    assert spans.keys() == {"BATCH INSERT users", "INSERT users"}
    batch, single = spans["BATCH INSERT users"], spans["INSERT users"]
    assert (batch.attributes or {})["db.operation.batch.size"] == 3
    assert (batch.attributes or {})["db.operation.name"] == "BATCH INSERT"
    assert "db.operation.batch.size" not in (single.attributes or {})


@pytest.mark.skipif(not MODERN, reason="SQLAlchemy 1.4 has no insertmanyvalues")
def test_insertmanyvalues_is_one_span(recording: Recording) -> None:
    """3,000 rows that SQLAlchemy sends in several driver calls are one span, one duration, and a short text."""
    engine = memory()
    users = sa.Table("users", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("email", sa.Text))
    recording.take()
    with engine.begin() as connection:
        inserted = connection.execute(
            sa.insert(users).returning(users.c.id), [{"email": f"{number}"} for number in range(3000)]
        )
        assert len(inserted.all()) == 3000
    span = recording.one()
    assert span.name == "BATCH INSERT users"
    assert (span.attributes or {})["db.operation.batch.size"] == 3000
    assert len(str((span.attributes or {})["db.query.text"])) < 200
    (durations,) = [count for attributes, count in recording.points("db.client.operation.duration")
                    if attributes["db.operation.name"] == "BATCH INSERT"]  # fmt: skip
    assert durations == 1


@pytest.mark.skipif(not MODERN, reason="SQLAlchemy 1.4 has no insertmanyvalues")
def test_a_failing_insertmanyvalues_is_one_failed_span(recording: Recording) -> None:
    """When one of several driver calls fails, the one span ends with the error."""
    engine = memory()
    users = sa.Table("users", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("email", sa.Text))
    recording.take()
    rows = [{"email": f"{number}"} for number in range(2999)] + [{"email": "0"}]
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        connection.execute(sa.insert(users).returning(users.c.id), rows)
    assert (recording.one().attributes or {})["error.type"] == "IntegrityError"


def test_templates_of_compiled_statements_are_not_shown(recording: Recording) -> None:
    """Expanding lists and translated schemas make one statement, whatever is filled in."""
    engine = memory()
    users = sa.Table("users", sa.MetaData(), sa.Column("id", sa.Integer), schema="tenant")
    recording.take()
    translated = engine.execution_options(schema_translate_map={"tenant": None})
    with translated.connect() as connection:
        connection.execute(sa.select(users.c.id).where(users.c.id.in_([1, 2, 3])))
        connection.execute(sa.select(users.c.id).where(users.c.id.in_([4])))
    texts = {" ".join(str((span.attributes or {})["db.query.text"]).split()) for span in recording.spans}
    assert texts == {"SELECT users.id FROM users WHERE users.id IN (?)"}
    assert {span.name for span in recording.spans} == {"SELECT users"}


def test_a_list_is_one_placeholder_in_early_releases_too(recording: Recording) -> None:
    """SQLAlchemy 1.4 before 1.4.28 writes the template of a list without underscores; it is not shown either."""
    engine = memory()
    recording.take()
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1 AS [POSTCOMPILE_id_1]")
    assert (recording.one().attributes or {})["db.query.text"] == "SELECT ? AS ?"


def test_a_statement_that_never_reaches_the_driver_fails(recording: Recording) -> None:
    """A missing parameter is raised as without us, and marked."""
    engine = memory()
    recording.take()
    with engine.connect() as connection, pytest.raises(sa.exc.StatementError):
        connection.execute(sa.text("SELECT :missing"))
    assert (recording.one().attributes or {})["error.type"] in {"StatementError", "InvalidRequestError"}


def test_durations_are_recorded_by_operation(recording: Recording) -> None:
    """The histogram has a series for each operation and one for each way to fail, without the text."""
    engine = memory()
    with engine.connect() as connection:
        for _ in range(3):
            connection.execute(sa.text("SELECT * FROM users"))
        with pytest.raises(sa.exc.OperationalError):
            connection.execute(sa.text("SELECT * FROM nowhere"))
    by_summary = {a["db.query.summary"]: (a, count) for a, count in recording.points("db.client.operation.duration")}
    assert by_summary["SELECT users"] == (
        {
            "db.system.name": "sqlite",
            "db.operation.name": "SELECT",
            "db.collection.name": "users",
            "db.query.summary": "SELECT users",
        },
        3,
    )
    assert by_summary["SELECT nowhere"][0]["error.type"] == "OperationalError"


@pytest.mark.parametrize("rows", [1, 2])
def test_what_sqlalchemy_warns_of_is_about_the_line_of_the_application(recording: Recording, rows: int) -> None:
    """The first frame outside of SQLAlchemy's modules, where its warnings point to, is the application's."""
    found: list[str] = []

    def look(*_: object) -> str:
        frame = sys._getframe(1)
        while frame.f_back is not None and str(frame.f_globals["__name__"]).startswith("sqlalchemy."):
            frame = frame.f_back
        found.append(frame.f_code.co_name)
        return "told"

    def of_the_application() -> None:
        with engine.connect() as connection:
            connection.execute(users.insert(), [{"id": number} for number in range(rows)])

    users = sa.Table("users", sa.MetaData(), sa.Column("id", sa.Integer), sa.Column("email", sa.Text, default=look))
    engine = sa.create_engine("sqlite://", poolclass=QueuePool)
    OPENED.append(engine)
    sa.event.listen(engine, "connect", look)
    sa.event.listen(engine, "connect", lambda raw, _: raw.execute("CREATE TABLE users (id INTEGER, email TEXT)"))
    of_the_application()
    assert found == ["of_the_application"] * (1 + rows)


def test_an_unsampled_statement_still_counts() -> None:
    """Metrics do not depend on sampling."""
    recording = Recording(sampler="always_off")
    with instrumented(SqlalchemyInstrumentation, recording):
        memory()
    assert recording.spans == []
    assert [count for _, count in recording.points("db.client.operation.duration")] == [1]


def test_suppressed_code_is_silent(recording: Recording) -> None:
    """Inside `suppress_instrumentation()` there is neither span nor duration."""
    with suppress_instrumentation():
        memory()
    assert recording.spans == []
    assert recording.points("db.client.operation.duration") == []


def test_orm_and_derived_engines_count_once(recording: Recording) -> None:
    """ORM sessions and engines derived by `execution_options` make one span a statement."""
    engine = memory()
    recording.take()
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text("SELECT 1"))
    orm = importlib.import_module("sqlalchemy.orm")
    with orm.Session(engine) as session:
        session.execute(sa.text("SELECT 2"))
    assert [span.name for span in recording.spans] == ["SELECT", "SELECT"]


def test_a_pool_reports_its_connections(recording: Recording) -> None:
    """Used, idle and allowed connections are read at collection; waits and timeouts are measured."""
    engine = memory()
    name = "db.client.connection.pool.name"
    with engine.connect(), pytest.raises(sa.exc.TimeoutError):
        engine.connect()
    with engine.connect():
        counts = {a["db.client.connection.state"]: value for a, value in recording.points("db.client.connection.count")}
    assert counts == {"used": 1, "idle": 0}
    assert recording.points("db.client.connection.max") == [({name: "sqlite/"}, 1)]
    assert recording.points("db.client.connection.idle.max") == [({name: "sqlite/"}, 1)]
    assert recording.points("db.client.connection.pending_requests") == [({name: "sqlite/"}, 0)]
    assert recording.points("db.client.connection.timeouts") == [({name: "sqlite/"}, 1)]
    assert recording.points("db.client.connection.wait_time") == [({name: "sqlite/"}, 4)]


@pytest.mark.parametrize("kind", [QueuePool, NullPool])
def test_a_connection_that_cannot_be_made_is_a_failed_call(recording: Recording, kind: type[Pool]) -> None:
    """A database that is away fails no statement, for none is ever sent: what tells of it is the connection."""
    engine = sa.create_engine("sqlite:////nowhere/at/all.db", poolclass=kind)
    for _ in range(2):
        with pytest.raises(sa.exc.OperationalError):
            engine.connect()
    first, second = recording.take()
    assert (first.name, first.kind, first.status.status_code) == ("connect", SpanKind.CLIENT, StatusCode.ERROR)
    assert dict(first.attributes or {}) == dict(second.attributes or {})
    ((attributes, count),) = recording.points("db.client.operation.duration")
    assert count == 2
    assert attributes == {
        "db.system.name": "sqlite",
        "db.namespace": "/nowhere/at/all.db",
        "db.operation.name": "connect",
        "db.query.summary": "connect",
        "error.type": "OperationalError",
        "db.response.status_code": "SQLITE_CANTOPEN",
    }
    assert recording.points("db.client.connection.timeouts") == []


def test_a_check_that_finds_no_database_is_silent(recording: Recording) -> None:
    """What suppresses telemetry, as health checks do, makes none by failing either."""
    engine = sa.create_engine("sqlite:////nowhere/at/all.db")
    with suppress_instrumentation(), pytest.raises(sa.exc.OperationalError):
        engine.connect()
    assert not recording.take()
    assert recording.points("db.client.operation.duration") == []


def test_a_disposed_engine_reports_its_new_pool(recording: Recording) -> None:
    """After `dispose` the new pool is read."""
    engine = memory()
    engine.dispose()
    with engine.connect():
        counts = {a["db.client.connection.state"]: value for a, value in recording.points("db.client.connection.count")}
    assert counts["used"] == 1


def test_engines_that_are_garbage_are_forgotten(recording: Recording) -> None:
    """Telemetry keeps no engine alive, and what it knew of one goes with it."""
    for _ in range(5):
        memory()
    while OPENED:
        OPENED.pop().dispose()
    gc.collect()
    assert recording.points("db.client.connection.count") == []


def test_sqlcommenter_appends_the_trace_context() -> None:
    """With sqlcommenter on, the driver gets the traceparent of the span, and the span keeps the bare text."""
    recording = Recording({"OTEL_DISTRO_SQLCOMMENTER": "true"})
    sent: list[str] = []
    with instrumented(SqlalchemyInstrumentation, recording):
        engine = memory()
        sa.event.listen(engine, "before_cursor_execute", lambda *arguments: sent.append(arguments[2]))
        recording.take()
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1 ;"))
    span = recording.one()
    ids = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-0{span.context.trace_flags}"
    assert sent == [
        f"SELECT 1  /*db_driver='pysqlite',db_framework='sqlalchemy%3A{sa.__version__}',traceparent='{ids}'*/;"
    ]
    assert (span.attributes or {})["db.query.text"] == "SELECT ? ;"


class PlainDialect(DefaultDialect):
    """A dialect of an application's own, with no more than it has to have."""

    name = "plain"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        """SQLite's."""
        return sqlite3

    # by its name in 1.4; later the module goes by this name
    dbapi = None if MODERN else classmethod(lambda _: sqlite3)  # type: ignore[assignment]

    def create_connect_args(self, url: Any) -> tuple[tuple[str], dict[str, object]]:
        """In memory."""
        return (":memory:",), {}


@pytest.mark.parametrize("commented", [False, True])
def test_a_dialect_that_names_no_driver_is_traced(commented: bool) -> None:
    """Dialects of others name their database, and may do without a driver."""
    registry.register("plain", __name__, "PlainDialect")
    recording = Recording({"OTEL_DISTRO_SQLCOMMENTER": str(commented).lower()})
    with instrumented(SqlalchemyInstrumentation, recording):
        engine = sa.create_engine("plain://")
        OPENED.append(engine)
        recording.take()
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
    assert (recording.one().attributes or {})["db.system.name"] == "plain"
    assert recording.failures == []


def test_a_socket_is_the_address(recording: Recording) -> None:
    """A server that is reached by a socket has the socket for its address, by either name that drivers have for it."""
    registry.register("plain", __name__, "PlainDialect")
    for name in ("host", "unix_socket"):
        engine = sa.create_engine(f"plain:///shop?{name}=/run/db.sock")
        OPENED.append(engine)
        with engine.connect() as connection:
            recording.take()
            connection.execute(sa.text("SELECT 1"))
        assert (recording.one().attributes or {})["server.address"] == "/run/db.sock"


class MySQLDialect(PlainDialect):
    """Goes by the name of SQLAlchemy's own, of which other databases' dialects are made."""

    name = "offspring"


class WithoutEscapes(PlainDialect):
    """As SQLAlchemy's own becomes at a server in the mode NO_BACKSLASH_ESCAPES, which reads strings as SQLite does."""

    name = "mysql"
    _backslash_escapes = False


@pytest.mark.parametrize(
    ("dialect", "statement", "text"),
    [("MySQLDialect", 'SELECT 1 AS "joe"', "SELECT ? AS ?"), ("WithoutEscapes", "SELECT 'C:\\', 'joe'", "SELECT ?, ?")],
)
def test_strings_end_where_the_server_ends_them(recording: Recording, dialect: str, statement: str, text: str) -> None:
    """Dialects built on MySQL's have its quotings, and a server's mode decides what a backslash is."""
    registry.register(dialect.lower(), __name__, dialect)
    engine = sa.create_engine(f"{dialect.lower()}://")
    OPENED.append(engine)
    recording.take()
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    assert (recording.one().attributes or {})["db.query.text"] == text


def test_contribs_instrumentor_configures_ours() -> None:
    """`SQLAlchemyInstrumentor().instrument(engine=..., enable_commenter=True)` makes no second span and is honoured."""
    contrib = importlib.import_module("opentelemetry.instrumentation.sqlalchemy")
    recording = Recording()
    sent: list[str] = []
    with instrumented(SqlalchemyInstrumentation, recording) as instrumentation:
        instrumentation.instrument(contrib)
        engine = memory()
        contrib.SQLAlchemyInstrumentor().instrument(engine=engine, enable_commenter=True)
        sa.event.listen(engine, "before_cursor_execute", lambda *arguments: sent.append(arguments[2]))
        recording.take()
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
        assert len(recording.take()) == 1
        assert "traceparent=" in sent[0]
        contrib.SQLAlchemyInstrumentor().uninstrument()
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
        assert recording.spans == []
    assert "instrument" not in vars(contrib.SQLAlchemyInstrumentor)
    assert recording.failures == []


def test_drivers_are_silent_below_a_statement() -> None:
    """Once contrib instruments a driver, that is suppressed below a statement, and only there."""
    seen: list[bool] = []
    utils = importlib.import_module("opentelemetry.instrumentation.utils")
    recording = Recording()
    with instrumented(SqlalchemyInstrumentation, recording) as instrumentation:
        engine = memory()
        sa.event.listen(engine, "before_cursor_execute", lambda *_: seen.append(utils.is_instrumentation_enabled()))
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
            instrumentation.instrument(ModuleType("opentelemetry.instrumentation.dbapi"))
            connection.execute(sa.text("SELECT 1"))
        seen.append(utils.is_instrumentation_enabled())
    assert seen == [True, False, True]
    assert sorted(span.name for span in recording.spans) == ["CREATE TABLE users", "SELECT", "SELECT"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (type("E", (Exception,), {"sqlstate": "23505"})(), "23505"),
        (type("E", (Exception,), {"pgcode": "42P01"})(), "42P01"),
        (Exception(1062, "Duplicate entry"), "1062"),
        (type("OfPyMySQL", (Exception,), {"sqlstate": "23000"})(1062, "Duplicate entry"), "1062"),
        (type("OfConnector", (Exception,), {"sqlstate": "23000"})(1062, "1062 (23000)", "23000"), "1062"),
        (Exception(0, ""), None),
        (ConnectionResetError(104, "Connection reset by peer"), None),
        (Exception("text"), None),
    ],
)
def test_the_databases_code_is_found(error: Exception, expected: str | None) -> None:
    """SQLSTATE and MySQL's numbers are found where drivers keep them, the number first where both are told."""
    assert status_code(error) == expected


def test_what_is_remembered_of_statements_is_bounded() -> None:
    """Ten thousand statements that differ in their literals are one series, and memory for them has an end."""
    recording = Recording()
    with instrumented(SqlalchemyInstrumentation, recording) as instrumentation:
        engine = memory()
        with engine.connect() as connection:
            for number in range(10_000):
                connection.exec_driver_sql(f"SELECT {number} -- {'x' * 400}")
        kept = [text for state in instrumentation._statements._states.values() for text in state.statements]
    assert 0 < sum(map(len, kept)) < 4_000_000
    counted = [
        count for a, count in recording.points("db.client.operation.duration") if a["db.query.summary"] == "SELECT"
    ]
    assert counted == [10_000]
