"""An exception as data: type, message and frames for JSON lines, the three attributes of the conventions for OTLP."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from types import TracebackType
from typing import Any

from otel_distro.redaction import redact_exception, redact_message
from otel_distro.stacks import formatted
from otel_distro.tracing.context import text_of

from .values import LONGEST, class_name

_MOST_FRAMES = 50  # the innermost: where it happened
_MOST_CAUSES = 5
_MOST_OF_GROUP = 10
_MOST_TOLD = 50  # causes and parts of groups of one exception, however they are nested
_MOST_NOTES = 5
_LONGEST_STACK = 64 * 1024


def error_of(exc_info: object) -> BaseException | None:
    """The exception of a record's `exc_info`, which may be anything an application put there."""
    if isinstance(exc_info, tuple) and len(exc_info) == 3:
        exc_info = exc_info[1]
    return exc_info if isinstance(exc_info, BaseException) else None


def structured(error: BaseException) -> dict[str, Any]:
    """`{"type", "message", "frames": [{"file", "line", "function"}, ...], "cause"}`, the innermost frame last."""
    return _structured(error, 0, iter(range(_MOST_TOLD)))


def _structured(error: BaseException, depth: int, room: Iterator[int]) -> dict[str, Any]:
    found: dict[str, Any] = {"type": class_name(type(error)), "message": _message(error)}
    frames, left_out = _frames(error.__traceback__)
    if frames:
        found["frames"] = frames
    if left_out:
        found["frames_left_out"] = left_out
    notes = _notes(error)
    if isinstance(notes, list):
        found["notes"] = [_redacted(note) for note in notes[:_MOST_NOTES] if type(note) is str]
    if depth < _MOST_CAUSES:
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is not None and cause is not error and next(room, None) is not None:
            found["cause"] = _structured(cause, depth + 1, room)
        if isinstance(error, BaseExceptionGroup):
            parts = islice(error.exceptions, _MOST_OF_GROUP)
            found["exceptions"] = [_structured(part, depth + 1, room) for part in parts if next(room, None) is not None]
    return found


def attributes_of(error: BaseException) -> dict[str, str]:
    """`exception.type`, `.message` and `.stacktrace`, redacted.

    Source: semantic conventions, "Semantic conventions for exceptions in logs".
    """
    stack = stack_text(error)
    return {
        "exception.type": class_name(type(error)),
        "exception.message": _message(error),
        "exception.stacktrace": stack,
    }


def stack_text(error: BaseException) -> str:
    """The stack trace as Python prints it, redacted, at most 64 KiB."""
    try:
        stack = formatted(error)
    except Exception:  # noqa: BLE001 - a broken __cause__, __notes__ or source loader must not raise here
        stack = f"{class_name(type(error))}: {text_of(error)}"
    if len(stack) > _LONGEST_STACK:
        stack = stack[:_LONGEST_STACK] + "…"
    return redact_message(redact_exception(stack))


def _message(error: BaseException) -> str:
    return _redacted(text_of(error))


def _redacted(text: str) -> str:
    return redact_message(redact_exception(text[:LONGEST]))


def _notes(error: BaseException) -> object:
    try:
        return getattr(error, "__notes__", None)
    except Exception:  # noqa: BLE001 - attributes of the application's own making
        return None


def _frames(trace: TracebackType | None) -> tuple[list[dict[str, Any]], int]:
    kept: deque[dict[str, Any]] = deque(maxlen=_MOST_FRAMES)
    count = 0
    while trace is not None:
        code = trace.tb_frame.f_code
        kept.append({"file": code.co_filename, "line": trace.tb_lineno, "function": code.co_qualname})
        trace = trace.tb_next
        count += 1
    return list(kept), count - len(kept)


__all__ = ["attributes_of", "error_of", "stack_text", "structured"]
