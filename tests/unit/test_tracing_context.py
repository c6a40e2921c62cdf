"""The current span: in blocks, decorators, generators, and where contexts do not match."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, StatusCode

from otel_distro.tracing import attach_span, current_span, current_span_context, detach, suppressed, use_span
from otel_distro.tracing import context as tracing_context
from tests.tracing_rig import Collected, provider


def test_attach_is_seen_by_the_api_and_detach_puts_back() -> None:
    """The API's current span is what was attached; other values of the context stay."""
    span = provider().get_tracer("t").start_span("s")
    token = attach_span(span)
    assert trace.get_current_span() is span is current_span()
    assert current_span_context() is span.get_span_context()
    detach(token)
    assert trace.get_current_span() is INVALID_SPAN
    assert current_span() is None
    outer = context.attach(baggage.set_baggage("k", "v"))
    inner = attach_span(span)
    nested = attach_span(INVALID_SPAN)
    assert baggage.get_all() == {"k": "v"}
    assert current_span_context() is None
    detach(nested)
    assert trace.get_current_span() is span
    detach(inner)
    context.detach(outer)
    assert context.get_current() == {}


def test_a_token_is_taken_twice_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    """Detaching again changes nothing and logs nothing."""
    token = attach_span(INVALID_SPAN)
    detach(token)
    with caplog.at_level(logging.DEBUG):
        detach(token)
    assert caplog.records == []
    assert context.get_current() == {}


def test_a_token_of_another_context_restores_what_was_before(caplog: pytest.LogCaptureFixture) -> None:
    """In a copied context the span goes away as well where it is still current, and nothing else is touched."""
    before = provider().get_tracer("t").start_span("before")
    span = provider().get_tracer("t").start_span("s")
    outer = attach_span(before)
    token = attach_span(span)
    copied = contextvars.copy_context()

    def elsewhere(current: Any) -> Any:
        if current is not None:
            attach_span(current)
        detach(token, span)
        return trace.get_current_span()

    with caplog.at_level(logging.DEBUG):
        assert copied.run(elsewhere, None) is before
        assert contextvars.copy_context().run(elsewhere, INVALID_SPAN) is INVALID_SPAN
        assert contextvars.Context().run(elsewhere, None) is INVALID_SPAN
    assert caplog.records == []
    detach(token)
    detach(outer)


def test_blocks_nest_and_end() -> None:
    """`start_as_current_span` parents what is inside and ends on the way out, in any depth."""
    collected = Collected()
    tracer = provider(collected).get_tracer("t")
    with tracer.start_as_current_span("outer") as outer, tracer.start_as_current_span("inner"):
        assert trace.get_current_span() is not outer
    assert [span.name for span in collected.spans] == ["inner", "outer"]
    assert collected.spans[0].parent is collected.spans[1].context
    assert context.get_current() == {}


@pytest.mark.parametrize(
    ("options", "events", "code"),
    [
        ({}, 1, StatusCode.ERROR),
        ({"record_exception": False}, 0, StatusCode.ERROR),
        ({"set_status_on_exception": False}, 1, StatusCode.UNSET),
    ],
)
def test_an_exception_is_recorded_as_told(options: dict[str, bool], events: int, code: StatusCode) -> None:
    """The options say whether an exception becomes an event and a status; it always goes on."""
    collected = Collected()
    with (
        pytest.raises(ValueError, match="v"),
        provider(collected).get_tracer("t").start_as_current_span("s", **options),
    ):
        raise ValueError("v")
    (span,) = collected.spans
    assert len(span.events) == events
    assert span.status.status_code is code


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()])
def test_what_is_no_error_is_not_recorded(error: BaseException) -> None:
    """A `BaseException` ends the span without event or status: python #4484."""
    collected = Collected()
    with pytest.raises(type(error)), provider(collected).get_tracer("t").start_as_current_span("s"):
        raise error
    (span,) = collected.spans
    assert span.events == ()
    assert span.status.status_code is StatusCode.UNSET


def test_a_block_may_leave_its_span_open() -> None:
    """`end_on_exit=False` only takes the span out of the context."""
    with provider().get_tracer("t").start_as_current_span("s", end_on_exit=False) as span:
        assert trace.get_current_span() is span
    assert span.is_recording()
    assert trace.get_current_span() is INVALID_SPAN


def test_a_span_starts_when_the_block_is_entered() -> None:
    """Calling `start_as_current_span` alone starts nothing, as upstream's generator does not."""
    collected = Collected()
    tracer = provider(collected).get_tracer("t")
    block = tracer.start_as_current_span("s")
    with tracer.start_as_current_span("outer") as outer, block as span:
        assert span.parent is outer.get_span_context()  # type: ignore[attr-defined]


