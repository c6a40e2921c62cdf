"""What the trace tree needs to know of a finished span; the SDK's `ReadableSpan` has all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from opentelemetry.trace import SpanContext, SpanKind, Status

UNKNOWN_SERVICE = "unknown"


class EventLike(Protocol):
    """A span event, of which the tree shows exceptions."""

    @property
    def name(self) -> str: ...
    @property
    def attributes(self) -> Mapping[str, Any] | None: ...


class ResourceLike(Protocol):
    """Where a span comes from."""

    @property
    def attributes(self) -> Mapping[str, Any]: ...


class SpanLike(Protocol):
    """A finished span: times are in nanoseconds since the epoch; the context is None for a broken record only."""

    @property
    def name(self) -> str: ...
    @property
    def context(self) -> SpanContext | None: ...
    @property
    def parent(self) -> SpanContext | None: ...
    @property
    def kind(self) -> SpanKind: ...
    @property
    def start_time(self) -> int | None: ...
    @property
    def end_time(self) -> int | None: ...
    @property
    def status(self) -> Status: ...
    @property
    def attributes(self) -> Mapping[str, Any] | None: ...
    @property
    def events(self) -> Sequence[EventLike]: ...
    @property
    def resource(self) -> ResourceLike: ...


def service_of(span: SpanLike) -> str:
    """`service.name` of the span's resource."""
    return str(span.resource.attributes.get("service.name") or UNKNOWN_SERVICE)


def process_of(span: SpanLike) -> tuple[object, object]:
    """What tells one clock from another: service and instance (semantic conventions, "Service")."""
    attributes = span.resource.attributes
    return attributes.get("service.name"), attributes.get("service.instance.id")


def is_local_root(span: SpanLike) -> bool:
    """Whether no span of the same process stands above it."""
    return span.parent is None or span.parent.is_remote
