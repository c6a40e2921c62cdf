"""A span around `Connection._execute_context`, through which every statement of every engine goes.

SQLAlchemy's public events were tried: listening alone costs 6 us a statement, half of what the statement itself
takes, and four are needed to tell the end of one `execute()`: each batch of `insertmanyvalues` fires a pair, a
cancelled statement only `handle_error`, an error that skips user events nothing. The private method has had its name
and arguments since SQLAlchemy 0.5; a version without it is named and left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from time import perf_counter
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.trace import Span

from otel_distro._compat import OLD_SUPPRESS_KEY, SUPPRESS_KEY
from otel_distro.guard import Guard
from otel_distro.instrumentation.binding import Starts
from otel_distro.instrumentation.calls import CLIENT, current, parent_in
from otel_distro.instrumentation.database import Operation
from otel_distro.standing_in import standing_in
from otel_distro.tracing.context import attach, detach, suppressed_in

from .engines import Engines, EngineState

if TYPE_CHECKING:
    from .commenter import Commenter

_METHOD = "_execute_context"
_METHOD_OF_DEFAULTS = "_cursor_execute"
"""What is executed as such, `connection.scalar(Sequence(...))`, goes through this alone."""
_RUNNING = "_otel_distro_running"
_PART = "instrumentation sqlalchemy"


class Statements:
    """The patch.

    Nothing is made current while a statement runs: no code below a cursor looks for it.

    Args:
        tracer: starts spans.
        engines: knows them.
        guard: where failures go.

    Attributes:
        tracer: may be replaced at any time.
    """

    def __init__(self, tracer: Starts, engines: Engines, guard: Guard) -> None:
        self.tracer = tracer
        self._engines = engines
        self._states = engines.states
        self._guard = guard
        self._originals: dict[str, Callable[..., Any]] = {}
        self._commenter: Commenter | None = None
        self._listening = False
        self._silent = False
        self._has_extras = False

    def silence_drivers(self) -> None:
        """Let instrumentations of drivers make no spans below ours from now on; costs a context for each statement."""
        self._silent = True
        self._has_extras = True

    def wrap(self) -> None:
        """Start; engines that exist and connections that are open count from their next statement on."""
        if self._originals:
            return
        from sqlalchemy.engine import Connection

        if not hasattr(Connection, _METHOD):
            self._guard.failed(_PART, f"this version of SQLAlchemy has no Connection.{_METHOD}")
            return
        self._replace(Connection, _METHOD, self._wrapper)
        if hasattr(Connection, _METHOD_OF_DEFAULTS):
            self._replace(Connection, _METHOD_OF_DEFAULTS, self._wrapper_of_defaults)
        self.comment_with(self._commenter)

    def unwrap(self) -> None:
        """Take the patch back."""
        if not self._originals:
            return
        from sqlalchemy.engine import Connection

        for method, original in self._originals.items():
            setattr(Connection, method, original)
        self._originals.clear()
        self._listen(listen=False)

    def comment_with(self, commenter: Commenter | None) -> None:
        """Append comments to statements from now on; None for none."""
        self._commenter = commenter
        if self._originals:
            self._listen(listen=commenter is not None)

    def _replace(self, kind: type, method: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        original = self._originals[method] = getattr(kind, method)
        setattr(kind, method, wrapper(original))

    def _listen(self, *, listen: bool) -> None:
        if listen is not self._listening:
            from sqlalchemy import event
            from sqlalchemy.engine import Engine

            self._listening = listen
            self._has_extras = self._silent or self._listening
            if listen:
                event.listen(Engine, "before_cursor_execute", self.before_cursor_execute, retval=True)
            else:
                event.remove(Engine, "before_cursor_execute", self.before_cursor_execute)

    def _wrapper(self, original: Callable[..., Any]) -> Callable[..., Any]:
        guard, whole, failed, states = self._guard, self._whole(original), self._failed, self._states

        def execute_context(
            conn: Any, dialect: Any, constructor: Any, statement: Any, parameters: Any, *args: Any, **kwargs: Any
        ) -> Any:
            # several sets of parameters are a batch; what is no list is looked at under guard
            several = parameters and (parameters.__class__ is not list or len(parameters) > 1)
            if several or self._has_extras or self.tracer.brief is None:
                return whole(conn, dialect, constructor, statement, parameters, *args, **kwargs)
            started = perf_counter()
            try:
                result = original(conn, dialect, constructor, statement, parameters, *args, **kwargs)
            except BaseException as error:
                guard.call(_PART, None, failed, conn, statement, started, error)
                raise
            try:
                context = current()
                if (SUPPRESS_KEY in context or OLD_SUPPRESS_KEY in context) and suppressed_in(context):
                    return result
                state, operation = states.get(id(dialect)), None
                if state is not None:
                    operation = state.statements.get(statement if statement.__class__ is str else statement.string)
                (operation or self._learn(conn, statement, batch=False)).ended(self.tracer, context, started)
            except Exception as error:  # noqa: BLE001 - the result is the application's
                guard.failed(_PART, error)
            return result

        return standing_in(original, execute_context)

    def _wrapper_of_defaults(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """What executes a sequence or a default by itself; for an INSERT that needs one, it is part of that."""
        wrapped = self._wrapper(lambda conn, _dialect, call, _statement, _none: call(conn))

        def cursor_execute(conn: Any, cursor: Any, statement: Any, parameters: Any, context: Any = None) -> Any:
            if context is None or context.compiled is not None:
                return original(conn, cursor, statement, parameters, context)

            def call(conn: Any) -> Any:
                return original(conn, cursor, statement, parameters, context)

            return wrapped(conn, conn.dialect, call, statement, None)

        return standing_in(original, cursor_execute)

    def _failed(self, conn: Any, statement: Any, started: float, error: BaseException) -> None:
        context, cause = current(), _cause(error)
        if not suppressed_in(context):
            operation = self._learn(conn, statement, batch=False)
            operation.failed(self.tracer, context, started, cause, status_code(cause))

    def unconnected(self, state: EngineState, started: float, error: Exception) -> None:
        """No connection could be made: a failed call, for no statement of a database that is away ever gets this far.

        Args:
            state: of the engine.
            started: by `time.perf_counter`.
            error: SQLAlchemy's or the driver's.
        """
        context, cause = current(), _cause(error)
        if self._originals and not suppressed_in(context):
            connecting = self._engines.learn_connecting(state)
            connecting.failed(self.tracer, context, started, cause, status_code(cause))

    def _whole(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The same with a span that others can see from the start."""
        guard = self._guard

        def execute_context(
            conn: Any, dialect: Any, constructor: Any, statement: Any, parameters: Any, *args: Any, **kwargs: Any
        ) -> Any:
            operation: Operation | None = None
            span: Span | None = None
            token: Token[Context] | None = None
            started = 0.0
            try:
                context = current()
                if not (context and suppressed_in(context)):
                    operation = self._learn(conn, statement, batch=bool(parameters) and len(parameters) > 1)
                    begun = self.tracer.begin(operation.name, CLIENT, parent_in(context), operation.attributes.copy())
                    if self._has_extras or operation.batch:
                        token = self._extras(conn, begun, operation, parameters, context)
                    span, started = begun, perf_counter()
            except Exception as error:  # noqa: BLE001 - the statement runs as it would without us
                guard.failed(_PART, error)
            try:
                result = original(conn, dialect, constructor, statement, parameters, *args, **kwargs)
            except BaseException as error:
                if span is not None and operation is not None:
                    cause = _cause(error)
                    guard.call(_PART, None, operation.fail, span, started, cause, status_code(cause))
                raise
            finally:
                if token is not None:
                    detach(token)
            if span is not None and operation is not None:
                try:
                    operation.end(span, started)
                except Exception as error:  # noqa: BLE001 - see above
                    guard.failed(_PART, error)
            return result

        return standing_in(original, execute_context)

    def _learn(self, conn: Any, statement: Any, *, batch: bool) -> Operation:
        """The operation of a statement, also of one that has not been seen before."""
        text: str = statement if isinstance(statement, str) else statement.string
        state = self._engines.learn(conn.engine)
        known = (state.batches if batch else state.statements).get(text)
        if known is not None:
            return known
        # SQLAlchemy asks MySQL and PostgreSQL with the first connection
        escapes: bool | None = getattr(conn.dialect, "_backslash_escapes", None)
        return self._engines.learn_statement(state, text, batch=batch, escapes=escapes)

    def _extras(
        self, conn: Any, span: Span, operation: Operation, parameters: Any, context: Context
    ) -> Token[Context] | None:
        if operation.batch:
            span.set_attribute("db.operation.batch.size", len(parameters))
        if self._listening:
            conn.__dict__[_RUNNING] = span
        return attach(Context({**context, SUPPRESS_KEY: True})) if self._silent else None

    def before_cursor_execute(  # noqa: PLR0917 - SQLAlchemy's
        self, conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
    ) -> tuple[str, Any]:
        """The text of a statement goes to the driver: here a comment can be appended."""
        try:
            span: Span | None = conn.__dict__.get(_RUNNING)
            commenter = self._commenter
            if span is not None and commenter is not None and span.is_recording():
                statement = commenter.comment(statement, span, context)
        except Exception as error:  # noqa: BLE001 - see above
            self._guard.failed(_PART, error)
        return statement, parameters


def _cause(error: BaseException) -> BaseException:
    original = getattr(error, "orig", None)
    return original if isinstance(original, BaseException) else error


def status_code(error: BaseException) -> str | None:
    """The database's own code of an error: MySQL's number, SQLSTATE or SQLite's name.

    Source: semantic conventions, "MySQL", where the number is the code also if the driver tells SQLSTATE as well.
    """
    if isinstance(error, OSError):
        # its number is the system's
        return None
    arguments: tuple[Any, ...] = getattr(error, "args", ())
    # before SQLSTATE, which some of MySQL's drivers tell as well
    if len(arguments) in {2, 3} and type(arguments[0]) is int:
        return str(arguments[0]) if arguments[0] > 0 else None
    for attribute in ("sqlstate", "pgcode", "sqlite_errorname"):
        code = getattr(error, attribute, None)
        if code:
            return str(code)
    return None
