"""What is known of each engine: its attributes, its statements and its pool, found by its dialect.

An engine's dialect is made for it alone and shared with what `execution_options()` derives from it, so it is the one
object that stands for all of them, and a plain attribute of every connection.
"""

from __future__ import annotations

import re
import weakref
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import Histogram

from otel_distro.bounded import BoundedCache
from otel_distro.instrumentation.database import Operation
from otel_distro.instrumentation.sql_summary import Summary, summarize
from otel_distro.redaction import sanitize_sql

if TYPE_CHECKING:
    from otel_distro.spent import Spent

_MAX_WEIGHT = 4_000_000
"""Statements remembered in one process, in characters; when they are more, all are forgotten and learnt again."""
_WEIGHT_OF_OPERATION = 1000
_WEIGHT_OF_ENTRY = 100
_HEAVIEST = 100_000

_LIST_TEMPLATE = re.compile(r"(?:__)?\[POSTCOMPILE_[^\]]*\]")  # early releases of 1.4 have no underscores
_SCHEMA_TEMPLATE = re.compile(r'["`\[]?__\[SCHEMA_[^\]]*\]["`\]]?\.')

_CONNECT = "connect"

_SYSTEMS = {
    "oracle": "oracle.db",
    "mssql": "microsoft.sql_server",
    "redshift": "aws.redshift",
    "spanner+spanner": "gcp.spanner",
    "hana": "sap.hana",
    "ibm_db_sa": "ibm.db2",
    "firebird": "firebirdsql",
    "informix": "ibm.informix",
    "teradatasql": "teradata",
}
"""SQLAlchemy's dialect names that are not the `db.system.name` of their database."""


class Connecting(Operation):
    """Making a connection, which is told where it fails: no statement, and nothing that a request spent on any."""

    __slots__ = ()

    def _spend(self, spent: Spent, seconds: float) -> None:
        pass


class EngineState:
    """One engine, as far as telemetry is concerned.

    Attributes:
        attributes: of every span: system, namespace, server.
        dialect: whose quotings its statements have; MySQL's for the dialects of others that are built on it.
        statements: operations by the text of their statement.
        batches: operations of `executemany` by text.
        connecting: the operation of a connection that cannot be made, once there was one.
        texts: both by sanitised text: statements that differ in their literals alone are one operation.
        pool: the newest pool; an engine makes a new one when it is disposed of.
        pool_name: for metrics.
        waiting: one entry for each thread or task that waits for a connection.
    """

    __slots__ = (
        "attributes",
        "batches",
        "connecting",
        "dialect",
        "pool",
        "pool_name",
        "pool_series",
        "statements",
        "texts",
        "waiting",
    )

    def __init__(self, engine: Any) -> None:
        url = engine.url
        name: str = engine.dialect.name
        self.dialect = "mysql" if "MySQLDialect" in [kind.__name__ for kind in type(engine.dialect).__mro__] else name
        self.attributes = _attributes(name, url)
        self.statements: dict[str, Operation] = {}
        self.batches: dict[str, Operation] = {}
        self.connecting: Connecting | None = None
        self.texts: dict[tuple[str, bool], Operation] = {}
        self.pool: weakref.ref[Any] = weakref.ref(engine.pool)
        self.pool_name = _pool_name(engine.pool, self.attributes)
        self.pool_series: Any = None
        self.waiting: list[None] = []


