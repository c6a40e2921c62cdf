"""How late event loops are: a timer on each running loop, and how much later than asked the loop came to it.

What blocks a loop for a time shows in the histogram; what blocks it now shows in the gauge, which another thread reads.
A timer never keeps a loop running, and is taken back when the loop stops. Selectors wait in whole milliseconds, so an
idle loop is up to one late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import Context
from functools import wraps
from time import monotonic
from types import ModuleType
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_distro.guard import Guard
from otel_distro.process import in_forked_child

if TYPE_CHECKING:
    # who runs no event loop does not pay its import
    import asyncio

INTERVAL = 0.25
"""Seconds between two looks: four wake-ups a second, some microseconds each."""
BOUNDARIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PART = "event loop lag"


class _Timer:
    """A timer that sets itself again, until `stop`."""

    __slots__ = ("_context", "_handle", "_interval", "_loop", "_record", "due")

    def __init__(self, loop: asyncio.AbstractEventLoop, interval: float, record: Callable[[float], None]) -> None:
        self._loop = loop
        self._interval = interval
        self._record = record
        # one of its own: no request's context lives on in it
        self._context = Context()
        self._set(monotonic())

    def _set(self, now: float) -> None:
        # uvloop's own clock stands still while a callback runs
        self.due = now + self._interval
        self._handle = self._loop.call_later(self._interval, self._tick, context=self._context)

    def _tick(self) -> None:
        now = monotonic()
        late = now - self.due
        # first: whatever is raised in the recording, a signal's handler for one, the loop would seem blocked ever after
        self._set(now)
        self._record(max(0.0, late))

    def stop(self) -> None:
        self._handle.cancel()


class LoopLag:
    """Watches every event loop of this process, asyncio's and uvloop's.

    Args:
        meter: of the runtime's scope.
        guard: gets what fails.
        interval: seconds between two looks at a loop.
    """

    def __init__(self, meter: Meter, guard: Guard, *, interval: float = INTERVAL) -> None:
        self._guard = guard
        self._interval = interval
        self._timers: set[_Timer] = set()
        self._wrapped: list[tuple[Any, Any]] = []
        histogram = meter.create_histogram(
            "asyncio.event_loop.lag",
            "s",
            "How much later than asked an event loop comes to a timer.",
            explicit_bucket_boundaries_advisory=BOUNDARIES,
        )
        self._record: Callable[[float], None] = histogram.record
        meter.create_observable_gauge(
            "asyncio.event_loop.overdue",
            [self._overdue],
            "s",
            "For how long the event loop has not come to a timer that is due, at this moment.",
        )
        in_forked_child(self._after_fork, guard.failed)

    def watch_asyncio(self, module: ModuleType) -> None:
        """Watch asyncio's loops; called when `asyncio.base_events` has been imported."""
        self._wrap(module.BaseEventLoop)

    def watch_uvloop(self, module: ModuleType) -> None:
        """Watch uvloop's loops; called when `uvloop` has been imported."""
        self._wrap(module.Loop)

    def unwatch(self) -> None:
        """Take every patch back; loops that run are watched until they stop."""
        for loop_class, original in self._wrapped:
            loop_class.run_forever = original
        self._wrapped.clear()

    def _wrap(self, loop_class: Any) -> None:
        original = loop_class.run_forever

        @wraps(original)
        def run_forever(loop: Any) -> Any:
            timer = self._guard.call(_PART, None, self._begin, loop)
            try:
                return original(loop)
            finally:
                if timer is not None:
                    self._guard.call(_PART, None, self._end, timer)

        loop_class.run_forever = run_forever
        self._wrapped.append((loop_class, original))

    def _begin(self, loop: Any) -> _Timer | None:
        if loop.is_closed() or loop.is_running():
            return None  # the original raises
        timer = _Timer(loop, self._interval, self._record)
        self._timers.add(timer)
        return timer

    def _end(self, timer: _Timer) -> None:
        self._timers.discard(timer)
        timer.stop()

    def _overdue(self, _: CallbackOptions) -> Iterator[Observation]:
        """The worst of all loops; no value where none runs."""
        timers = tuple(self._timers)
        if timers:
            yield Observation(max(0.0, monotonic() - min(timer.due for timer in timers)))

    def _after_fork(self) -> None:
        # the parent's loops do not run in a child
        self._timers = set()


__all__ = ["BOUNDARIES", "INTERVAL", "LoopLag"]
