"""What an application reports by hand: on the running span, in the log and to Sentry, each once.

Nothing here raises. Without sentry-sdk, or where the application has not set it up, the other two remain.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any, Final, Literal

from opentelemetry import trace
from opentelemetry.trace import Span
from opentelemetry.util.types import AnyValue

from .context import plain
from .errors import mark, mark_of
from .guard import Guard, let_through
from .loggers import CAPTURES, speaking
from .redaction import redact_exception

Level = Literal["debug", "info", "warning", "error", "fatal"]

MARK: Final = "__otel_distro_captured__"
"""The attribute of an exception that has been captured: the ids of the span that was the current one."""

_LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
_RESERVED = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})


def add_attributes(attributes: Mapping[str, AnyValue] | None = None, /, **more: AnyValue) -> None:
    """Put attributes on the running span: an operation's, or the request's.

    Args:
        attributes: by name, for names with dots.
        more: likewise.
    """
    try:
        span = trace.get_current_span()
        if span.is_recording():
            span.set_attributes({**(attributes or {}), **more})
    except Exception as error:  # noqa: BLE001 - what was given may be anything
        failed("add_attributes", error)


def capture_exception(error: BaseException, /, **context: object) -> None:
    """Report an exception that the application has caught: on the running span, in the log and to Sentry.

    One that was captured before is not reported again, also where it is raised on and leaves its operation or request.
    The span's status stays: an exception that was dealt with is no failure.

    Args:
        error: the exception.
        context: what else is known; beside it in all three places.
    """
    span = trace.get_current_span()
    recording, ids = span.is_recording(), _ids(span)
    # constants of a module are raised again in other requests
    if not isinstance(error, BaseException) or (mark_of(error, MARK) or (None,))[0] == ids[0]:
        return
    try:
        mark(error, MARK, ids)
    except Exception as problem:  # noqa: BLE001 - it may be told again
        failed("capture_exception", problem)
    _attempt(_to_sentry, error, context)
    if recording:
        _attempt(_to_span, span, error, context)
    _attempt(_to_log, logging.ERROR, _described(error), context, error)


def capture_message(text: str, /, *, level: Level = "info", **context: object) -> None:
    """Report something worth a look that is no exception: on the running span, in the log and to Sentry.

    Args:
        text: what happened, with what varies in `context`: Sentry groups by it.
        level: how bad it is.
        context: what else is known.
    """
    _attempt(_message_to_sentry, text, level, context)
    span = trace.get_current_span()
    if span.is_recording():
        _attempt(span.add_event, "message", {"message": text, "level": level, **_plain(context)})
    _attempt(_to_log, _LEVELS.get(level, logging.INFO), text, context, None)


def breadcrumb(text: str, /, *, category: str = "app", level: Level = "info", **data: object) -> None:
    """Leave a trail for whoever looks at a later error: an event on the running span, and Sentry's breadcrumb.

    Args:
        text: what happened.
        category: what part of the application this is.
        level: how bad it is.
        data: what else is known.
    """
    span = trace.get_current_span()
    if span.is_recording():
        told = {"message": text, "breadcrumb.category": category, "level": level, **_plain(data)}
        _attempt(span.add_event, "breadcrumb", told)
    _attempt(_breadcrumb_to_sentry, {"message": text, "category": category, "level": level, "data": _plain(data)})


def captured_on(error: BaseException, span: Span) -> bool:
    """Whether `span` has `error` already, because the application captured it there."""
    captured: bool = mark_of(error, MARK) == _ids(span)
    return captured


def failed(part: str, error: BaseException) -> None:
    """Count a failure of ours where the distro's own pipeline runs; elsewhere there is nobody to tell."""
    guard: Any = getattr(getattr(trace.get_tracer_provider(), "pipeline", None), "guard", None)
    if isinstance(guard, Guard):
        guard.failed(part, error)


def _attempt(tell: Any, *arguments: Any) -> None:
    try:
        tell(*arguments)
    except Exception as error:  # noqa: BLE001 - a log handler, a processor or sentry-sdk may raise; the others are told
        failed(f"captures: {getattr(tell, '__name__', 'event').strip('_')}", error)


def _ids(span: Span) -> tuple[int, int]:
    context = span.get_span_context()
    return context.trace_id, context.span_id


def _described(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as raised:  # noqa: BLE001 - an exception's own __str__ may raise anything
        let_through(raised)
        text = "<unprintable>"
    return f"{type(error).__name__}: {redact_exception(text)}"


def _plain(context: Mapping[str, object]) -> dict[str, Any]:
    return {name: plain(value) for name, value in context.items()}


def _to_span(span: Span, error: BaseException, context: Mapping[str, object]) -> None:
    span.record_exception(error, _plain(context))


def _to_log(level: int, text: str, context: Mapping[str, object], error: BaseException | None) -> None:
    logger = speaking(CAPTURES)
    if logger.isEnabledFor(level):
        # a record refuses fields that it has itself
        extra = {f"{name}_" if name in _RESERVED else name: value for name, value in context.items()}
        logger.log(level, "%s", text, exc_info=error, extra=extra, stacklevel=4)  # the line of the application


def _sentry() -> Any:
    """sentry-sdk where it is at work, else None; it is never imported for this."""
    sdk: Any = sys.modules.get("sentry_sdk")
    if sdk is None or not sdk.get_client().is_active():
        return None
    from sentry_sdk.integrations.logging import ignore_logger

    # the log line below is about the same thing: one event is enough
    ignore_logger(CAPTURES)
    return sdk


def _to_sentry(error: BaseException, context: Mapping[str, object]) -> None:
    sdk = _sentry()
    if sdk is not None:
        sdk.capture_exception(error, extras=_plain(context))


def _message_to_sentry(text: str, level: str, context: Mapping[str, object]) -> None:
    sdk = _sentry()
    if sdk is not None:
        sdk.capture_message(text, level=level, extras=_plain(context))


def _breadcrumb_to_sentry(crumb: Mapping[str, Any]) -> None:
    sdk = _sentry()
    if sdk is not None:
        sdk.add_breadcrumb(dict(crumb))


__all__ = ["add_attributes", "breadcrumb", "capture_exception", "capture_message", "captured_on"]