def test_functions_are_decorated_anew_for_each_call() -> None:
    """Each call has a span of its own, also in recursion, and the function keeps its name and result."""
    collected = Collected()

    @provider(collected).get_tracer("t").start_as_current_span("s", attributes={"a": 1})
    def count(down: int) -> int:
        """Of count."""
        return 0 if down == 0 else 1 + count(down - 1)

    assert count(3) == 3
    assert (count.__name__, count.__doc__) == ("count", "Of count.")
    assert len(collected.spans) == 4
    assert all(span.attributes == {"a": 1} for span in collected.spans)
    assert {span.parent and span.parent.span_id for span in collected.spans} == {
        None,
        *(span.context.span_id for span in collected.spans[1:]),
    }


def test_coroutine_functions_are_covered_to_their_end() -> None:
    """The span of a decorated coroutine function lasts until it returns, and concurrent calls do not mix."""
    collected = Collected()
    tracer = provider(collected).get_tracer("t")

    @tracer.start_as_current_span("work")
    async def work(number: int) -> int:
        trace.get_current_span().set_attribute("before", number)
        await asyncio.sleep(0.001 * (3 - number))
        trace.get_current_span().set_attribute("after", number)
        return number

    async def main() -> list[int]:
        return await asyncio.gather(*(work(number) for number in range(3)))

    assert asyncio.run(main()) == [0, 1, 2]
    assert len(collected.spans) == 3
    for span in collected.spans:
        assert span.attributes is not None
        assert span.attributes["before"] == span.attributes["after"]


def test_an_error_of_a_decorated_coroutine_is_recorded() -> None:
    """What a decorated coroutine function raises is on its span and reaches the caller."""
    collected = Collected()

    @provider(collected).get_tracer("t").start_as_current_span("work")
    async def work() -> None:
        await asyncio.sleep(0)
        raise ValueError("v")

    with pytest.raises(ValueError, match="v"):
        asyncio.run(work())
    assert [event.name for event in collected.spans[0].events] == ["exception"]


def test_an_abandoned_async_generator_ends_its_span_silently(caplog: pytest.LogCaptureFixture) -> None:
    """The event loop closes an abandoned generator in another context: upstream logs an error there (python #2606)."""
    collected = Collected()
    tracer = provider(collected).get_tracer("t")

    async def numbers() -> AsyncIterator[int]:
        with tracer.start_as_current_span("numbers"):
            for number in range(10):
                yield number

    async def take_one() -> int:
        async for number in numbers():
            return number
        return -1

    async def main() -> None:
        assert await asyncio.create_task(take_one()) == 0
        await asyncio.sleep(0.01)

    with caplog.at_level(logging.DEBUG, "opentelemetry"):
        asyncio.run(main())
    assert caplog.records == []
    assert [(span.name, span.events) for span in collected.spans] == [("numbers", ())]


def test_use_span_takes_any_span_of_the_api() -> None:
    """Our `use_span` and the API's take our spans and others'; as a decorator it keeps the span."""

    def fail_inside(block: Any, span: trace.Span) -> None:
        with block as used:
            assert trace.get_current_span() is used is span
            raise ValueError("v")

    foreign = NonRecordingSpan(SpanContext(1, 2, False))
    own = provider().get_tracer("t").start_span("s")
    for span in (foreign, own):
        for use in (use_span, trace.use_span):
            with pytest.raises(ValueError, match="v"):
                fail_inside(use(span), span)
    assert len(own.events) == 2  # type: ignore[attr-defined]
    assert own.is_recording()

    @use_span(own, end_on_exit=True)
    def current() -> Any:
        return trace.get_current_span()

    assert current() is own
    assert not own.is_recording()


def test_suppression_is_told_from_either_key() -> None:
    """The API's key and the older plain one both switch telemetry off where their value is true."""
    assert not suppressed()
    for key in (tracing_context.SUPPRESS_KEY, "suppress_instrumentation"):
        for value in (True, False):
            token = context.attach(context.set_value(key, value))
            assert suppressed() is value
            context.detach(token)


def test_a_context_that_holds_something_else_has_no_span() -> None:
    """What stands under the span's key but is no span is passed over."""
    for value in (None, 3, "span", SpanContext(1, 1, False)):
        token = context.attach(context.Context({tracing_context.SPAN_KEY: value}))
        assert current_span_context() is None
        assert current_span() is None
        context.detach(token)
