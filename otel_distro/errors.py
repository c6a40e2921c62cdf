"""What an exception remembers of the request it left: whoever logs it later has no context of that request any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from .context import Record

NOTE = "__otel_distro_request__"
"""The attribute that holds the span's context and what was known about the request."""


def mark_of(error: object, name: str) -> Any:
    """What one of us has written on an exception under this name, None for nothing; no code of its class runs."""
    if not isinstance(error, BaseException):
        return None
    try:
        return BaseException.__getattribute__(error, name)
    except AttributeError:
        return None


def mark(error: BaseException, name: str, value: object) -> None:
    """Write on an exception, also a frozen one, what `mark_of` reads; no code of its class runs, none known refuses."""
    BaseException.__setattr__(error, name, value)


def note(error: BaseException, context: SpanContext | None, known: Record | None) -> None:
    """Note on an exception which request it left; the first note stays."""
    try:
        if mark_of(error, NOTE) is None:
            mark(error, NOTE, (context, known))
    except Exception:  # noqa: BLE001 - its line has no ids
        return


def noted(error: object) -> tuple[SpanContext | None, Record | None]:
    """What `note` put on an exception; two times None where there is nothing."""
    found = mark_of(error, NOTE)
    return found if isinstance(found, tuple) and len(found) == 2 else (None, None)


__all__ = ["NOTE", "mark", "mark_of", "note", "noted"]
