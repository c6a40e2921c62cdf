"""What the configurator knows of a pipeline: its providers, and how to end it within one budget."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from otel_distro.guard import Guard, start_thread
from otel_distro.process import Deadline
from otel_distro.records import dataclass, field

if TYPE_CHECKING:
    from logging import LogRecord

    from opentelemetry._logs import LoggerProvider
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    from otel_distro.components import Component
    from otel_distro.runtime import LoopLag

    from ._scrapes import Scrapes

Ending = Callable[[float], object]
"""Ends one signal; gets the seconds it may take."""
_LAST_LOOK = 0.5
"""Seconds for callbacks at an end: they read counters, and one of the application's that hangs must not hold it up."""
_LEAST = 0.1


@dataclass(frozen=True, slots=True)
class Exporting:
    """An exporter at work, for `otel_distro.status()`.

    Attributes:
        signal: `traces`, `metrics` or `logs`.
        name: as the user wrote it.
        exporter: the exporter or reader; one with `stats` (see `SenderStats`) tells what it has done.
        queue: ours before it, whose `counts()` tells what became of its items; None where there is none.
    """

    signal: str
    name: str
    exporter: object
    queue: object | None = None


@dataclass(slots=True)
class Pipeline:
    """The providers of a process.

    Attributes:
        tracer_provider: None when tracing is off.
        meter_provider: None when metrics are off.
        logger_provider: of the OpenTelemetry logs API, None when no log records are taken.
        take_log: gets every record of `logging` and the context of its span, to send it; None when none are sent.
        flushes: one call a signal, each sends what waits.
        endings: one call a signal, each sends what waits and stops.
        looks: called after all flushes and after all endings, before the closings: a last look at what came of them.
        closings: called after all endings, for what several signals use.
        exporting: the exporters at work.
        further: `stats` of exporters that came after the pipeline, for the metrics about them.
        scrapes: None when this pipeline answers none, or upstream's exporter does.
        loops: watches event loops; None when nothing measures their lag.
    """

    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    logger_provider: LoggerProvider | None = None
    take_log: Callable[[LogRecord, Any], None] | None = None
    flushes: list[tuple[str, Ending]] = field(default_factory=list)
    endings: list[tuple[str, Ending]] = field(default_factory=list)
    looks: list[tuple[str, Ending]] = field(default_factory=list)
    closings: list[tuple[str, Callable[[], object]]] = field(default_factory=list)
    exporting: list[Exporting] = field(default_factory=list)
    further: list[tuple[Component, Callable[[], Any]]] = field(default_factory=list)
    scrapes: Scrapes | None = None
    loops: LoopLag | None = None

    def flush(self, seconds: float, guard: Guard) -> None:
        """Send what waits, all signals at once, within `seconds`."""
        deadline = Deadline(seconds)
        _together("flush", self.flushes, seconds, guard)
        _together("last look", self.looks, min(_LAST_LOOK, max(deadline.left(), _LEAST)), guard)

    def shutdown(self, seconds: float, guard: Guard) -> None:
        """Send what waits and stop, all signals at once, within `seconds`; a second call does nothing."""
        deadline = Deadline(seconds)
        endings, self.endings = self.endings, []
        _together("shutdown", endings, seconds, guard)
        looks, self.looks = self.looks, []
        _together("last look", looks, min(_LAST_LOOK, max(deadline.left(), _LEAST)), guard)
        closings, self.closings = self.closings, []
        for part, close in closings:
            guard.call(f"shutdown {part}", None, close)


def installed_ids(name: str) -> IdGenerator | None:
    """The installed id generator of that name; None for `random`, which every provider has by itself.

    Raises:
        TypeError: what is installed there makes something else.
        Exception: whatever a third party's raises.
    """
    if name == "random":
        return None
    from importlib.metadata import entry_points  # only who chose another pays for the look-up

    from opentelemetry.sdk.trace.id_generator import IdGenerator as Base

    made = next(iter(entry_points(group="opentelemetry_id_generator", name=name))).load()()
    if not isinstance(made, Base):
        raise TypeError(f"the id generator {name!r} is a {type(made).__name__}")
    return made


def _together(what: str, calls: Sequence[tuple[str, Ending]], seconds: float, guard: Guard) -> None:
    """Run all calls side by side, each in a thread of its own, and wait for them until the budget is used up."""
    deadline = Deadline(seconds)
    threads = []
    for signal, call in calls:
        part = f"{what} {signal}"
        # daemon threads: one that hangs past the budget must not keep the process alive
        thread = threading.Thread(
            target=guard.call, args=(part, None, call, deadline.left()), name="otel-distro-end", daemon=True
        )
        if start_thread(thread):
            threads.append(thread)
        else:
            guard.call(part, None, call, deadline.left())
    for thread in threads:
        thread.join(deadline.left())
