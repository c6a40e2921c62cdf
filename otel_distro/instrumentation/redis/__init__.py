"""redis-py 4.2 to 8.1: sync, async, pipelines and clusters, with key patterns instead of keys."""

from __future__ import annotations

from types import ModuleType
from typing import Any, ClassVar

from otel_distro.instrumentation.base import Toolbox
from otel_distro.instrumentation.calls import meter_of, tracer_of
from otel_distro.instrumentation.database import duration_histogram
from otel_distro.instrumentation.hooks import Hooks
from otel_distro.instrumentation.takeover import Takeover

from .clients import Clients
from .commands import Commands
from .native import NativeMetrics
from .pools import PoolMetrics

_CONTRIB = "opentelemetry.instrumentation.redis"


class RedisInstrumentation:
    """A span and a duration for each command and each pipeline, hits and misses of lookups, and the pools' connections.

    `cache.lookups` counts looked-up items by `db.operation.name`, `cache.key.pattern` and `cache.result` (`hit` or
    `miss`). The semantic conventions have no metric for it; the name says what is counted (an MGET of five keys is five
    lookups), takes nothing from a namespace of the conventions, and the hit rate is one division of its results.

    Args:
        toolbox: see `Toolbox`.
    """

    name: ClassVar[str] = "redis"

    def __init__(self, toolbox: Toolbox) -> None:
        meter = meter_of(toolbox.meter_provider, self.name)
        self._guard = toolbox.guard
        self._hooks = Hooks(self.name, toolbox.guard)
        lookups = meter.create_counter(
            "cache.lookups", unit="{lookup}", description="Items looked up in a cache, by what was found."
        )
        commands = Commands(duration_histogram(meter), lookups)
        self._clients = Clients(tracer_of(toolbox.tracer_provider, self.name), commands, self._hooks, toolbox.guard)
        pools = PoolMetrics(meter, commands, toolbox.guard)
        self._native = NativeMetrics(commands, pools, toolbox.guard)
        self._takeover: Takeover | None = None
        self._redis: ModuleType | None = None

    def instrument(self, module: ModuleType) -> None:
        """Patch redis-py; contrib's own module is made to configure this instead of patching as well."""
        if module.__name__ == _CONTRIB:
            self._take_over(module)
        else:
            self._redis = module
            self._start()

    def uninstrument(self) -> None:
        """Take every patch back."""
        self._stop()
        self._hooks.forget()
        if self._takeover is not None:
            self._takeover.restore()
            self._takeover = None

    def _start(self) -> None:
        if self._redis is not None:
            self._clients.wrap(self._redis)
            self._native.watch(self._redis)

    def _stop(self) -> None:
        self._clients.unwrap()
        self._native.unwatch()

    def _take_over(self, module: ModuleType) -> None:
        if self._takeover is not None:
            return
        self._takeover = Takeover(
            module.RedisInstrumentor,
            name=self.name,
            guard=self._guard,
            configure=self._configure,
            uninstrument=self._stop,
        )
        self._takeover.replace(
            "instrument_client",
            staticmethod(
                lambda client, tracer_provider=None, request_hook=None, response_hook=None: self._hooks.use_for(
                    client, {"request_hook": request_hook, "response_hook": response_hook}
                )
            ),
        )
        self._takeover.replace("uninstrument_client", staticmethod(self._hooks.silence))

    def _configure(self, options: dict[str, Any]) -> None:
        self._start()
        self._hooks.use(options)
        if options.get("tracer_provider") is not None:
            self._clients.tracer = tracer_of(options["tracer_provider"], self.name)


__all__ = ["RedisInstrumentation"]
