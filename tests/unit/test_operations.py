"""Operations: whatever kind of function it is, one span with its outcome; and captures: told everywhere, each once."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.test.globals_test import reset_metrics_globals, reset_trace_globals
from opentelemetry.trace import SpanKind, StatusCode

from otel_distro import (
    add_attributes,
    breadcrumb,
    capture_exception,
    capture_message,
    context,
    operation,
    request_id,
    set_context,
    set_user,
)
from otel_distro.errors import NOTE, mark_of, note, noted
from otel_distro.loggers import CAPTURES as LOGGER_NAME
from tests.asgi_rig import one_route, rigged, test_client
from tests.recording import Recording, named


class Broken(RuntimeError):
    """What operations of these tests raise."""


@pytest.fixture(scope="module")
def shared() -> Iterator[Recording]:
    """The process's providers, as an application has them; FastAPI looks for them, so they do not stay."""
    recording = Recording()
    trace.set_tracer_provider(recording.tracer_provider)
    metrics.set_meter_provider(recording.meter_provider)
    yield recording
    reset_trace_globals()
    reset_metrics_globals()


@pytest.fixture
def recording(shared: Recording) -> Iterator[Recording]:
    """What one test records; nothing of the distro may have failed."""
    shared.take()
    yield shared
    context.set_scope(None)
    assert shared.failures == []


def outcome(recording: Recording) -> tuple[str, str, str | None, StatusCode]:
    """Name, outcome, error type and status of the only span."""
    (span,) = recording.take()
    attributes = span.attributes or {}
    kind = attributes.get("error.type")
    return span.name, str(attributes["operation.outcome"]), None if kind is None else str(kind), span.status.status_code


def plain(fails: bool) -> str:
    if fails:
        raise Broken("no")
    return trace.get_current_span().name  # type: ignore[attr-defined]


async def coroutine(fails: bool) -> str:
    await asyncio.sleep(0)
    return plain(fails)


def generator(fails: bool) -> Iterator[str]:
    yield plain(fails=False)
    yield plain(fails)


async def async_generator(fails: bool) -> AsyncIterator[str]:
    yield plain(fails=False)
    await asyncio.sleep(0)
    yield plain(fails)


async def _collect(values: AsyncIterator[str]) -> list[str]:
    return [value async for value in values]


RUNS: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
    "plain": (plain, lambda value: value),
    "coroutine": (coroutine, asyncio.run),
    "generator": (generator, list),
    "async_generator": (async_generator, lambda values: asyncio.run(_collect(values))),
}


@pytest.mark.parametrize("kind", RUNS)
def test_one_span_for_every_kind_of_function(kind: str, recording: Recording) -> None:
    """The function runs within its operation's span, gives what it gave before, and stays what it was."""
    function, run = RUNS[kind]
    decorated = operation(function)
    result = run(decorated(fails=False))
    assert set(result if isinstance(result, list) else [result]) == {kind}
    assert outcome(recording) == (kind, "success", None, StatusCode.UNSET)
    for test in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        assert test(decorated) == test(function)
    assert inspect.signature(decorated) == inspect.signature(function)


@pytest.mark.parametrize("kind", RUNS)
def test_a_failure_passes_through_and_is_told(kind: str, recording: Recording) -> None:
    """An exception reaches the caller; the span has it as an event, as error type and as status."""
    function, run = RUNS[kind]
    with pytest.raises(Broken):
        run(operation("work", attributes={"a": 1})(function)(fails=True))
    (span,) = recording.spans
    assert [event.name for event in span.events] == ["exception"]
    assert (span.attributes or {})["a"] == 1
    assert outcome(recording) == ("work", "failure", "Broken", StatusCode.ERROR)


def test_blocks_are_operations_as_well(recording: Recording) -> None:
    """`with` and `async with` give the span; a cancellation is no failure."""

    async def main() -> None:
        async with operation("hung", kind=SpanKind.CONSUMER) as span:
            assert trace.get_current_span() is span
            await asyncio.sleep(3600)

    async def cancelled() -> None:
        task = asyncio.create_task(main())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with operation("outer"):
        add_attributes({"rows.read": 3}, done=True)
    (span,) = recording.take()
    assert span.attributes == {"rows.read": 3, "done": True, "operation.outcome": "success"}
    asyncio.run(cancelled())
    (span,) = recording.spans
    assert span.kind is SpanKind.CONSUMER
    assert outcome(recording) == ("hung", "cancelled", "CancelledError", StatusCode.UNSET)


def test_one_object_serves_many_blocks(recording: Recording) -> None:
    """The same operation within itself, and in tasks side by side, ends each block's own span."""
    work = operation("work")

    async def block(number: int) -> None:
        with work as span:
            span.set_attribute("number", number)
            await asyncio.sleep(0.001 * (3 - number))
            with work:
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*[block(number) for number in range(3)])

    asyncio.run(main())
    spans = recording.take()
    outer = {span.context.span_id: span for span in spans if span.parent is None}
    inner = [span for span in spans if span.parent is not None]
    assert sorted((span.attributes or {})["number"] for span in outer.values()) == [0, 1, 2]
    assert {span.parent.span_id for span in inner} == set(outer)
    assert all((span.attributes or {})["operation.outcome"] == "success" for span in spans)
    assert not trace.get_current_span().is_recording()


