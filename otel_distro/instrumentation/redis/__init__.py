"""redis-py 5 to 8.1: sync, async, pipelines and clusters, with key patterns instead of keys."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from otel_distro.instrumentation.base import Toolbox
from otel_distro.instrumentation.calls import meter_of, tracer_of
from otel_distro.instrumentation.database import duration_histogram
from otel_distro.instrumentation.hooks import Hooks
from otel_distro.instrumentation.takeover import LibraryInstrumentation, Takeover

from .clients import Clients
from .commands import Commands
from .native import NativeMetrics
from .pools import PoolMetrics


class RedisInstrumentation(LibraryInstrumentation):
    """A span and a duration for each command and each pipeline, hits and misses of lookups, and the pools' connections.

    `cache.lookups` counts looked-up items by `db.operation.name`, `cache.key.pattern` and `cache.result` (`hit` or
    `miss`). The semantic conventions have no metric for it; the name says what is counted (an MGET of five keys is five
    lookups), takes nothing from a namespace of the conventions, and the hit rate is one division of its results.

    Args:
        toolbox: see `Toolbox`.
    """

    name = "redis"
    contrib = "opentelemetry.instrumentation.redis"
    instrumentor = "RedisInstrumentor"

    def __init__(self, toolbox: Toolbox) -> None:
        meter = meter_of(toolbox.meter_provider, self.name)
        super().__init__(toolbox)
        self._hooks = Hooks(self.name, toolbox.guard)
        lookups = meter.create_counter(
            "cache.lookups", unit="{lookup}", description="Items looked up in a cache, by what was found."
        )
        commands = Commands(duration_histogram(meter), lookups)
        self._clients = Clients(tracer_of(toolbox.tracer_provider, self.name), commands, self._hooks, toolbox.guard)
        pools = PoolMetrics(meter, commands, toolbox.guard)
        self._native = NativeMetrics(commands, pools, toolbox.guard)

    def uninstrument(self) -> None:
        """Take every patch back, and forget the hooks."""
        super().uninstrument()
        self._hooks.forget()

    def wrap(self, library: Any) -> None:
        """Patch the clients, and watch redis-py's own metrics."""
        self._clients.wrap(library)
        self._native.watch(library)

    def unwrap(self) -> None:
        """See `LibraryInstrumentation`."""
        self._clients.unwrap()
        self._native.unwatch()

    def replace(self, module: ModuleType, takeover: Takeover) -> None:
        """Clients that have hooks of their own or are to be left alone."""
        takeover.replace(
            "instrument_client",
            staticmethod(
                lambda client, tracer_provider=None, request_hook=None, response_hook=None: self._hooks.use_for(
                    client, {"request_hook": request_hook, "response_hook": response_hook}
                )
            ),
        )
        takeover.replace("uninstrument_client", staticmethod(self._hooks.silence))

    def configured(self, options: dict[str, Any]) -> None:
        """Use hooks and a provider."""
        self._hooks.use(options)
        if options.get("tracer_provider") is not None:
            self._clients.tracer = tracer_of(options["tracer_provider"], self.name)


__all__ = ["RedisInstrumentation"]
