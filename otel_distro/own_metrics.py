"""The distro's metrics about itself: what became of every span, point and record, how long exports took, what failed.

Everything but the exports' duration is read from counters that exist anyway, when metrics are collected. Names are the
semantic conventions' where they have one, else begin with `otel_distro.`.

Source: semantic conventions 1.44, "OpenTelemetry SDK metrics".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_distro.components import Component
from otel_distro.conventions import server_of
from otel_distro.guard import Guard
from otel_distro.process import in_forked_child

if TYPE_CHECKING:
    from typing import Protocol

    class Queue(Protocol):
        """What is asked of a batching processor; `BatchQueue` has it."""

        def counts(self) -> Mapping[str, int]:
            """What became of the items, by name; in a forked child from zero on."""
            ...

        def __len__(self) -> int: ...

    class Sent(Protocol):
        """What is asked of an exporter's numbers; `SenderStats` has it."""

        @property
        def endpoint(self) -> str: ...
        @property
        def sent(self) -> int: ...
        @property
        def dropped(self) -> Mapping[str, int]: ...
        @property
        def queued(self) -> int: ...
        @property
        def requests(self) -> int: ...
        @property
        def failures(self) -> int: ...


_SUCCESS: Final = ""
_NAMES: Final = {
    "traces": ("span", "{span}", "spans"),
    "metrics": ("metric_data_point", "{data_point}", "metric data points"),
    "logs": ("log", "{log_record}", "log records"),
}
_PROCESSED: Final = {
    "exported": _SUCCESS,
    "failed": _SUCCESS,
    "raised": _SUCCESS,
    "after_shutdown": "already_shutdown",
    "at_shutdown": "shutdown_timeout",
}
"""`error.type` of a queue's counters: what was handed to the exporter was processed, whatever became of it there."""
_REASONS: Final = {"rejected by the collector": "rejected"}
"""What a sender says, as the semantic conventions say it."""


class _Watched:
    """A batching processor, with the most it was seen to have taken."""

    __slots__ = ("capacity", "component", "exporter", "produced", "queue")

    def __init__(self, component: Component, queue: Queue, capacity: int, exporter: str | None) -> None:
        self.component = component
        self.queue = queue
        self.capacity = capacity
        self.exporter = exporter
        self.produced = 0


