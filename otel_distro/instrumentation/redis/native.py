"""redis-py's own metrics (from 7.2, off by default): where the application switches them on, durations are theirs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

from otel_distro.guard import Guard

from .commands import Commands
from .pools import PoolMetrics

_PART = "instrumentation redis metrics"


class NativeMetrics:
    """Watches `ObservabilityInstance.init`, the one way to switch redis-py's metrics on.

    Both would write `db.client.operation.duration`, and a sum over scopes would count every command twice.

    Args:
        commands: stops measuring durations when redis-py starts.
        pools: stops measuring connections when redis-py starts.
        guard: where failures go.
    """

    def __init__(self, commands: Commands, pools: PoolMetrics, guard: Guard) -> None:
        self._commands = commands
        self._pools = pools
        self._guard = guard
        self._class: Any = None
        self._original: Callable[..., Any] | None = None

    def watch(self, redis: ModuleType) -> None:
        """Start watching; versions without metrics are left alone."""
        providers = getattr(getattr(redis, "observability", None), "providers", None)
        found = getattr(providers, "ObservabilityInstance", None)
        if found is None or self._original is not None:
            return
        original = self._original = found.init
        self._class = found

        @wraps(original)
        def init(instance: Any, config: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(instance, config, *args, **kwargs)
            self._guard.call(_PART, None, self._started, config)
            return result

        found.init = init

    def unwatch(self) -> None:
        """Stop watching."""
        if self._original is not None:
            self._class.init = self._original
            self._original = None

    def _started(self, config: Any) -> None:
        from redis.observability.config import MetricGroup

        if not config.is_enabled():
            return
        if config.metric_groups & MetricGroup.CONNECTION_BASIC:
            self._pools.measures = False
        if config.metric_groups & MetricGroup.COMMAND:
            self._commands.measure_durations(None)
            self._guard.info("redis: durations of commands are measured by redis-py itself, as configured", once=_PART)
