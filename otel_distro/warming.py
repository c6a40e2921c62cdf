"""What a start leaves for later and a server's first request need not pay: done when the server begins to listen."""

from __future__ import annotations

import functools
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from .guard import Guard


class Warming:
    """Imports and compiles what is in use, once.

    Args:
        guard: gets what fails.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def watch_uvicorn(self, module: ModuleType) -> None:
        """Be ready before a server of `uvicorn.server` listens; called when that module has been imported."""
        original, guard = module.Server.startup, self._guard

        @functools.wraps(original)
        async def startup(server: Any, *args: Any, **kwargs: Any) -> Any:
            guard.call("warming", None, warm)
            return await original(server, *args, **kwargs)

        module.Server.startup = startup


def warm() -> None:
    """Ask each part that is loaded a question, as the first request will."""
    from .redaction.policy import is_secret_field, is_secret_parameter

    import_module("opentelemetry.util.http")  # what the first user agent is looked at with
    is_secret_field("")
    is_secret_parameter("")
    if "otel_distro.instrumentation.sql_summary" in sys.modules:
        from .instrumentation.sql_summary import summarize
        from .redaction import sanitize_sql

        summarize(sanitize_sql('SELECT "a"', "postgresql"))
