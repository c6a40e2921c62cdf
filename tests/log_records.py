"""What tests of log records share: a provider, queues that end here, and `logging` joined to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext, TraceFlags

from otel_distro import settings
from otel_distro.guard import Guard
from otel_distro.logs.provider import LeanLoggerProvider
from otel_distro.logs.queue import LogQueue, Tap
from otel_distro.logs.records import LeanLogRecord, Translator
from otel_distro.otlp.encode_logs import LogEncoder
from tests.logs_rig import quiet

SPAN = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
RESOURCE = Resource({"service.name": "shop"})


class Kept:
    """An exporter that keeps what it gets."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.closed = False

    def export(self, batch: Sequence[Any]) -> Any:
        self.records += batch

    def shutdown(self) -> None:
        self.closed = True


def queue_to(exporter: Any, guard: Guard, *, ours: bool = True, size: int = 2048) -> LogQueue:
    parsed, _ = settings.parse({"OTEL_BLRP_MAX_QUEUE_SIZE": str(size)})
    return LogQueue(exporter, batch=parsed.logs.batch, guard=guard, name="kept", ours=ours)


def provider_of(*sinks: Any, guard: Guard | None = None, **bounds: Any) -> LeanLoggerProvider:
    return LeanLoggerProvider(
        resource=RESOURCE,
        resource_for_child=lambda resource: resource,
        sinks=sinks,
        guard=guard or quiet()[0],
        **bounds,
    )


class Whole:
    """`logging` joined to a queue that ends here."""

    def __init__(self, **options: Any) -> None:
        self.guard, self.said = quiet()
        self.exporter = Kept()
        self.queue = queue_to(self.exporter, self.guard)
        self.provider = provider_of(self.queue.emit, guard=self.guard)
        self.tap = Tap(Translator(**options), [self.queue], self.provider)

    def sent(self) -> list[LeanLogRecord]:
        self.queue.shutdown(10_000)
        return self.exporter.records


class Handed:
    """An exporter whose batches end here, as the bytes that would be sent."""

    def __init__(self) -> None:
        self.pieces = LogEncoder()
        self.bodies: list[bytes] = []

    def hand_over(self, encode: Any) -> bool:
        self.bodies.append(encode().body)
        return True

    hand_over_now = hand_over

    def postpone(self) -> None:
        pass

    def feed(self, fetch: Any, every: float) -> Any:
        return lambda: None

    def force_flush(self, timeout_millis: float) -> bool:
        return True

    def shutdown(self, timeout_millis: float | None) -> None:
        pass
