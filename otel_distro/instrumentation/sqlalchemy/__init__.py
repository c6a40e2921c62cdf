"""SQLAlchemy 1.4, 2.0 and 2.1, sync and async, engines made before or after: one span for each `execute()`."""

from __future__ import annotations

from types import ModuleType
from typing import Any, ClassVar

from otel_distro.instrumentation.base import Toolbox
from otel_distro.instrumentation.calls import meter_of, tracer_of
from otel_distro.instrumentation.database import duration_histogram
from otel_distro.instrumentation.takeover import Takeover

from .engines import Engines
from .pools import PoolMetrics
from .statements import Statements

_CONTRIB = "opentelemetry.instrumentation.sqlalchemy"
_DRIVERS = ("opentelemetry.instrumentation.dbapi", "opentelemetry.instrumentation.asyncpg")
"""Imported when contrib instruments a driver: nearly all of its instrumentors are built on the first."""


class SqlalchemyInstrumentation:
    """Patches classes and not engines, so that every engine of the process counts, whenever and however it was made.

    Contrib listens on each engine that `create_engine` returns: engines made before are lost, async engines are
    listened to twice, and SQLAlchemy 2.1 is refused (contrib #3696, #3977, #2149, #2971).

    Args:
        toolbox: see `Toolbox`.
    """

    name: ClassVar[str] = "sqlalchemy"

    def __init__(self, toolbox: Toolbox) -> None:
        meter = meter_of(toolbox.meter_provider, self.name)
        self._guard = toolbox.guard
        tracer = tracer_of(toolbox.tracer_provider, self.name)
        engines = Engines(duration_histogram(meter))
        self._statements = Statements(tracer, engines, toolbox.guard)
        self._pools = PoolMetrics(meter, engines, toolbox.guard)
        self._takeover: Takeover | None = None
        if toolbox.settings.sqlcommenter:
            from .commenter import Commenter  # off by default

            self._statements.comment_with(Commenter())

    def instrument(self, module: ModuleType) -> None:
        """Patch SQLAlchemy.

        Contrib's own module is made to configure this instead of patching as well. Once contrib instruments a driver,
        that is silenced below our statements, so that one call makes one span.
        """
        if module.__name__ == _CONTRIB:
            self._take_over(module)
        elif module.__name__ in _DRIVERS:
            self._statements.silence_drivers()
        else:
            self._statements.wrap()
            self._pools.wrap()

    def uninstrument(self) -> None:
        """Take every patch back."""
        self._stop()
        if self._takeover is not None:
            self._takeover.restore()
            self._takeover = None

    def _stop(self) -> None:
        self._statements.unwrap()
        self._pools.unwrap()

    def _take_over(self, module: ModuleType) -> None:
        if self._takeover is None:
            self._takeover = Takeover(
                module.SQLAlchemyInstrumentor,
                name=self.name,
                guard=self._guard,
                configure=self._configure,
                uninstrument=self._stop,
            )

    def _configure(self, options: dict[str, Any]) -> None:
        self._statements.wrap()
        self._pools.wrap()
        if options.get("tracer_provider") is not None:
            self._statements.tracer = tracer_of(options["tracer_provider"], self.name)
        if options.get("enable_commenter"):
            from .commenter import Commenter

            options_of_comments = options.get("commenter_options") or {}
            self._statements.comment_with(
                Commenter(options_of_comments, on_span=bool(options.get("enable_attribute_commenter")))
            )


__all__ = ["SqlalchemyInstrumentation"]
