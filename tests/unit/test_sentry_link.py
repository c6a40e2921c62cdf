"""The span of an exception: noted where it is recorded first, found where the event is made."""

from __future__ import annotations

import pickle
from typing import NoReturn

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from otel_distro.sentry.link import Link, note, note_of, tell, was_told
from tests.recording import Recording


def context(trace: int, span: int) -> SpanContext:
    """A span context with these ids."""
    return SpanContext(trace, span, is_remote=False, trace_flags=TraceFlags(1))


def found(link: Link, error: BaseException | None = None) -> tuple[int, int] | None:
    """Ids that an event would get."""
    ids = link.find(error)
    return None if ids is None else (int(ids.trace_id, 16), int(ids.span_id, 16))


def test_the_innermost_span_of_a_trace_stays() -> None:
    """Who records an exception later, further out, changes nothing."""
    error = ValueError()
    note(context(1, 10), error)
    note(context(1, 11), error)
    assert found(Link(lambda: None), error) == (1, 10)


def test_an_exception_that_is_raised_again_in_another_trace_is_noted_anew() -> None:
    """A constant exception of a module does not lead one request's event into the trace of another."""
    error = ValueError()
    note(context(1, 10), error)
    note(context(2, 20), error)
    assert found(Link(lambda: None), error) == (2, 20)


def test_a_group_of_one_belongs_to_the_span_of_that_one() -> None:
    """The task of a task group that failed has left its own span before the group left any; of several none counts."""
    one, other = ValueError(), ValueError()
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [one])])
    several = ExceptionGroup("several", [one, other])
    note(context(1, 10), one)
    note(context(1, 11), group)
    note(context(1, 11), several)
    assert found(Link(lambda: None), group) == (1, 10)
    assert found(Link(lambda: None), several) == (1, 11)


def test_an_old_note_does_not_count_in_another_trace() -> None:
    """An exception of an earlier trace that is captured in this one is linked to the current span."""
    error = ValueError()
    note(context(1, 10), error)
    with use_span(NonRecordingSpan(context(2, 20))):
        assert found(Link(lambda: None), error) == (2, 20)


def test_without_a_note_the_current_span_counts_then_the_request() -> None:
    """An event without an exception belongs to the current span, in a bare thread to its request's."""
    link = Link(lambda: context(3, 30))
    assert found(link) == (3, 30)
    with use_span(NonRecordingSpan(context(2, 20))):
        assert found(link) == (2, 20)
    assert found(Link(lambda: None)) is None


def test_an_exception_that_takes_no_attributes_is_noted_like_others() -> None:
    """A frozen exception is linked to its span, and no code of its class runs."""

    class Frozen(Exception):
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    error = Frozen()
    note(context(1, 10), error)
    assert found(Link(lambda: None), error) == (1, 10)


class Unreadable(Exception):
    """Computes its attributes, and fails."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(name)


def test_an_exception_whose_attributes_raise_is_noted_like_others() -> None:
    """No code of the application's runs where an exception is noted, told and looked for."""
    recording = Recording()
    recording.tracer_provider.pipeline.on_error = note
    error = Unreadable("x")
    with pytest.raises(Unreadable), recording.tracer_provider.get_tracer("test").start_as_current_span("s") as span:
        raise error
    assert found(Link(lambda: None), error) == (span.get_span_context().trace_id, span.get_span_context().span_id)
    assert not was_told(raised_in_place_of(error))
    tell(error, 0)
    assert was_told(raised_in_place_of(error))


def test_a_noted_exception_can_be_pickled() -> None:
    """Executors send exceptions between processes; the note travels along."""
    error = ValueError("x")
    note(context(1, 10), error)
    assert note_of(pickle.loads(pickle.dumps(error))) == note_of(error)  # noqa: S301 - its own bytes


@pytest.mark.parametrize("sampler", ["always_on", "always_off"])
def test_tracers_tell_where_an_exception_left_a_span(sampler: str) -> None:
    """A span used as a context manager tells its own context with the exception, recorded or not."""
    recording = Recording(sampler=sampler)
    recording.tracer_provider.pipeline.on_error = note
    tracer = recording.tracer_provider.get_tracer("test")
    error = ValueError()
    with pytest.raises(ValueError), tracer.start_as_current_span("outer"):  # noqa: PT011, SIM117
        with tracer.start_as_current_span("inner") as inner:
            raise error
    noted = note_of(error)
    assert noted is not None
    assert noted.span_id == inner.get_span_context().span_id


def raised_in_place_of(reason: BaseException, *, explicit: bool = True) -> BaseException:
    """An exception raised while `reason` was handled, as its consequence or only after it."""
    error = RuntimeError("answered")
    if explicit:
        error.__cause__ = reason
    else:
        error.__context__ = reason
    return error


@pytest.mark.parametrize("explicit", [True, False])
def test_what_is_raised_in_place_of_a_captured_exception_is_told(explicit: bool) -> None:
    """One event tells of both, however many exceptions stand between them; nothing else is held back for it."""
    reason = ValueError()
    outermost = raised_in_place_of(raised_in_place_of(reason, explicit=explicit))
    assert not was_told(outermost)
    with use_span(NonRecordingSpan(context(1, 10))):
        tell(reason, 1)
        assert was_told(outermost)
        assert not was_told(reason)
        assert not was_told(ValueError())


def test_a_capture_of_another_trace_tells_nothing() -> None:
    """A constant exception of a module that was captured once does not hold back later requests' events."""
    reason = ValueError()
    tell(reason, 1)
    with use_span(NonRecordingSpan(context(2, 20))):
        assert not was_told(raised_in_place_of(reason))


def test_an_exception_with_a_length_is_a_reason_like_others() -> None:
    """What an exception is worth as a condition does not count."""

    class Many(Exception):
        def __len__(self) -> int:
            return 0

    reason = Many()
    tell(reason, 0)
    assert was_told(raised_in_place_of(reason))


def test_a_chain_that_goes_in_circles_ends() -> None:
    """Exceptions that are each other's reason are looked at a few times and no more."""
    error = ValueError()
    error.__context__ = RuntimeError()
    error.__context__.__context__ = error
    assert not was_told(error)
