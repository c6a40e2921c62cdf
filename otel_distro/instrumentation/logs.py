"""`logging`, structlog and loguru: who takes their records. The work itself is done by `otel_distro.logs`, earlier."""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar

from .base import Toolbox


class LoggingInstrumentation:
    """Holds the place of contrib's instrumentations, whose handler would send every record a second time.

    The configurator has joined `logging` by now, before the application's first line.
    """

    name: ClassVar[str] = "logging"

    def __init__(self, toolbox: Toolbox) -> None:
        del toolbox

    def instrument(self, module: ModuleType) -> None:
        """Nothing: see `otel_distro.logs.set_up`."""

    def uninstrument(self) -> None:
        """Nothing: an application's lines do not change while it runs."""


__all__ = ["LoggingInstrumentation"]
