"""Timing calls, with how they ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from time import perf_counter
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar, cast, overload

from opentelemetry.metrics import Meter

from otel_distro.conventions import exception_type

from ._instruments import Measured
from ._labels import MOST, Label, meter_or

P = ParamSpec("P")
R = TypeVar("R")

SECONDS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Bounds for calls that may take from milliseconds to a minute."""
OUTCOME: Final = "outcome"
ERROR: Final = "error.type"


class Timing:
    """One call that is timed; a context manager, for synchronous and asynchronous code alike.

    Args:
        owner: takes the time.
        labels: of the call; a copy of this object's own.

    Attributes:
        outcome: set it to say how the call ended; else it is `success`, `failure` (an exception left the block) or
            `cancelled` (one that is no `Exception` did, such as a cancellation).
    """

    __slots__ = ("_began", "_labels", "_later", "_owner", "outcome")

    def __init__(self, owner: timed, labels: Mapping[str, Label]) -> None:
        self._owner = owner
        self._labels = labels
        self._later: Mapping[str, Label] | None = None
        self._began = 0.0
        self.outcome: str | None = None

    def label(self, **labels: Label) -> None:
        """Add labels that are known only now."""
        self._later = {**(self._later or {}), **labels}

    def __enter__(self) -> Self:
        self._owner.entered(self._labels)
        self._began = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = perf_counter() - self._began
        owner, labels = self._owner, self._labels
        owner.left(labels)
        outcome = self.outcome or ("success" if error is None else _outcome(error))
        ended = {**labels, OUTCOME: outcome} if self._later is None else {**labels, **self._later, OUTCOME: outcome}
        if error is not None:
            ended[ERROR] = exception_type(error)
        owner.took(seconds, ended)


class timed:  # noqa: N801 - read as a decorator
    """Times calls: the histogram `<name>.duration` in seconds, labelled with `outcome` and `error.type`.

    As a decorator, of functions, coroutine functions, generators and asynchronous generators:

        @timed("coaching.session")
        async def analyze(call): ...

    Or made once, and used as a context manager with labels:

        search = timed("vector.search")

        with search(kind="hybrid") as call:
            results = await find(query)
            call.label(cached=results.cached)

    A generator is timed from its first value to its end, the time its consumer takes included.

    Args:
        name: of what is timed.
        description: one sentence for people.
        buckets: upper bounds in seconds, rising.
        active: also count the calls under way, in `<name>.active`.
        labels: of every call.
        labels_of: makes further labels of a decorated function's arguments.
        most: values of each label that are told apart.
        meter: that makes the metrics; the process's by default.
    """

    def __init__(
        self,
        name: str,
        *,
        description: str = "",
        buckets: Sequence[float] = SECONDS,
        active: bool = False,
        labels: Mapping[str, Label] | None = None,
        labels_of: Callable[..., Mapping[str, Label]] | None = None,
        most: int = MOST,
        meter: Meter | None = None,
    ) -> None:
        name, where = name.removesuffix(".duration"), meter_or(meter)
        made = where.create_histogram(f"{name}.duration", "s", description, explicit_bucket_boundaries_advisory=buckets)
        self._duration = Measured(f"{name}.duration", made, made.record, most)
        self._active: Measured | None = None
        if active:
            calls = where.create_up_down_counter(f"{name}.active", "{call}", "Calls under way.")
            self._active = Measured(f"{name}.active", calls, calls.add, most)
        self._labels: dict[str, Label] = dict(labels or {})
        self._labels_of = labels_of

    @overload
    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]: ...

    @overload
    def __call__(self, /, **labels: Label) -> Timing: ...

    def __call__(self, function: Callable[..., Any] | None = None, /, **labels: Label) -> Any:
        """Decorate `function`, or give a context manager for one call with these labels."""
        if function is None:
            return Timing(self, {**self._labels, **labels} if self._labels else labels)
        return _decorated(self, function)

    def entered(self, labels: Mapping[str, Label]) -> None:
        """A call begins."""
        if self._active is not None:
            self._active.take(1, labels)

    def left(self, labels: Mapping[str, Label]) -> None:
        """A call is over; `labels` are those it began with."""
        if self._active is not None:
            self._active.take(-1, labels)

    def took(self, seconds: float, labels: Mapping[str, Label]) -> None:
        """Take the time of a call, with all its labels."""
        self._duration.take(seconds, labels)

    def of(self, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Timing:
        """The timing of a decorated function's call."""
        if self._labels_of is None:
            return Timing(self, self._labels)
        try:
            return Timing(self, {**self._labels, **self._labels_of(*arguments, **named)})
        except Exception as error:  # noqa: BLE001 - a label is not worth an error of the application
            self._duration.failed(error)
            return Timing(self, self._labels)


def _outcome(error: BaseException) -> str:
    return "failure" if isinstance(error, Exception) else "cancelled"


def _decorated(owner: timed, function: Callable[P, R]) -> Callable[P, R]:
    wrapper: Any
    if isasyncgenfunction(function):
        wrapper = _async_generator(owner, function)
    elif isgeneratorfunction(function):
        wrapper = _generator(owner, function)
    elif iscoroutinefunction(function):
        wrapper = _coroutine(owner, function)
    else:
        wrapper = _plain(owner, function)
    return cast("Callable[P, R]", wraps(function)(wrapper))


def _plain(owner: timed, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        with owner.of(arguments, named):
            return function(*arguments, **named)

    return call


def _coroutine(owner: timed, function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*arguments: Any, **named: Any) -> Any:
        with owner.of(arguments, named):
            return await function(*arguments, **named)

    return call


def _generator(owner: timed, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Generator[Any, Any, Any]:
        with owner.of(arguments, named):
            return (yield from function(*arguments, **named))

    return call


def _async_generator(owner: timed, function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*arguments: Any, **named: Any) -> AsyncGenerator[Any, Any]:
        with owner.of(arguments, named):
            inner = function(*arguments, **named)
            try:
                value = await anext(inner)
                while True:
                    try:
                        sent = yield value
                    except GeneratorExit:
                        raise  # closed below
                    except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, for the inner one
                        value = await inner.athrow(error)
                    else:
                        value = await inner.asend(sent)
            except StopAsyncIteration:
                return
            finally:
                await inner.aclose()

    return call
