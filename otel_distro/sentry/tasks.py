"""asyncio tasks and callbacks that fail with nobody to tell: captured in their context, so with span and request."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar
from types import ModuleType
from typing import Any

from otel_distro.guard import Guard

Capture = Callable[[BaseException, Mapping[str, Any]], object]

_MECHANISM = {"type": "asyncio", "handled": False}


class Tasks:
    """Listens to what event loops say of failed tasks and callbacks.

    Args:
        capture: sends an exception with a mechanism.
        owned: whether the active client of sentry-sdk is ours.
        guard: gets what fails.
    """

    def __init__(self, capture: Capture, owned: Callable[[], bool], guard: Guard) -> None:
        self._capture = capture
        self._owned = owned
        self._guard = guard
        self._told: ContextVar[BaseException | None] = ContextVar("otel_distro_sentry_task", default=None)

    def asyncio(self, module: ModuleType) -> None:
        """Patch `asyncio.base_events`; called when it has been imported."""
        self._patch(module.BaseEventLoop)

    def uvloop(self, module: ModuleType) -> None:
        """Patch `uvloop`; called when it has been imported."""
        self._patch(module.Loop)

    def told(self, error: BaseException) -> bool:
        """Whether `error` has just been captured and the loop is logging it now."""
        return self._told.get() is error

    def _patch(self, loop_class: Any) -> None:
        original = loop_class.call_exception_handler

        @functools.wraps(original)
        def call_exception_handler(loop: Any, context: Mapping[str, Any]) -> Any:
            error = self._guard.call("Sentry, asyncio task", None, self._failed, context)
            if error is None:
                return original(loop, context)
            token = self._told.set(error)
            try:
                return original(loop, context)
            finally:
                self._told.reset(token)

        loop_class.call_exception_handler = call_exception_handler

    def _failed(self, context: Mapping[str, Any]) -> BaseException | None:
        """The exception that was captured, None where there is none."""
        error = context.get("exception")
        failed = context.get("task") or context.get("future") or context.get("handle")
        if not isinstance(error, Exception) or failed is None or not self._owned():
            return None
        where = _context_of(failed)
        if where is None:
            self._capture(error, _MECHANISM)
        else:
            # a copy, for the context itself may be the running one
            where.copy().run(self._capture, error, _MECHANISM)
        return error


def _context_of(failed: Any) -> Context | None:
    """The context a task or a callback ran in."""
    if hasattr(failed, "get_context"):  # Python 3.12
        found = failed.get_context()
        return found if isinstance(found, Context) else None
    import gc

    return next((each for each in gc.get_referents(failed) if isinstance(each, Context)), None)


__all__ = ["Tasks"]
