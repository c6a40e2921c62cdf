"""Listeners on the class `Engine`: a span begins before a statement's first cursor call and ends after its last."""

from __future__ import annotations

from contextvars import Token
from typing import Any

from opentelemetry.context import Context

from otel_distro._compat import SUPPRESS_KEY
from otel_distro.guard import Guard
from otel_distro.instrumentation.calls import current
from otel_distro.instrumentation.database import DatabaseCalls, Running, suppressed
from otel_distro.tracing.context import attach, detach

from .commenter import Commenter
from .engines import Engines

_RUNNING = "_otel_distro_running"
_PART = "instrumentation sqlalchemy"
# How SQLAlchemy 2.x names the way of execution that makes several driver calls of one `execute()`.
_INSERT_MANY_VALUES = "INSERTMANYVALUES"


class Statement(Running):
    """A statement that runs.

    Attributes:
        batch: several driver calls make it up; it ends when `execute()` is over.
        token: restores the context where drivers were silenced.
    """

    __slots__ = ("batch", "token")

    batch: bool
    token: Token[Context] | None


class Events:
    """The listeners.

    Nothing is made current while a statement runs: no code below a cursor looks for it, and an asynchronous driver runs
    in another greenlet.

    Args:
        calls: begins spans.
        engines: knows them.
        guard: where failures go.

    Attributes:
        commenter: appends the trace context to statements; None by default.
        silences_drivers: whether instrumentations of drivers are to make no spans.
    """

    def __init__(self, calls: DatabaseCalls, engines: Engines, guard: Guard) -> None:
        self._calls = calls
        self._engines = engines
        self._states = engines.states
        self._guard = guard
        self._listening = False
        self.commenter: Commenter | None = None
        self.silences_drivers = False

    def listen(self) -> None:
        """Start listening; engines that exist and connections that are open count from their next statement on."""
        if self._listening:
            return
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        self._listening = True
        event.listen(Engine, "before_cursor_execute", self.before_cursor_execute, retval=True)
        event.listen(Engine, "after_cursor_execute", self.after_cursor_execute)
        event.listen(Engine, "after_execute", self.after_execute)
        event.listen(Engine, "handle_error", self.handle_error)

    def unlisten(self) -> None:
        """Stop listening."""
        if not self._listening:
            return
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        self._listening = False
        for name in ("before_cursor_execute", "after_cursor_execute", "after_execute", "handle_error"):
            event.remove(Engine, name, getattr(self, name))

    def before_cursor_execute(  # noqa: PLR0917 - SQLAlchemy's
        self, conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
    ) -> tuple[str, Any]:
        """A driver call is about to be made."""
        try:
            surroundings = current()
            if context is None or (surroundings and suppressed(surroundings)):
                return statement, parameters
            running = context.__dict__.get(_RUNNING)
            if running is None:
                running = self._begin(conn, statement, parameters, context, executemany, surroundings)
            if self.commenter is not None:
                statement = self.commenter.comment(statement, running.span, context)
        except Exception as error:  # noqa: BLE001 - the statement runs as it would without us
            self._guard.failed(_PART, error)
        return statement, parameters

    def after_cursor_execute(  # noqa: PLR0917 - SQLAlchemy's
        self, conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
    ) -> None:
        """A driver call has come back."""
        try:
            running = context.__dict__.get(_RUNNING)
            if running is not None and not running.batch:
                self._ended(context, running)
                running.end()
        except Exception as error:  # noqa: BLE001 - see above
            self._guard.failed(_PART, error)

    def after_execute(self, *arguments: Any) -> None:
        """An `execute()` is over; only one of several driver calls is still open. The last argument is the result."""
        try:
            context = getattr(arguments[-1], "context", None)
            running = None if context is None else context.__dict__.get(_RUNNING)
            if running is not None:
                self._ended(context, running)
                running.end()
        except Exception as error:  # noqa: BLE001 - see above
            self._guard.failed(_PART, error)

    def handle_error(self, failure: Any) -> None:
        """A statement has failed, or its task was cancelled: then no other event comes."""
        try:
            context = failure.execution_context
            running = None if context is None else context.__dict__.get(_RUNNING)
            if running is not None:
                self._ended(context, running)
                running.fail(failure.original_exception, status_code(failure.original_exception))
        except Exception as error:  # noqa: BLE001 - see above
            self._guard.failed(_PART, error)

    def _begin(  # noqa: PLR0917 - one call, on the hot path
        self, conn: Any, statement: str, parameters: Any, context: Any, executemany: bool, surroundings: Context
    ) -> Statement:
        state = self._states.get(id(conn.dialect))
        if state is None:
            state = self._engines.learn(conn.engine)
        size, several = 0, False
        if executemany:
            several = getattr(getattr(context, "execute_style", None), "name", None) == _INSERT_MANY_VALUES
            size = len(context.compiled_parameters if several else parameters)
            if several:
                # the driver gets it with thousands of placeholders, and with another number of them the last time
                statement = context.statement
        batch = size > 1
        operation = (state.batches if batch else state.statements).get(statement)
        if operation is None:
            operation = self._engines.learn_statement(state, statement, batch)
        running = self._calls.start(operation, surroundings, Statement)
        if batch and running.span.is_recording():
            running.span.set_attribute("db.operation.batch.size", size)
        running.batch = several
        running.token = attach(Context({**surroundings, SUPPRESS_KEY: True})) if self.silences_drivers else None
        context.__dict__[_RUNNING] = running
        return running

    @staticmethod
    def _ended(context: Any, running: Statement) -> None:
        del context.__dict__[_RUNNING]
        if running.token is not None:
            detach(running.token)


def status_code(error: BaseException) -> str | None:
    """The database's own code of an error: SQLSTATE, MySQL's number or SQLite's name."""
    for attribute in ("sqlstate", "pgcode", "sqlite_errorname"):
        code = getattr(error, attribute, None)
        if code:
            return str(code)
    arguments: tuple[Any, ...] = getattr(error, "args", ())
    return str(arguments[0]) if len(arguments) == 2 and type(arguments[0]) is int else None