@pytest.fixture
def without_sdk(shared: Recording) -> Iterator[None]:
    """No provider: every span is `INVALID_SPAN`, one and the same object."""
    reset_trace_globals()
    trace.set_tracer_provider(trace.NoOpTracerProvider())
    yield
    reset_trace_globals()
    trace.set_tracer_provider(shared.tracer_provider)


@pytest.mark.usefixtures("without_sdk")
def test_blocks_side_by_side_without_a_recording_tracer_end_their_own() -> None:
    """Where every span is the one that records nothing, each block still ends its own run, whatever the order."""
    block = operation("work", metrics=False)
    known: list[object] = []

    async def work(number: int) -> None:
        with block:
            set_user(f"u{number}")
            await asyncio.sleep(0.001 * (3 - number))
            record = context.current()
            known.append(None if record is None or record.user is None else record.user.id)
        assert context.current() is None

    async def main() -> None:
        await asyncio.gather(*[work(number) for number in range(3)])

    asyncio.run(main())
    assert sorted(map(str, known)) == ["u0", "u1", "u2"]


def test_what_leaves_an_outermost_operation_remembers_it(recording: Recording) -> None:
    """A scheduler logs a job's exception when the job is over: the line still finds trace, user and ids."""

    @operation("job")
    def job() -> None:
        set_user("u1")
        raise Broken("no")

    with pytest.raises(Broken) as raised:
        job()
    (span,) = recording.take()
    told, known = noted(raised.value)
    assert told is not None
    assert known is not None
    assert span.context is not None
    assert (told.span_id, known.user) == (span.context.span_id, ("u1", None, None))


def test_a_generators_consumer_is_not_in_its_span(recording: Recording) -> None:
    """Between two values the consumer's own span is the current one; what it sends and throws arrives."""

    @operation("numbers")
    def numbers() -> Any:
        got = yield 1
        try:
            yield got * 2
        except KeyError:
            return "caught"

    with operation("consumer") as consumer:
        generator = numbers()
        assert next(generator) == 1
        assert trace.get_current_span() is consumer
        assert generator.send(21) == 42
        with pytest.raises(StopIteration) as stopped:
            generator.throw(KeyError("x"))
    assert stopped.value.value == "caught"
    spans = named(recording.take())
    consumer_span = spans.pop("consumer")
    (numbers_span,) = spans.values()
    assert numbers_span.parent == consumer_span.context
    assert (numbers_span.attributes or {})["operation.outcome"] == "success"


def test_a_generator_that_nobody_reads_to_its_end_is_cancelled(recording: Recording) -> None:
    """Closing a generator closes the one below and ends the span, without an error."""
    closed: list[bool] = []

    @operation("numbers")
    def numbers() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    generator: Any = numbers()
    next(generator)
    generator.close()
    assert closed == [True]
    assert outcome(recording) == ("numbers", "cancelled", None, StatusCode.UNSET)


def test_outside_of_requests_an_operation_is_one_itself(recording: Recording) -> None:
    """What is said in a job ends with it; its id is its trace's; what was known before holds within it too."""
    set_context(worker="w1")
    with operation("job") as span:
        set_user("u1")
        assert request_id() == f"{span.get_span_context().trace_id:032x}"
        with operation("step"):
            set_context(tenant="acme")
        record = context.current()
        assert record is not None
        assert (record.user, record.values["tenant"]) == (("u1", None, None), "acme")
    after = context.current()
    assert after is not None
    assert (after.user, dict(after.values), after.request_id) == (None, {"worker": "w1"}, None)
    spans = named(recording.take())
    known = {"context.worker": "w1", "user.id": "u1", "tenant.id": "acme", "operation.outcome": "success"}
    assert spans["step"].attributes == spans["job"].attributes == known


def test_an_operation_lasts_as_long_as_it_lasts(recording: Recording) -> None:
    """The wall clock may be set meanwhile, here forwards by an hour."""
    with operation("set") as span:
        span.start_time -= 3_600_000_000_000  # type: ignore[attr-defined]  # as if it had been
    done = recording.one()
    assert done.end_time is not None
    assert done.start_time is not None
    assert 0 <= done.end_time - done.start_time < 600_000_000_000


def test_durations_are_measured_by_name_and_outcome(recording: Recording) -> None:
    """`operation.duration` counts the calls by name, outcome and error type; `operation.active` is back at zero."""

    @operation("measured")
    def measured(fails: bool) -> None:
        plain(fails)

    measured(fails=False)
    with pytest.raises(Broken):
        measured(fails=True)
    with operation("unmeasured", metrics=False):
        pass
    points = {
        (attributes["outcome"], attributes.get("error.type")): count
        for attributes, count in recording.points("operation.duration")
        if attributes["operation.name"] == "measured"
    }
    assert points == {("success", None): 1, ("failure", "Broken"): 1}
    names = {attributes["operation.name"] for attributes, _ in recording.points("operation.duration")}
    assert "unmeasured" not in names
    assert {value for _, value in recording.points("operation.active")} == {0}


