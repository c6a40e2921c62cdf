"""Pool metrics: what a pool holds is read when metrics are collected, how long a connection is waited for, at checkout.

A connection that cannot be made is told to whoever measures statements.

Source: semantic conventions, "Database client connection pool metrics".
"""

from __future__ import annotations

import weakref
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, Literal

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_distro.guard import Guard
from otel_distro.instrumentation.binding import Records, counter_series, histogram_series
from otel_distro.standing_in import standing_in

from .engines import Engines, EngineState

_PART = "instrumentation sqlalchemy pool"
_POOL = "db.client.connection.pool.name"
_STATE = "db.client.connection.state"
# Getting a pooled connection takes microseconds, making one milliseconds, waiting for one up to its timeout.
_WAIT_BOUNDARIES = (0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0)


class PoolMetrics:
    """Metrics of every queueing pool; pools that never let anybody wait have none.

    Args:
        meter: makes the instruments.
        engines: whose pools.
        guard: where failures go.
        unconnected: gets engine, beginning and error of what could not be connected, by any pool.
    """

    def __init__(
        self,
        meter: Meter,
        engines: Engines,
        guard: Guard,
        unconnected: Callable[[EngineState, float, Exception], object],
    ) -> None:
        self._unconnected = unconnected
        self._engines = engines
        self._guard = guard
        self._original: Callable[..., Any] | None = None
        self._timeout: type[BaseException] = TimeoutError
        self._wait = meter.create_histogram(
            "db.client.connection.wait_time",
            unit="s",
            description="The time it took to obtain an open connection from the pool.",
            explicit_bucket_boundaries_advisory=_WAIT_BOUNDARIES,
        )
        self._timeouts = meter.create_counter(
            "db.client.connection.timeouts",
            unit="{timeout}",
            description="Connection timeouts that have occurred trying to obtain a connection from the pool.",
        )
        for name, unit, description, read in (
            ("count", "{connection}", "Connections that are in the state of the attribute.", _count),
            ("max", "{connection}", "The maximum number of open connections allowed.", _maximum),
            ("idle.max", "{connection}", "The maximum number of idle open connections allowed.", _idle_maximum),
            ("pending_requests", "{request}", "Pending requests for an open connection.", _pending),
        ):
            meter.create_observable_up_down_counter(
                f"db.client.connection.{name}", [self._observer(read)], unit=unit, description=description
            )

    def wrap(self) -> None:
        """Measure `Engine.raw_connection`, through which every connection is obtained."""
        if self._original is not None:
            return
        from sqlalchemy.engine import Engine
        from sqlalchemy.exc import TimeoutError as PoolTimeout

        self._timeout = PoolTimeout
        original = self._original = Engine.raw_connection

        def raw_connection(engine: Any, *args: Any, **kwargs: Any) -> Any:
            state = self._begin(engine)
            if state is None:
                return original(engine, *args, **kwargs)
            state.waiting.append(None)
            started = perf_counter()
            try:
                return original(engine, *args, **kwargs)
            except self._timeout:
                self._timed_out(state)
                raise
            except Exception as error:
                self._guard.call(_PART, None, self._unconnected, state, started, error)
                raise
            finally:
                # a list's append and pop are atomic where `+= 1` is not
                state.waiting.pop()
                self._ended(state, perf_counter() - started)

        Engine.raw_connection = standing_in(original, raw_connection)  # type: ignore[method-assign]

    def unwrap(self) -> None:
        """Take the patch back."""
        if self._original is not None:
            from sqlalchemy.engine import Engine

            Engine.raw_connection = self._original  # type: ignore[method-assign]
            self._original = None

    def _begin(self, engine: Any) -> EngineState | None:
        try:
            state = self._engines.states.get(id(engine.dialect)) or self._engines.learn(engine)
            pool = engine.pool
            if state.pool() is not pool:
                state.pool = weakref.ref(pool)
            if state.pool_series is None:
                state.pool_series = (
                    histogram_series(self._wait, {_POOL: state.pool_name}) if hasattr(pool, "checkedout") else False
                )
        except Exception as error:  # noqa: BLE001 - the connection is made as it would be without us
            self._guard.failed(_PART, error)
            return None
        return state

    def _ended(self, state: EngineState, seconds: float) -> None:
        wait: Records | Literal[False] = state.pool_series
        if not wait:
            return
        try:
            wait.record(seconds)
        except Exception as error:  # noqa: BLE001 - see above
            self._guard.failed(_PART, error)

    def _timed_out(self, state: EngineState) -> None:
        try:
            counter_series(self._timeouts, {_POOL: state.pool_name}).add(1)
        except Exception as error:  # noqa: BLE001 - see above
            self._guard.failed(_PART, error)

    def _observer(self, read: Callable[[Any, EngineState], Iterator[tuple[str | None, int]]]) -> Any:
        """A callback that reads all pools; pools of one name are added up, as one name is one series."""

        def observe(_: CallbackOptions) -> list[Observation]:
            totals: Tally[tuple[str, str | None]] = Tally()
            for state in tuple(self._engines.states.values()):
                pool = state.pool()
                if pool is not None and hasattr(pool, "checkedout"):
                    for label, number in read(pool, state):
                        totals[state.pool_name, label] += number
            return [
                Observation(number, {_POOL: name} if label is None else {_POOL: name, _STATE: label})
                for (name, label), number in totals.items()
            ]

        return lambda options: self._guard.call(_PART, [], observe, options)


def _count(pool: Any, _: EngineState) -> Iterator[tuple[str | None, int]]:
    yield "used", pool.checkedout()
    yield "idle", pool.checkedin()


def _maximum(pool: Any, _: EngineState) -> Iterator[tuple[str | None, int]]:
    overflow = getattr(pool, "_max_overflow", None)
    # -1 is no limit; a size of 0 is none either
    if overflow is not None and overflow >= 0 and pool.size() > 0:
        yield None, pool.size() + overflow


def _idle_maximum(pool: Any, _: EngineState) -> Iterator[tuple[str | None, int]]:
    if pool.size() > 0:
        yield None, pool.size()


def _pending(_: Any, state: EngineState) -> Iterator[tuple[str | None, int]]:
    yield None, len(state.waiting)
