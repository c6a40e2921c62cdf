"""SQLAlchemy 1.4, 2.0 and 2.1, sync and async, engines made before or after: one span for each `execute()`."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from otel_distro.instrumentation.base import Toolbox
from otel_distro.instrumentation.calls import meter_of, tracer_of
from otel_distro.instrumentation.database import duration_histogram
from otel_distro.instrumentation.takeover import LibraryInstrumentation

from .engines import Engines
from .pools import PoolMetrics
from .statements import Statements

_DRIVERS = ("opentelemetry.instrumentation.dbapi", "opentelemetry.instrumentation.asyncpg")
"""Imported when contrib instruments a driver: nearly all of its instrumentors are built on the first."""


class SqlalchemyInstrumentation(LibraryInstrumentation):
    """Patches classes and not engines, so that every engine of the process counts, whenever and however it was made.

    Contrib listens on each engine that `create_engine` returns: engines made before are lost, async engines are
    listened to twice, and SQLAlchemy 2.1 is refused (contrib #3696, #3977, #2149, #2971).

    Args:
        toolbox: see `Toolbox`.
    """

    name = "sqlalchemy"
    contrib = "opentelemetry.instrumentation.sqlalchemy"
    instrumentor = "SQLAlchemyInstrumentor"

    def __init__(self, toolbox: Toolbox) -> None:
        meter = meter_of(toolbox.meter_provider, self.name)
        super().__init__(toolbox)
        tracer = tracer_of(toolbox.tracer_provider, self.name)
        engines = Engines(duration_histogram(meter))
        self._statements = Statements(tracer, engines, toolbox.guard)
        self._pools = PoolMetrics(meter, engines, toolbox.guard, self._statements.unconnected)
        if toolbox.settings.sqlcommenter:
            from .commenter import Commenter  # off by default

            self._statements.comment_with(Commenter())

    def instrument(self, module: ModuleType) -> None:
        """As the base class.

        Once contrib instruments a driver, that is silenced below our statements, so that one call makes one span.
        """
        if module.__name__ in _DRIVERS:
            self._statements.silence_drivers()
        else:
            super().instrument(module)

    def wrap(self, library: Any) -> None:
        """Patch statements and pools."""
        self._statements.wrap()
        self._pools.wrap()

    def unwrap(self) -> None:
        """See `LibraryInstrumentation`."""
        self._statements.unwrap()
        self._pools.unwrap()

    def configured(self, options: dict[str, Any]) -> None:
        """Use a provider, and comments in statements."""
        self.wrap(self._library)  # also where contrib's module is the first that was seen
        if options.get("tracer_provider") is not None:
            self._statements.tracer = tracer_of(options["tracer_provider"], self.name)
        if options.get("enable_commenter"):
            from .commenter import Commenter

            options_of_comments = options.get("commenter_options") or {}
            self._statements.comment_with(
                Commenter(options_of_comments, on_span=bool(options.get("enable_attribute_commenter")))
            )


__all__ = ["SqlalchemyInstrumentation"]
