"""What all spans of a provider share, and the way they take when they start and end.

One processor is called directly; of several each is guarded, so that one that raises neither stops the others nor
reaches the application (opentelemetry-python #5624).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, SynchronousMultiSpanProcessor
from opentelemetry.trace import SpanContext

from otel_distro._compat import PipelineFields, notify_ending, overrides
from otel_distro.guard import Guard, start_thread
from otel_distro.process import Deadline

from .attributes import SpanLimits
from .brief import TakesBrief


class Processors(PipelineFields, SynchronousMultiSpanProcessor):
    """The span processors of a provider, compiled into one call for a start and one for an end.

    Args:
        limits: what a span may hold.
        resource: what every span carries; replaced in a forked child.
        guard: gets what processors raise.

    Attributes:
        starts: called with (span, parent context) when a span has started; None when no processor cares.
        ends: called with the ended span; may raise, which `Span.end` hands to `failed`.
        kept: types of values that need no look as a span's attribute.
        room: a span that ends with more attributes than this is brought under the limits.
        brief: the only processor, where it takes spans that were never an object; None where one has to be made.
        on_error: called with a span's context and an exception that it records, or that leaves it unrecorded; it must
            not raise. None when nobody cares.
    """

    def __init__(self, *, limits: SpanLimits, resource: Resource, guard: Guard) -> None:
        # upstream's constructor only makes the tuple and the lock that are made here
        self.limits = limits
        self.kept = limits.kept
        self.room = limits.attributes if limits.length is None else -1
        self.resource = resource
        self.guard = guard
        self.processors: tuple[SpanProcessor, ...] = ()
        self.starts: Callable[[Span, Context | None], None] | None = None
        self.ends: Callable[[ReadableSpan], None] = _nothing
        self.brief: TakesBrief | None = None
        self.on_error: Callable[[SpanContext, BaseException], None] | None = None
        self._changing = threading.Lock()

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Call `span_processor` as well, after those that are there."""
        with self._changing:
            self.use((*self.processors, span_processor))

    def use(self, processors: tuple[SpanProcessor, ...]) -> None:
        """Call these processors and no others, in this order."""
        self.processors = processors
        starting = [processor for processor in processors if overrides(processor, "on_start")]
        ending = [processor for processor in processors if overrides(processor, "_on_ending")]
        self.starts = self._fan_out_starts(starting) if starting else None
        alone = processors[0] if len(processors) == 1 and not (starting or ending) and self.room >= 0 else None
        self.brief = alone if isinstance(alone, TakesBrief) else None
        if not processors:
            self.ends = _nothing
        elif len(processors) == 1 and not ending:
            self.ends = processors[0].on_end
        else:
            self.ends = self._fan_out_ends(processors, ending)

    def _fan_out_starts(self, processors: Sequence[SpanProcessor]) -> Callable[[Span, Context | None], None]:
        def starts(span: Span, parent_context: Context | None) -> None:
            for processor in processors:
                try:
                    processor.on_start(span, parent_context=parent_context)
                except Exception as error:  # noqa: BLE001 - a third party's processor must not reach the application
                    self.failed(error, processor)

        return starts

    def _fan_out_ends(
        self, processors: Sequence[SpanProcessor], ending: Sequence[SpanProcessor]
    ) -> Callable[[ReadableSpan], None]:
        def ends(span: ReadableSpan) -> None:
            for processor in ending:
                try:
                    notify_ending(processor, span)  # type: ignore[arg-type]  # every span of ours is both
                except Exception as error:  # noqa: BLE001 - a third party's processor must not reach the application
                    self.failed(error, processor)
            for processor in processors:
                try:
                    processor.on_end(span)
                except Exception as error:  # noqa: BLE001 - a third party's processor must not reach the application
                    self.failed(error, processor)

        return ends

    def failed(self, error: BaseException, processor: SpanProcessor | None = None) -> None:
        """Count what a processor raised; without `processor` it was the only one."""
        culprit = processor if processor is not None else next(iter(self.processors), None)
        self.guard.failed(f"span processor {type(culprit).__name__}", error)

    def refused(self, call: str) -> None:
        """Say once that a call came after the end of its span, which ignores it."""
        self.guard.warn(f"{call} was called on a span that has ended; such calls change nothing", once=f"ended {call}")

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Upstream's interface to `starts`."""
        if self.starts is not None:
            self.starts(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Upstream's interface to `ends`."""
        try:
            self.ends(span)
        except Exception as error:  # noqa: BLE001 - a third party's processor must not reach the application
            self.failed(error)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Have every processor send what waits, all at once; False when one failed or was not done in time."""
        return self._all("force_flush", timeout_millis)

    def shutdown(self, timeout_millis: float = 2000) -> None:
        """Shut every processor down, all at once, within `timeout_millis`; one that hangs is left behind."""
        self._all("shutdown", timeout_millis)

    def after_fork(self) -> None:
        """A child starts with a lock that no vanished thread holds."""
        self._changing = threading.Lock()

    def _all(self, method: str, timeout_millis: float) -> bool:
        calls = [(type(each).__name__, getattr(each, method)) for each in self.processors]
        deadline = Deadline(timeout_millis / 1000)
        running = [_Call(owner, call, deadline, self.guard) for owner, call in calls]
        answers = [each.result(deadline) for each in running]
        return all(answers)


class _Call:
    """One processor's `force_flush` or `shutdown` in a thread of its own: it may hang, and the caller may not."""

    def __init__(self, owner: str, method: Callable[..., Any], deadline: Deadline, guard: Guard) -> None:
        self._part = f"span processor {owner}.{method.__name__}"
        self._method = method
        self._deadline = deadline
        self._guard = guard
        self._answer = False
        self._done = threading.Event()
        interrupted = getattr(getattr(method, "__self__", None), "is_interrupted", None)
        if interrupted is not None and interrupted():
            # what this signal handler has interrupted has the locks: the processor knows, and does not wait
            self._run()
            return
        if not start_thread(threading.Thread(target=self._run, name="otel-distro-end", daemon=True)):
            self._run()

    def result(self, deadline: Deadline) -> bool:
        if self._done.wait(deadline.left()):
            return self._answer
        self._guard.failed(self._part, "not done in time")
        return False

    def _run(self) -> None:
        try:
            if takes_timeout(self._method):
                answer = self._method(timeout_millis=int(self._deadline.left() * 1000))
            else:
                answer = self._method()
            self._answer = answer is not False
        except Exception as error:  # noqa: BLE001 - a third party's processor must not reach the application
            self._guard.failed(self._part, error)
        finally:
            self._done.set()


def takes_timeout(method: Callable[..., Any]) -> bool:
    """Whether a third party's method can be told how long it may take, in `timeout_millis`."""
    try:
        return "timeout_millis" in signature(method).parameters
    except (TypeError, ValueError):
        return False


def _nothing(span: ReadableSpan) -> None:
    del span


__all__ = ["Processors", "takes_timeout"]
