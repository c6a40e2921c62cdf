"""Requests that sentry-sdk makes for itself, of which nobody wants telemetry. Nothing here imports sentry-sdk."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from opentelemetry.context import Context, attach, detach, get_current

from otel_distro._compat import SUPPRESS_ALL


def silence(transport: ModuleType) -> None:
    """Have no telemetry made of what goes to Sentry, whoever calls `init`.

    Args:
        transport: the module `sentry_sdk.transport`; nothing happens the second time.
    """
    for owner in vars(transport).values():
        if isinstance(owner, type) and "_request" in vars(owner):
            original = vars(owner)["_request"]
            if not hasattr(original, "__wrapped__"):
                setattr(owner, "_request", _silent(original))  # noqa: B010 - the name is private


def _silent(original: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def request_async(*args: Any, **kwargs: Any) -> Any:
            token = attach(Context({**get_current(), **SUPPRESS_ALL}))
            try:
                return await original(*args, **kwargs)
            finally:
                detach(token)

        return request_async

    @functools.wraps(original)
    def request(*args: Any, **kwargs: Any) -> Any:
        token = attach(Context({**get_current(), **SUPPRESS_ALL}))
        try:
            return original(*args, **kwargs)
        finally:
            detach(token)

    return request
