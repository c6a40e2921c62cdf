"""The request that a task has just served, for servers whose access line comes when the application has returned.

uvicorn and hypercorn write theirs from within the request; gunicorn's own ASGI worker and granian do not.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps

from .exchange import Exchange
from .options import Scope

_last: ContextVar[Exchange | None] = ContextVar("otel_distro_last_exchange", default=None)


def remember() -> Callable[[], None]:
    """Keep what has left from now on; again is harmless. Returns what takes it back.

    The class is changed, so that nobody pays for it where no such server runs.
    """
    original = Exchange.leave
    if hasattr(original, "__wrapped__"):
        return lambda: None

    @wraps(original)
    def leave(exchange: Exchange, scope: Scope, error: BaseException | None) -> None:
        original(exchange, scope, error)
        _last.set(exchange)

    def forget() -> None:
        Exchange.leave = original  # type: ignore[method-assign]

    Exchange.leave = leave  # type: ignore[assignment,method-assign]
    return forget


def take() -> Exchange | None:
    """What this task has served last, once: a request without telemetry that follows is not taken for it."""
    exchange = _last.get()
    if exchange is not None:
        _last.set(None)
    return exchange


__all__ = ["remember", "take"]
