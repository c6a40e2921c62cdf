"""A check as it was declared, and the exclusion of telemetry from its run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: under which it is shown and measured.
        function: sync or async, without arguments; see `result.returned` for what its answer means.
        critical: without it the process is not ready; else it is degraded.
        timeout: seconds a run may take.
        cache: seconds its result counts.
    """

    name: str
    function: Callable[[], Any]
    critical: bool
    timeout: float
    cache: float

    @property
    def is_async(self) -> bool:
        """Whether it runs on the event loop; else it gets a thread."""
        function = self.function
        return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - whether calling the object gives a coroutine
        )


def silent() -> Context:
    """A context of its own, in which nothing makes telemetry: a check is no part of the request that asks for it."""
    context = Context()
    context.run(_suppress)
    return context


def _suppress() -> None:
    from opentelemetry.context import Context as Values

    from otel_distro._compat import SUPPRESS_ALL
    from otel_distro.tracing.context import attach

    attach(Values(SUPPRESS_ALL))


def is_silent() -> bool:
    """Whether the running code is a check, or asked for no telemetry otherwise."""
    from otel_distro.tracing.context import suppressed

    return suppressed()
