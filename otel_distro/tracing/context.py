"""The current span: put in place and taken away with one context variable, seen by the whole OpenTelemetry API.

A token that belongs to another context (an async generator closed by the event loop, a callback run elsewhere) is
restored without a word: opentelemetry-python #2606 logs an error for each of them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import Token
from types import TracebackType
from typing import Any, TypeVar, cast

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, Status, StatusCode

from otel_distro import _compat
from otel_distro._compat import IS_VALID, OLD_SUPPRESS_KEY, SPAN_KEY, SUPPRESS_KEY
from otel_distro.guard import let_through

F = TypeVar("F", bound=Callable[..., Any])

_VARIABLE = _compat.context_variable()
_current = _VARIABLE.get
_set = _VARIABLE.set
reset_context = _VARIABLE.reset
"""What `detach` does first: raises where the token is of another context, or used."""
attach = _set
"""Make a `Context` the current one; give the token to `detach`."""


def attach_span(span: Span) -> Token[Context]:
    """Make `span` the current one; give the token to `detach`, in the same task or thread."""
    before = _current()
    # a context without other values is the usual one, and costs half as much to make anew as to copy
    if len(before) < 2 and (not before or SPAN_KEY in before):
        return _set(Context({SPAN_KEY: span}))
    return _set(Context({**before, SPAN_KEY: span}))


def detach(token: Token[Context], span: Span | None = None) -> None:
    """Put back what was current before; never raises, never logs.

    Args:
        token: from `attach_span`; one of another context, or one used before, is accepted.
        span: what was attached. Where the token is of another context and this span is still the current one here,
            what was current before it becomes current again.
    """
    try:
        reset_context(token)
    except Exception as error:  # noqa: BLE001 - ValueError: another context's; RuntimeError: used before; a foreign runtime: any
        if span is not None and _current().get(SPAN_KEY) is span:
            before = getattr(token, "old_value", None)
            _set(before if isinstance(before, Context) else Context())
        let_through(error)


def end_after(span: Span, seconds: float) -> None:
    """End `span` so long after its start, by a clock that never jumps; the wall clock may be set meanwhile.

    Args:
        span: any implementation's; one that does not tell its start ends now.
        seconds: how long it has lasted, by `time.perf_counter`.
    """
    began: int | None = getattr(span, "start_time", None)
    span.end(None if began is None else began + int(seconds * 1e9))


def current_span() -> Span | None:
    """The current span, or None."""
    span = _current().get(SPAN_KEY)
    return span if isinstance(span, Span) else None


def current_span_context() -> SpanContext | None:
    """The current span's context where it is valid, else None: what `Tracer.begin` takes as parent."""
    return span_context_in(_current())


def span_context_in(context: Context) -> SpanContext | None:
    """The span context that `context` holds where it is valid, else None."""
    span: Any = context.get(SPAN_KEY)
    if span is None:
        return None
    try:
        # no isinstance check of the span: Span is an abstract base class, and asking one costs more than all the rest
        found = span.get_span_context()
    except Exception as error:  # noqa: BLE001 - a third party's span may be anything
        let_through(error)
        return None
    return found if isinstance(found, SpanContext) and found[IS_VALID] else None


def suppressed() -> bool:
    """Whether the current code asked for no telemetry (an exporter at work, `suppress_instrumentation()`)."""
    context = _current()
    return bool(context) and (SUPPRESS_KEY in context or OLD_SUPPRESS_KEY in context) and suppressed_in(context)


def suppressed_in(context: Context) -> bool:
    """Whether `context` asks for no telemetry; frequent callers look first whether one of the two keys is there."""
    return bool(context.get(SUPPRESS_KEY) or context.get(OLD_SUPPRESS_KEY))


class use_span:  # noqa: N801 - named like the function of the API that it stands in for
    """`opentelemetry.trace.use_span` as a class: a context manager that is a decorator as well.

    Args:
        span: what becomes current.
        end_on_exit: end it on the way out.
        record_exception: record an `Exception` that passes through as an event.
        set_status_on_exception: set the status to ERROR for an `Exception` that passes through.
    """

    __slots__ = ("_end", "_record", "_span", "_status", "_token")

    _token: Token[Context]

    def __init__(
        self,
        span: Span,
        end_on_exit: bool = False,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> None:
        self._span = span
        self._end = end_on_exit
        self._record = record_exception
        self._status = set_status_on_exception

    def __enter__(self) -> Span:
        self._token = attach_span(self._span)
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        span = self._span
        detach(self._token, span)
        # a BaseException (GeneratorExit, CancelledError, SystemExit) is no error of the operation: python #4484
        if isinstance(error, Exception) and isinstance(span, Span):
            if not span.is_recording():
                self._pass(error)
            else:
                if self._record:
                    span.record_exception(error)
                if self._status:
                    span.set_status(error_status(error))
        if self._end:
            span.end()

    def __call__(self, function: F) -> F:
        """Run every call of `function`, to its end where it is a coroutine function, inside this context manager."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return cast("F", run_async)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return cast("F", run)

    def _pass(self, error: Exception) -> None:
        """An exception leaves a span that does not record."""

    def _again(self) -> use_span:
        return use_span(self._span, self._end, self._record, self._status)


def error_status(error: BaseException) -> Status:
    """The status of a span that ends with `error`; its text tells no literals, keys or tokens."""
    # late: a process without errors does not need it
    from otel_distro.redaction import redact_error

    return Status(StatusCode.ERROR, f"{type(error).__name__}: {redact_error(text_of(error))}")


def text_of(error: BaseException) -> str:
    """`str(error)`, also where that raises."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception's own __str__ may raise anything
        return "<unprintable>"


__all__ = [
    "attach",
    "attach_span",
    "current_span",
    "current_span_context",
    "detach",
    "error_status",
    "reset_context",
    "span_context_in",
    "suppressed",
    "suppressed_in",
    "text_of",
    "use_span",
]
