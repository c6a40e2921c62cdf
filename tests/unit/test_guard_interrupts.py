"""Exceptions of signal handlers go through code of ours, whatever it does with others."""

from __future__ import annotations

import functools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

import pytest
from opentelemetry.sdk.resources import Resource

from otel_distro.guard import Guard, is_interrupt, start_thread
from otel_distro.metrics.provider import LeanMeterProvider


class Limit(Exception):
    """What a time limit raises."""


def plain(number: int, frame: FrameType | None) -> NoReturn:
    raise Limit


def starred(*given: object) -> NoReturn:
    raise Limit


def through_another(number: int, *_: object, **__: object) -> NoReturn:
    plain(number, None)


class Handler:
    def method(self, number: int, frame: FrameType | None) -> NoReturn:
        raise Limit

    def __call__(self, number: int, frame: FrameType | None) -> NoReturn:
        raise Limit


HANDLERS: list[Callable[..., Any]] = [
    plain,
    starred,
    through_another,
    Handler().method,
    Handler(),
    functools.partial(plain),
    lambda *_: sys.exit(3),
]


@pytest.fixture
def restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


def interrupted() -> None:
    signal.raise_signal(signal.SIGUSR1)
    for _ in range(10):
        pass


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.usefixtures("restored")
def test_what_a_handler_raises_in_guarded_code_reaches_the_application(handler: Callable[..., Any]) -> None:
    """A time limit or an end that falls into code of ours is neither swallowed nor counted as a failure of ours."""
    lines: list[str] = []
    guard = Guard(output=lambda level, text: lines.append(text))
    signal.signal(signal.SIGUSR1, handler)
    with pytest.raises((Limit, SystemExit)):
        guard.call("part", None, interrupted)
    assert not guard.failures
    assert not lines


@pytest.mark.usefixtures("restored")
def test_a_measurement_keeps_no_exception_of_a_handler() -> None:
    """Who measures is told of a time limit also where it falls into the text of an attribute."""
    signal.signal(signal.SIGUSR1, plain)

    class Slow:
        def __str__(self) -> str:
            interrupted()
            return "slow"

    guard = Guard(level=100)
    made = LeanMeterProvider(resource=Resource({}), guard=guard)
    counter = made.get_meter("x").create_counter("work")
    with pytest.raises(Limit):
        counter.add(1, {"attribute": Slow()})  # type: ignore[dict-item]


@pytest.mark.usefixtures("restored")
def test_an_exception_that_takes_the_place_of_a_handlers_is_the_handlers() -> None:
    """Who cleans up after a time limit may fail at that, as `Thread.start` does: the limit is what is heard."""
    signal.signal(signal.SIGUSR1, plain)

    def clumsy() -> None:
        try:
            interrupted()
        except Limit:
            dict[str, int]().pop("gone")
            raise

    guard = Guard(level=100)
    with pytest.raises(Limit):
        guard.call("part", None, clumsy)
    assert not guard.failures


@pytest.mark.usefixtures("restored")
def test_a_time_limit_that_falls_into_the_start_of_a_thread_is_heard() -> None:
    """In the wait of `Thread.start` it comes out as a lock's `RuntimeError`, which is no sign of a full machine."""
    signal.signal(signal.SIGUSR1, plain)

    class Begins(threading.Thread):
        def start(self) -> None:
            super().start()
            waited_for = threading.Lock()
            try:
                interrupted()
            finally:
                waited_for.release()

    thread = Begins(target=int)
    with pytest.raises(Limit):
        start_thread(thread)
    thread.join()


def test_a_thread_that_cannot_be_had_is_told() -> None:
    """Whoever starts one does without, and nothing is raised."""
    before = threading.stack_size(1 << 46)  # more than there is
    try:
        assert not start_thread(threading.Thread(target=int))
    finally:
        threading.stack_size(before)


@pytest.mark.usefixtures("restored")
def test_an_interrupt_that_was_dealt_with_comes_no_more() -> None:
    """Code of ours that fails where the application deals with its time limit is a failure of ours alone."""
    signal.signal(signal.SIGUSR1, plain)
    guard = Guard(level=100)
    try:
        interrupted()
    except Limit:
        guard.call("part", None, int, "no number")
    assert [failure.count for failure in guard.failures] == [1]


def failing(frame: FrameType) -> NoReturn:
    raise Limit


def looking_at_its_caller() -> None:
    failing(sys._getframe())


@pytest.mark.parametrize("function", [looking_at_its_caller, functools.partial(int, "x")])
def test_other_exceptions_are_ours(function: Callable[[], object]) -> None:
    """What code raises by itself is counted, also where a function was given its caller's frame."""
    guard = Guard(level=100)
    guard.call("part", None, function)
    assert [failure.count for failure in guard.failures] == [1]


class Lazy:
    """Like a lazy object of Django's: asked for its class it does work, and here it fails."""

    @property
    def __class__(self) -> Any:
        raise Limit

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise Limit


def test_objects_of_the_application_are_not_asked_for_their_class() -> None:
    """Arguments of functions that failed are looked at, and no code of theirs runs."""

    def fails(first: object, second: object) -> NoReturn:
        raise ValueError

    guard = Guard(level=100)
    guard.call("part", None, fails, Lazy(), None)
    assert [failure.count for failure in guard.failures] == [1]


def test_other_threads_have_no_handlers() -> None:
    """Python runs a handler in the main thread alone: nothing that is raised elsewhere is one's."""
    found: list[bool] = []

    def elsewhere() -> None:
        try:
            plain(1, sys._getframe())
        except Limit as error:
            found.append(is_interrupt(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    elsewhere()
    assert found == [False, True]