class Engines:
    """All engines that did something so far; one that is garbage is forgotten.

    Args:
        histogram: `db.client.operation.duration`.
    """

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._left = _MAX_WEIGHT
        self.states: dict[int, EngineState] = {}
        self._references: dict[int, weakref.ref[Any]] = {}
        self._texts: BoundedCache[tuple[str, bool | None, str], str] = BoundedCache(_MAX_WEIGHT)
        self._summaries: BoundedCache[str, Summary] = BoundedCache(_MAX_WEIGHT)

    def learn(self, engine: Any) -> EngineState:
        """The state of an engine, made at its first use."""
        dialect = engine.dialect
        key = id(dialect)
        state = self.states.get(key)
        if state is None:
            state = EngineState(engine)
            self._references[key] = weakref.ref(dialect, lambda _: self._forget(key))
            self.states[key] = state
        return state

    def learn_connecting(self, state: EngineState) -> Operation:
        """The operation of a connection that could not be made."""
        found = state.connecting
        if found is None:
            attributes = {**state.attributes, "db.operation.name": _CONNECT, "db.query.summary": _CONNECT}
            found = state.connecting = Connecting(_CONNECT, attributes, self._histogram, batch=False)
        return found

    def learn_statement(self, state: EngineState, statement: str, batch: bool, escapes: bool | None) -> Operation:
        """The operation of a statement, made at its first execution; see `sanitize_sql` for `escapes`."""
        text = self._text(statement, state.dialect, escapes)
        operation = state.texts.get((text, batch))
        if operation is None:
            summary = self._summaries.get(text) or self._summaries.keep(text, summarize(text), 2 * len(text))
            operation = state.texts[text, batch] = _operation(state, text, summary, batch, self._histogram)
            self._left -= len(text) + _WEIGHT_OF_OPERATION
        self._keep(state.batches if batch else state.statements, statement, operation)
        return operation

    def _text(self, statement: str, dialect: str, escapes: bool | None) -> str:
        key = (dialect, escapes, statement)
        text = self._texts.get(key)
        if text is None:
            text = sanitize_sql(_without_templates(statement), dialect, escapes)
            self._texts.keep(key, text, 2 * len(statement))
        return text

    def _keep(self, statements: dict[str, Operation], statement: str, operation: Operation) -> None:
        if len(statement) > _HEAVIEST:
            return
        self._left -= len(statement) + _WEIGHT_OF_ENTRY
        if self._left < 0:
            self._left = _MAX_WEIGHT
            for state in tuple(self.states.values()):
                state.statements.clear()
                state.batches.clear()
                state.texts.clear()
        statements[statement] = operation

    def _forget(self, key: int) -> None:
        self.states.pop(key, None)
        self._references.pop(key, None)


def _operation(state: EngineState, text: str, summary: Summary, batch: bool, histogram: Histogram) -> Operation:
    attributes = dict(state.attributes)
    prefix = "BATCH " if batch else ""
    name = attributes.get("db.namespace") or attributes["db.system.name"]
    if summary.operation:
        attributes["db.operation.name"] = prefix + summary.operation
    if summary.collection:
        attributes["db.collection.name"] = summary.collection
    if summary.text:
        name = attributes["db.query.summary"] = prefix + summary.text
    if text:
        attributes["db.query.text"] = text
    return Operation(str(name), attributes, histogram, batch)


def _without_templates(statement: str) -> str:
    """A compiled statement without what SQLAlchemy fills in when it is executed: expanding lists, schema names."""
    if "__[" not in statement and "[POSTCOMPILE_" not in statement:
        return statement
    return _SCHEMA_TEMPLATE.sub("", _LIST_TEMPLATE.sub("?", statement))


def _attributes(dialect: str, url: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {"db.system.name": _SYSTEMS.get(dialect, dialect)}
    if url.database:
        attributes["db.namespace"] = url.database
    # a socket goes by either name in the URL
    host = url.host or url.query.get("host") or url.query.get("unix_socket")
    if isinstance(host, str) and host:
        attributes["server.address"] = host
        if url.port:
            attributes["server.port"] = url.port
    return attributes


def _pool_name(pool: Any, attributes: dict[str, Any]) -> str:
    """The pool's own name, else `server.address:server.port/db.namespace` (semantic conventions)."""
    named = getattr(pool, "logging_name", None)
    if named:
        return str(named)
    address = str(attributes.get("server.address", attributes["db.system.name"]))
    port = f":{attributes['server.port']}" if "server.port" in attributes else ""
    return f"{address}{port}/{attributes.get('db.namespace', '')}"