class OwnMetrics:
    """The metrics about the distro itself.

    Args:
        meter: of the distro's own scope.
        guard: whose failures are counted.
    """

    def __init__(self, meter: Meter, guard: Guard) -> None:
        self._meter = meter
        self._queues: list[_Watched] = []
        self._exporters: list[tuple[Component, Callable[[], Iterable[Sent]]]] = []
        self._made: set[tuple[str, str]] = set()
        self._guard = guard
        meter.create_observable_counter(
            "otel_distro.failures",
            [self._failures],
            "{failure}",
            "Failures of the distro's parts that were kept from the application.",
        )
        in_forked_child(self._after_fork, guard.failed)

    def watch_queue(self, component: Component, queue: Queue, capacity: int, exporter: str | None = None) -> None:
        """Show what becomes of the items of a batching processor.

        Args:
            component: with the signal `traces` or `logs`.
            queue: its counters.
            capacity: the most items that may wait.
            exporter: the type of an exporter that keeps no numbers of its own: what it answered is shown as its.
        """
        self._queues.append(_Watched(component, queue, capacity, exporter))
        if exporter is not None:
            self._exported_counter(component.signal)
        if not self._first("processor", component.signal):
            return
        noun, unit, items = _NAMES[component.signal]
        signal = component.signal
        self._counter(
            f"otel.sdk.processor.{noun}.processed",
            lambda _: self._processed(signal),
            unit,
            f"The number of {items} for which the processing has finished, either successful or failed.",
        )
        self._counter(
            f"otel_distro.{noun}.produced",
            lambda _: self._produced(signal),
            unit,
            f"The number of {items} that the application has made for export, whatever became of them.",
        )
        self._level(
            f"otel.sdk.processor.{noun}.queue.size",
            lambda _: self._levels(signal, lambda watched: len(watched.queue)),
            unit,
            f"The number of {items} in the queue of a given instance of an SDK {noun} processor.",
        )
        self._level(
            f"otel.sdk.processor.{noun}.queue.capacity",
            lambda _: self._levels(signal, lambda watched: watched.capacity),
            unit,
            f"The maximum number of {items} the queue of a given instance of an SDK {noun} processor can hold.",
        )

    def watch_exporter(self, component: Component, stats: Callable[[], Iterable[Sent]]) -> None:
        """Show what an exporter of ours has delivered and lost.

        Args:
            component: any signal.
            stats: its senders' numbers.
        """
        self._exporters.append((component, stats))
        signal = component.signal
        self._exported_counter(signal)
        if self._first("inflight", signal):
            noun, unit, items = _NAMES[signal]
            self._level(
                f"otel.sdk.exporter.{noun}.inflight",
                lambda _: self._inflight(signal),
                unit,
                f"The number of {items} which were passed to the exporter, but that have not been exported yet.",
            )
        if self._first("attempts", ""):
            self._counter(
                "otel_distro.exporter.attempts",
                lambda _: self._attempts(),
                "{attempt}",
                "Requests to a collector, those that were tried again each time.",
            )

    # --- callbacks ---------------------------------------------------------------------------------------------------

    def _processed(self, signal: str) -> Iterator[Observation]:
        for watched in self._of(signal):
            attributes = watched.component.attributes
            totals: dict[str, int] = {_SUCCESS: 0}
            for name, count in watched.queue.counts().items():
                error = _PROCESSED.get(name, name)
                totals[error] = totals.get(error, 0) + count
            for error, count in totals.items():
                if count or not error:
                    yield Observation(count, _with_error(attributes, error))

    def _produced(self, signal: str) -> Iterator[Observation]:
        for watched in self._of(signal):
            now = sum(watched.queue.counts().values()) + len(watched.queue)
            # what an exporter holds at this moment is in neither; a counter must not fall for that
            watched.produced = max(watched.produced, now)
            yield Observation(watched.produced, watched.component.attributes)

    def _levels(self, signal: str, read: Callable[[_Watched], int]) -> Iterator[Observation]:
        for watched in self._of(signal):
            yield Observation(read(watched), watched.component.attributes)

    def _exported(self, signal: str) -> Iterator[Observation]:
        for attributes, sender in self._senders(signal):
            yield Observation(sender.sent, attributes)
            for reason, count in sender.dropped.items():
                yield Observation(count, _with_error(attributes, error_of(reason)))
        for watched in self._of(signal):
            if watched.exporter is not None:
                attributes = Component(signal, watched.exporter, watched.component.name).attributes
                for name, error in (("exported", _SUCCESS), ("failed", "failed"), ("raised", "raised")):
                    count = watched.queue.counts().get(name, 0)
                    if count or not error:
                        yield Observation(count, _with_error(attributes, error))

    def _inflight(self, signal: str) -> Iterator[Observation]:
        for attributes, sender in self._senders(signal):
            yield Observation(sender.queued, attributes)

    def _attempts(self) -> Iterator[Observation]:
        for attributes, sender in self._senders():
            yield Observation(sender.requests - sender.failures, {**attributes, "outcome": "success"})
            yield Observation(sender.failures, {**attributes, "outcome": "failure"})

    def _failures(self, _: CallbackOptions) -> Iterator[Observation]:
        for failure in self._guard.failures:
            count = failure.count - failure.inherited
            if count > 0:
                yield Observation(count, {"otel_distro.part": failure.part})

    # --- how they are made -------------------------------------------------------------------------------------------

    def _of(self, signal: str) -> Iterator[_Watched]:
        return (watched for watched in tuple(self._queues) if watched.component.signal == signal)

    def _senders(self, signal: str | None = None) -> Iterator[tuple[dict[str, str | int], Sent]]:
        """Every target with its attributes, of one signal or of all."""
        for component, stats in tuple(self._exporters):
            if signal in {None, component.signal}:
                for sender in stats():
                    yield {**component.attributes, **server_of(sender.endpoint)}, sender

    def _first(self, what: str, signal: str) -> bool:
        """Whether the instruments of this kind have still to be made."""
        key = what, signal
        if key in self._made:
            return False
        self._made.add(key)
        return True

    def _exported_counter(self, signal: str) -> None:
        if self._first("exported", signal):
            noun, unit, items = _NAMES[signal]
            what = f"The number of {items} for which the export has finished, either successful or failed."
            self._counter(f"otel.sdk.exporter.{noun}.exported", lambda _: self._exported(signal), unit, what)

    def _counter(
        self, name: str, read: Callable[[CallbackOptions], Iterable[Observation]], unit: str, what: str
    ) -> None:
        self._meter.create_observable_counter(name, [read], unit, what)

    def _level(self, name: str, read: Callable[[CallbackOptions], Iterable[Observation]], unit: str, what: str) -> None:
        self._meter.create_observable_up_down_counter(name, [read], unit, what)

    def _after_fork(self) -> None:
        for watched in self._queues:
            watched.produced = 0


def error_of(reason: str) -> str:
    """`error.type` of a sender's reason: few values, without blanks; a refusal is the status it came with."""
    _, refused, status = reason.partition("refused with status ")
    return status if refused else _REASONS.get(reason, reason.replace(" ", "_"))


def _with_error(attributes: Mapping[str, str | int], error: str) -> dict[str, str | int]:
    return {**attributes, "error.type": error} if error else dict(attributes)


__all__ = ["OwnMetrics", "error_of"]
