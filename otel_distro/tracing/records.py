# pyright: reportIncompatibleMethodOverride=false
# (a slot where upstream has a property: read in the same way, at a fifth of the cost)
"""What a span holds besides attributes: events, links, and what an exception looks like as an event."""

from __future__ import annotations

from opentelemetry.sdk.trace import Event
from opentelemetry.trace import Link, SpanContext
from opentelemetry.util.types import AnyValue

from otel_distro._compat import IS_VALID, STATE
from otel_distro.conventions import exception_type
from otel_distro.guard import let_through

from .context import text_of


class LeanEvent(Event):
    """An event of a span; `attributes` is not changed after it is made."""

    __slots__ = ("attributes", "dropped_attributes", "name", "timestamp")

    name: str
    attributes: dict[str, AnyValue]
    timestamp: int
    dropped_attributes: int

    def __init__(self, name: str, attributes: dict[str, AnyValue], timestamp: int, dropped_attributes: int) -> None:
        self.name = name
        self.attributes = attributes
        self.timestamp = timestamp
        self.dropped_attributes = dropped_attributes


class LeanLink(Link):
    """A link of a span; `attributes` is not changed after it is made."""

    __slots__ = ("attributes", "context", "dropped_attributes")

    context: SpanContext
    attributes: dict[str, AnyValue]
    dropped_attributes: int

    def __init__(self, context: SpanContext, attributes: dict[str, AnyValue], dropped_attributes: int) -> None:
        self.context = context
        self.attributes = attributes
        self.dropped_attributes = dropped_attributes


def is_link(context: object, attributes: object) -> bool:
    """Whether a link is worth keeping (specification, tracing API, "Link")."""
    if not isinstance(context, SpanContext):
        return False
    return bool(context[IS_VALID] or attributes or context[STATE])


def exception_attributes(error: BaseException, escaped: bool) -> dict[str, AnyValue]:
    """Attributes of the event `exception`, redacted; text that an exception refuses to give is replaced."""
    # late: a process without errors does not need them
    from otel_distro.redaction import redact_error, redact_exception
    from otel_distro.stacks import formatted

    try:
        # lines of source code are the same each time, and long: what varies is what is searched
        stack = formatted(error, redact_error)
    except Exception as raised:  # noqa: BLE001 - a broken __cause__, __notes__ or source loader must not raise here
        let_through(raised)
        stack = redact_error(f"{type(error).__qualname__}: {text_of(error)}")
    return {
        "exception.type": exception_type(error),
        "exception.message": redact_error(text_of(error)),
        "exception.stacktrace": redact_exception(stack),
        "exception.escaped": str(escaped),
    }


__all__ = ["LeanEvent", "LeanLink", "exception_attributes", "is_link"]