def test_a_captured_exception_is_told_once(recording: Recording, caplog: pytest.LogCaptureFixture) -> None:
    """Captured twice and raised on, an exception is one event on the span and one log record, with its context."""
    errors: list[Broken] = []

    @operation("pay")
    def pay() -> None:
        try:
            plain(fails=True)
        except Broken as caught:
            errors.append(caught)
            capture_exception(caught, order=7, message="m")
            capture_exception(caught)
            raise

    with caplog.at_level(logging.DEBUG), pytest.raises(Broken):
        pay()
    (error,) = errors
    (span,) = recording.take()
    (event,) = span.events
    assert event.attributes is not None
    assert event.attributes["exception.type"].endswith("Broken")
    assert event.attributes["order"] == 7
    (line,) = [record for record in caplog.records if record.name == LOGGER_NAME]
    assert line.exc_info is not None
    assert line.exc_info[1] is error
    assert (line.__dict__["order"], line.__dict__["message_"]) == (7, "m")
    assert line.filename == "test_operations.py"
    with operation("other"):
        capture_exception(error)
    (span,) = recording.take()
    assert len(span.events) == 1


def test_a_frozen_exception_is_captured_once(recording: Recording, caplog: pytest.LogCaptureFixture) -> None:
    """An exception that takes no attributes, as of a frozen dataclass, is marked all the same."""

    class Frozen(Exception):
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    with caplog.at_level(logging.DEBUG), operation("pay"):
        error = Frozen()
        capture_exception(error)
        capture_exception(error)
    assert len(recording.one().events) == 1
    assert len([record for record in caplog.records if record.name == LOGGER_NAME]) == 1
    note(error, None, None)
    assert mark_of(error, NOTE) == (None, None)


def test_an_exception_captured_in_a_request_is_on_its_span_once(
    recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that captures an exception and raises it on leaves one event on the server span."""

    async def handler(request: Any) -> Any:
        try:
            return plain(fails=True)
        except Broken as error:
            capture_exception(error)
            raise

    with rigged() as rig:
        with test_client(one_route(handler), raise_server_exceptions=False) as client:
            assert client.get("/p/1").status_code == 500
        span = rig.only()
    assert [event.name for event in span.events] == ["exception"]
    assert span.status.status_code is StatusCode.ERROR


def test_messages_and_breadcrumbs(recording: Recording, caplog: pytest.LogCaptureFixture) -> None:
    """A message is an event and a log record at its level, a breadcrumb an event."""
    with caplog.at_level(logging.DEBUG), operation("work"):
        breadcrumb("cart loaded", category="cart", items=3)
        capture_message("stock is low", level="warning", sku="tea")
    (span,) = recording.take()
    crumb, message = span.events
    assert (crumb.name, message.name) == ("breadcrumb", "message")
    assert crumb.attributes == {
        "message": "cart loaded",
        "breadcrumb.category": "cart",
        "level": "info",
        "items": 3,
    }
    assert message.attributes == {"message": "stock is low", "level": "warning", "sku": "tea"}
    (line,) = [record for record in caplog.records if record.name == LOGGER_NAME]
    assert (line.levelno, line.getMessage(), line.__dict__["sku"]) == (logging.WARNING, "stock is low", "tea")


class _Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_nothing_raises(recording: Recording) -> None:
    """Objects without text, no exception at all, levels nobody knows: nothing reaches the application."""
    with operation("work"):
        add_attributes({1: 2})  # type: ignore[dict-item]
        capture_exception("no exception")  # type: ignore[arg-type]
        capture_exception(Broken(_Hostile()), value=_Hostile())
        capture_message("text", level="loud", value=_Hostile())  # type: ignore[arg-type]
        breadcrumb("text", value=_Hostile())
    (span,) = recording.take()
    assert [event.name for event in span.events] == ["exception", "message", "breadcrumb"]


class Unreadable(Exception):
    """Computes its attributes, and fails; but for the one that Python itself asks for."""

    def __getattr__(self, name: str) -> Any:
        if name == "__notes__":
            raise AttributeError(name)
        raise RuntimeError(name)


def test_an_exception_whose_attributes_raise_leaves_as_it_is(recording: Recording) -> None:
    """Neither capturing it nor an operation that it leaves runs code of its class."""

    @operation("work")
    def work() -> None:
        error = Unreadable("x")
        capture_exception(error)
        raise error

    with pytest.raises(Unreadable):
        work()
    (span,) = recording.take()
    assert [event.name for event in span.events] == ["exception"]


def test_an_applications_logging_configuration_silences_nothing(recording: Recording) -> None:
    """`dictConfig` disables loggers that were there before it; what the application captures is logged all the same."""
    logger = logging.getLogger(LOGGER_NAME)
    logger.disabled = True
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        capture_message("heard", level="error")
    finally:
        logger.removeHandler(handler)
    assert lines == ["heard"]
