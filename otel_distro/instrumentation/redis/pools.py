"""What redis-py's connection pools hold, read when metrics are collected.

Source: semantic conventions, "Database client connection pool metrics". Clusters keep a pool for each node and are left
out.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_distro.guard import Guard

from .commands import Commands

_PART = "instrumentation redis pool"
_POOL = "db.client.connection.pool.name"
_STATE = "db.client.connection.state"
_NO_LIMIT = 2**31

Key = tuple[str, str | None]


class PoolMetrics:
    """Metrics of the pools through which a command has gone.

    Args:
        meter: makes the instruments.
        commands: knows the pools.
        guard: where failures go.

    Attributes:
        measures: False where redis-py itself does.
    """

    def __init__(self, meter: Meter, commands: Commands, guard: Guard) -> None:
        self._commands = commands
        self._guard = guard
        self.measures = True
        for name, description, read in (
            ("count", "Connections that are in the state of the attribute.", _count),
            ("max", "The maximum number of open connections allowed.", _maximum),
        ):
            meter.create_observable_up_down_counter(
                f"db.client.connection.{name}", [self._observer(read)], unit="{connection}", description=description
            )

    def _observer(self, read: Callable[[Any], Iterator[tuple[str | None, int]]]) -> Any:
        """A callback that reads all pools; pools of one name are added up, as one name is one series."""

        def observe(_: CallbackOptions) -> list[Observation]:
            totals: Tally[Key] = Tally()
            for pool in self._commands.pools() if self.measures else ():
                name = name_of(pool)
                for state, number in read(pool):
                    totals[name, state] += number
            return [
                Observation(number, {_POOL: name} if state is None else {_POOL: name, _STATE: state})
                for (name, state), number in totals.items()
            ]

        return lambda options: self._guard.call(_PART, [], observe, options)


def name_of(pool: Any) -> str:
    """The pool's name, as the conventions build it from where it leads: `host:port/db`."""
    options = pool.connection_kwargs
    service = getattr(pool, "service_name", None)
    if service is not None:
        # a sentinel's pool follows the master, whose address changes
        return f"{service}/{options.get('db') or 0}"
    where = options["path"] if "path" in options else f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    return f"{where}/{options.get('db') or 0}"


def _count(pool: Any) -> Iterator[tuple[str | None, int]]:
    queue = getattr(pool, "pool", None)
    if queue is not None:
        # a blocking pool's queue has a place for each connection that there may be
        idle = sum(1 for connection in tuple(queue.queue) if connection is not None)
        used = len(pool._connections) - idle  # noqa: SLF001 - redis-py offers a count from 7.2 on only
    elif hasattr(pool, "_available_connections"):
        idle = len(pool._available_connections)  # noqa: SLF001 - redis-py has no public name for them
        used = len(pool._in_use_connections)  # noqa: SLF001 - redis-py has no public name for them
    else:
        return
    yield "used", max(0, used)
    yield "idle", idle


def _maximum(pool: Any) -> Iterator[tuple[str | None, int]]:
    most = getattr(pool, "max_connections", None)
    if isinstance(most, int) and most < _NO_LIMIT:
        yield None, most


__all__ = ["PoolMetrics", "name_of"]
