"""Operations of the application: a span, an outcome and a duration for a function or a block, inside requests and out.

An operation outside of a request (a bot's handler, a queue's job, a script) is what a request is elsewhere: what
`set_user` and `set_context` say within it ends with it, its spans and log records share an id, and its span tells what
its calls to databases and services cost.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextvars import ContextVar, Token
from functools import partial, wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from time import perf_counter
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar, cast, overload

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Tracer
from opentelemetry.util.types import AnyValue

from ._version import __version__
from .captures import captured_on, failed
from .context import RequestScope, close_scope, current, current_scope, open_scope, tell
from .errors import note
from .measure import timed
from .tracing.context import attach_span, detach, end_after, error_status

P = ParamSpec("P")
R = TypeVar("R")

OUTCOME: Final = "operation.outcome"
"""`success`, `failure` (an exception left the operation) or `cancelled` (one that is no `Exception` did)."""

_DURATION: Final = timed("operation", description="Duration of the application's operations.", active=True, most=200)
_PART = "operation"


class Operation:
    """What a call of `operation` gives: a decorator, and a context manager for `with` and `async with`.

    As a context manager it gives the span. One object may serve several blocks, nested or side by side.

    Args:
        name: of the span and of the metric's label; the function's own where it decorates one and this is None.
        attributes: of the span.
        kind: of the span.
        metrics: whether `operation.duration` and `operation.active` are measured.
    """

    __slots__ = ("_attributes", "_kind", "_metrics", "_name", "_open")

    def __init__(
        self, name: str | None, attributes: Mapping[str, AnyValue] | None, kind: SpanKind, *, metrics: bool
    ) -> None:
        self._name = name
        self._attributes = dict(attributes or {})
        self._kind = kind
        self._metrics = metrics
        self._open: dict[_Block, None] = {}

    def begin(self) -> _Run | None:
        """Begin one run; None where that failed, and the application goes on without it."""
        try:
            return _Run(self._name or _PART, self._attributes, self._kind, metrics=self._metrics)
        except Exception as error:  # noqa: BLE001 - a third party's sampler or span processor
            failed(_PART, error)
            return None

    def __enter__(self) -> Span:
        running = self.begin()
        block = _Block(self, running, _block.get())
        self._open[block] = None
        _block.set(block)
        return trace.INVALID_SPAN if running is None else running.span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        block = self._innermost()
        if block is not None:
            _end(block.running, error)

    def _innermost(self) -> _Block | None:
        """The block of this operation that the running code is in, closed; None where that is unknown."""
        block = _block.get()
        while block is not None and (block.operation is not self or block not in self._open):
            block = block.outer
        if block is not None:
            self._open.pop(block, None)
            _block.set(block.outer)
        elif self._open:
            # the end runs in another context than the beginning: an asynchronous generator that was abandoned
            block, _ = self._open.popitem()
        return block

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Make every call of `function` a run of this operation: to its end for coroutines and generators."""
        made = self._of(function)
        if iscoroutinefunction(function):
            return cast("Callable[P, R]", _coroutine(made, function))
        if isasyncgenfunction(function):
            return cast("Callable[P, R]", _async_generator(made, function))
        if isgeneratorfunction(function):
            return cast("Callable[P, R]", _generator(made, function))
        return _function(made, function)

    def _of(self, function: Callable[..., object]) -> Operation:
        name = getattr(function, "__qualname__", type(function).__qualname__)
        module = getattr(function, "__module__", None)
        attributes = {"code.function.name": f"{module}.{name}" if module else name, **self._attributes}
        return Operation(self._name or name, attributes, self._kind, metrics=self._metrics)


