"""What Python's garbage collector has done.

Source: semantic conventions 1.44, "CPython metrics".
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_distro.guard import Guard
from otel_distro.process import in_forked_child

Read = Callable[[CallbackOptions], Iterator[Observation]]


class Garbage:
    """`gc.get_stats` since this process began; a forked child inherits its parent's numbers and must not show them.

    Args:
        guard: gets a failure of the fork hook.
    """

    def __init__(self, guard: Guard) -> None:
        self._inherited: list[dict[str, int]] = [{} for _ in gc.get_stats()]
        in_forked_child(self._after_fork, guard.failed)

    def reader(self, field: str) -> Read:
        """A callback.

        Args:
            field: `collections`, `collected` or `uncollectable`.
        """

        def read(_: CallbackOptions) -> Iterator[Observation]:
            for generation, (now, before) in enumerate(zip(gc.get_stats(), self._inherited, strict=True)):
                yield Observation(now[field] - before.get(field, 0), {"cpython.gc.generation": generation})

        return read

    def _after_fork(self) -> None:
        self._inherited = gc.get_stats()


def observe_garbage(meter: Meter, garbage: Garbage) -> None:
    """Make the instruments.

    Args:
        meter: of the runtime's scope.
        garbage: what they read.
    """
    for name, field, unit, description in (
        (
            "cpython.gc.collections",
            "collections",
            "{collection}",
            "The number of times a generation was collected since interpreter start.",
        ),
        (
            "cpython.gc.collected_objects",
            "collected",
            "{object}",
            "The total number of objects collected inside a generation since interpreter start.",
        ),
        (
            "cpython.gc.uncollectable_objects",
            "uncollectable",
            "{object}",
            "The total number of objects which were found to be uncollectable inside a generation.",
        ),
    ):
        meter.create_observable_counter(name, [garbage.reader(field)], unit, description)
