"""Requests that sentry-sdk makes for itself: without telemetry of them, and without answers of any length.

Nothing here imports sentry-sdk.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from opentelemetry.context import Context, attach, detach, get_current

from otel_distro._compat import SUPPRESS_ALL

_MOST_READ = 65_536
"""Bytes of an answer, as it is sent; status and headers are what counts, the rest is said with `SENTRY_DEBUG` only."""


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


def bound_answers(transport: ModuleType) -> None:
    """Read the beginning of an answer only: sentry-sdk takes all of it into memory, unpacked, and some never end.

    Args:
        transport: the module `sentry_sdk.transport`; nothing happens the second time.
    """
    owner: Any = transport.HttpTransport
    original = owner._make_pool  # noqa: SLF001 - it has no public name
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def make_pool(self: Any) -> Any:
        pool = original(self)
        pool.request = _beginning(pool.request)
        return pool

    owner._make_pool = make_pool  # noqa: SLF001 - see above


def _beginning(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def request(*args: Any, **kwargs: Any) -> Any:
        from urllib3 import HTTPResponse  # sentry-sdk has imported it

        answer = original(*args, **kwargs, preload_content=False)
        try:
            body = answer.read(_MOST_READ, decode_content=False)
        finally:
            # one that was read to its end has given its connection back
            answer.close()
        return HTTPResponse(body, answer.headers, answer.status)

    return request