@overload
def operation(name: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def operation(
    name: str | None = None,
    /,
    *,
    attributes: Mapping[str, AnyValue] | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    metrics: bool = True,
) -> Operation: ...


def operation(
    name: Any = None,
    /,
    *,
    attributes: Mapping[str, AnyValue] | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    metrics: bool = True,
) -> Any:
    """Name a piece of the application's work.

        @operation
        async def analyze(call): ...

        @operation("orders.sync", kind=SpanKind.CONSUMER)
        def job(shop): ...

        with operation("rank", attributes={"candidates": len(found)}) as span: ...

    Functions, coroutine functions, generators and asynchronous generators keep their signature. A generator's span is
    current while the generator runs, not while its consumer does.

    Args:
        name: of the span, and value of the metrics' label `operation.name`: one of few, so no ids in it. The
            function's own by default; `operation` where there is none.
        attributes: of the span.
        kind: of the span; `CONSUMER` for a message, `SERVER` for a call from elsewhere.
        metrics: measure `operation.duration` in seconds, by `operation.name`, `outcome` and `error.type`, whose count
            is the number of calls, and `operation.active`.
    """
    made = Operation(None if callable(name) else name, attributes, kind, metrics=metrics)
    return made(name) if callable(name) else made


class _Block:
    """A `with` block of an operation, in the context it was entered in.

    Args:
        operation: whose block it is.
        running: its run, None where that could not begin.
        outer: the block around it.
    """

    __slots__ = ("operation", "outer", "running")

    def __init__(self, operation: Operation, running: _Run | None, outer: _Block | None) -> None:
        self.operation = operation
        self.running = running
        self.outer = outer


_block: ContextVar[_Block | None] = ContextVar("otel_distro_block", default=None)


class _Run:
    """One run of an operation, from its begin to `end`."""

    __slots__ = ("_before", "_began", "_ended", "_labels", "_scope", "_token", "span")

    def __init__(self, name: str, attributes: Mapping[str, AnyValue], kind: SpanKind, *, metrics: bool) -> None:
        self._labels = {"operation.name": name} if metrics else None
        self._ended = False
        self._token: Token[Context] | None = None
        self.span = _tracer().start_span(name, kind=kind, attributes=attributes)
        self._began = perf_counter()
        self._scope = _scope_of(self.span)
        self.resume()
        self._before = current()
        if self._labels is not None:
            _DURATION.entered(self._labels)

    def resume(self) -> None:
        """The operation's own code runs: its span and scope are the current ones."""
        if self._scope is not None:
            open_scope(self._scope)
        self._token = attach_span(self.span)

    def pause(self) -> None:
        """Somebody else's code runs."""
        if self._token is not None:
            detach(self._token, self.span)
            self._token = None
        if self._scope is not None:
            close_scope(self._scope)

    def end(self, error: BaseException | None) -> None:
        """The operation is over; once.

        Args:
            error: what left it.
        """
        if self._ended:
            return
        self._ended = True
        try:
            self._end(error, perf_counter() - self._began)
        except Exception as problem:  # noqa: BLE001 - a third party's span or reader
            failed(_PART, problem)

    def _end(self, error: BaseException | None, seconds: float) -> None:
        span, scope = self.span, self._scope
        if span.is_recording():
            if current() is not self._before:
                tell(span)
            if scope is not None and scope.spent is not None:
                scope.spent.tell(span)
        outcome = "success" if error is None else "failure" if isinstance(error, Exception) else "cancelled"
        # a consumer that stops reading a generator is no error of anybody's
        kind = None if error is None or isinstance(error, GeneratorExit) else type(error).__qualname__
        if span.is_recording():
            span.set_attribute(OUTCOME, outcome)
            if error is not None and kind is not None:
                span.set_attribute("error.type", kind)
                if isinstance(error, Exception):
                    if not captured_on(error, span):
                        span.record_exception(error)
                    span.set_status(error_status(error))
        if scope is not None and isinstance(error, Exception):
            # whoever logs it later has no context of this operation any more
            note(error, span.get_span_context(), scope.recorded())
        self.pause()
        end_after(span, seconds)
        if self._labels is not None:
            _DURATION.left(self._labels)
            _DURATION.took(seconds, {**self._labels, "outcome": outcome, "error.type": kind})


def _scope_of(span: Span) -> RequestScope | None:
    """A scope of its own for an operation that is in no request and no other operation."""
    outer = current_scope()
    if outer is not None and (outer.request is not None or isinstance(outer, RequestScope)):
        return None
    scope = RequestScope(server_span=span)
    if outer is not None:
        scope.begin_as(outer)
    return scope


def _tracer() -> Tracer:
    return trace.get_tracer("otel_distro.operations", __version__)


def _function(made: Operation, function: Callable[P, R]) -> Callable[P, R]:
    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        running = made.begin()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            _end(running, error)
            raise
        _end(running, None)
        return result

    return run


def _coroutine(made: Operation, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        running = made.begin()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            _end(running, error)
            raise
        _end(running, None)
        return result

    return run


def _generator(made: Operation, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        running = made.begin()
        try:
            generator = function(*args, **kwargs)
            step: Callable[[], Any] = partial(next, generator)
            while True:
                try:
                    value = step()
                except StopIteration as stop:
                    _end(running, None)
                    return stop.value
                _pause(running)
                try:
                    step = partial(generator.send, (yield value))
                except GeneratorExit:
                    _resume(running)
                    generator.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, for the generator
                    step = partial(generator.throw, error)
                _resume(running)
        except BaseException as error:
            _end(running, error)
            raise

    return run


def _async_generator(made: Operation, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    async def run(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        running = made.begin()
        try:
            generator = function(*args, **kwargs)
            step: Callable[[], Awaitable[Any]] = partial(generator.asend, None)
            while True:
                try:
                    value = await step()
                except StopAsyncIteration:
                    _end(running, None)
                    return
                _pause(running)
                try:
                    step = partial(generator.asend, (yield value))
                except GeneratorExit:
                    _resume(running)
                    await generator.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, for the generator
                    step = partial(generator.athrow, error)
                _resume(running)
        except BaseException as error:
            _end(running, error)
            raise

    return run


def _end(running: _Run | None, error: BaseException | None) -> None:
    if running is not None:
        running.end(error)


def _pause(running: _Run | None) -> None:
    if running is not None:
        running.pause()


def _resume(running: _Run | None) -> None:
    if running is not None:
        running.resume()


__all__ = ["OUTCOME", "Operation", "operation"]
