"""The newest results as gauges; reading them runs no check."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from otel_distro._version import __version__

from .report import verdict
from .result import Status

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

    from .process import Health

_OLDEST = 120.0
"""Seconds after which a result that nobody has asked for again is no longer told."""
_NAME = "health.check.name"
_CRITICAL = "health.check.critical"


class Gauges:
    """Observes the checks of a process.

    `health.check.up` is 1 for up and degraded and 0 for down, with `health.check.critical`: what a process can do
    without is not what it waits for. `health.check.degraded` is 1 for degraded, `health.check.duration` the seconds of
    the run; all with `health.check.name`. `health.ready` is 1 where the readiness probe would be answered with 200.

    Args:
        health: of the process.
        provider: of the meter.
    """

    def __init__(self, health: Health, provider: MeterProvider) -> None:
        self._health = health
        meter = provider.get_meter("otel_distro.health", __version__)
        # units in braces: Prometheus makes a `_ratio` of a gauge of unit 1 that it gets by OTLP, our page does not
        for name, unit, description, read in (
            ("health.check.up", "{dependency}", "Whether a dependency answers its check.", self._up),
            ("health.check.degraded", "{dependency}", "Whether a dependency answers badly.", self._degraded),
            ("health.check.duration", "s", "How long the newest run of a check took.", self._duration),
            ("health.ready", "{process}", "Whether the process takes requests.", self._ready),
        ):
            meter.create_observable_gauge(name, [self._guarded(read)], unit=unit, description=description)

    def _guarded(self, read: Any) -> Any:
        from opentelemetry.metrics import Observation

        def observe(_: object) -> Iterable[Any]:
            readings = self._health.guard.call("health gauges", [], lambda: list(read()))
            return [Observation(value, attributes) for value, attributes in readings]

        return observe

    def _newest(self) -> Iterator[tuple[Any, Any]]:
        since = time.monotonic() - _OLDEST
        for probe in self._health.registry.probes():
            if probe.last is not None and probe.told_at > since:
                yield probe.check, probe.last

    def _up(self) -> Iterator[tuple[float, dict[str, str]]]:
        for check, result in self._newest():
            # as text: a label is written alike on our page and by OTLP
            attributes = {_NAME: check.name, _CRITICAL: "true" if check.critical else "false"}
            yield int(result.status is not Status.DOWN), attributes

    def _degraded(self) -> Iterator[tuple[float, dict[str, str]]]:
        for check, result in self._newest():
            yield int(result.status is Status.DEGRADED), {_NAME: check.name}

    def _duration(self) -> Iterator[tuple[float, dict[str, str]]]:
        for check, result in self._newest():
            if result.seconds is not None:
                yield result.seconds, {_NAME: check.name}

    def _ready(self) -> Iterator[tuple[float, dict[str, str]]]:
        # a supervisor and a worker that no probe has reached have nothing to say
        if self._health.asked_at < time.monotonic() - _OLDEST:
            return
        code, _ = verdict(self._health.lifecycle.phase, list(self._newest()))
        yield int(code == 200), {}
