"""Metrics that nobody records: the process's, and the distro's about itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from otel_distro import settings
from otel_distro._version import __version__
from otel_distro.components import Component
from otel_distro.conventions import SCHEMA_URL
from otel_distro.export_durations import ExportDurations
from otel_distro.guard import Guard
from otel_distro.metrics import LeanMeterProvider, Merge
from otel_distro.metrics.groups import Groups

from ._base import Exporting, Pipeline

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

_RUNTIME, _OWN = "otel_distro.runtime", "otel_distro.own"
_NOUNS = {"traces": "span", "metrics": "metric", "logs": "log"}
_WAYS = {"grpc": "grpc", "http/json": "http_json", "http/protobuf": "http"}


_HEALTH: Mapping[str, Merge] = {
    "health.check.up": Merge.MIN,
    "health.check.degraded": Merge.MAX,
    "health.check.duration": Merge.MAX,
    "health.ready": Merge.MIN,
}
"""The worst of the workers that were asked of late: one that cannot work would be hidden by whoever was asked last.

Not in `otel_distro.health`, which is imported by those who have it.
"""


def merges(groups: Groups) -> Mapping[str, Merge]:
    """How workers' gauges become one, of the groups that are made and of health."""
    if "runtime" not in groups:
        return _HEALTH
    from otel_distro.runtime import MERGES

    return {**_HEALTH, **MERGES}


def otlp_component(signal: str, otlp: settings.Otlp) -> Component:
    """The exporter by OTLP as the semantic conventions call it, `otlp_http_span_exporter` for instance."""
    return Component(signal, f"otlp_{_WAYS[otlp.protocol]}_{_NOUNS[signal]}_exporter", "otlp")


def install(
    chosen: settings.Settings, guard: Guard, pipeline: Pipeline, provider: LeanMeterProvider, settled: ExportDurations
) -> None:
    """Make the instruments of the groups `runtime` and `own`, where they are on; each failure costs its part only.

    Those that only callbacks fill are made before the first collection: a process that ends before pays nothing.

    Args:
        chosen: tells which groups, and how exporters are called.
        guard: gets failures, and is watched.
        pipeline: with all exporters; gets what watches event loops.
        provider: makes the meters.
        settled: gets the histogram of the exports' durations.
    """
    enabled = chosen.metric_groups.enabled
    if "runtime" in enabled:
        guard.call("runtime metrics", None, _runtime, guard, pipeline, provider)
    if "own" in enabled:
        guard.call("own metrics", None, _own, chosen, guard, pipeline, provider, settled)
    pipeline.looks.append(("metrics", lambda seconds: _last_look(provider, seconds)))


def _last_look(provider: LeanMeterProvider, seconds: float) -> None:
    """Let the group keep what a process that ends has done since the last scrape, unless it never measured."""
    if provider.store.entries():
        provider.observe(seconds * 1000)


def _meter(provider: LeanMeterProvider, name: str) -> Meter:
    # not the provider's own `get_meter`, which begins the scrapes: a program that measures nothing needs no port
    return LeanMeterProvider.get_meter(provider, name, __version__, SCHEMA_URL)


def _runtime(guard: Guard, pipeline: Pipeline, provider: LeanMeterProvider) -> None:
    from otel_distro.runtime import Garbage, LoopLag, observe_garbage

    meter = _meter(provider, _RUNTIME)
    garbage = Garbage(guard)  # in a forked child it has to know what its parent had collected

    def observe() -> None:
        from otel_distro.runtime.process import observe_process

        # a group's knows of others; to ask for its class would import it for programs that have none
        store: Any = provider.store
        observe_process(meter, killed=(lambda: store.killed) if hasattr(store, "killed") else None)
        observe_garbage(meter, garbage)

    provider.before_first_reading(_RUNTIME, observe)
    pipeline.loops = LoopLag(meter, guard)


def _own(
    chosen: settings.Settings, guard: Guard, pipeline: Pipeline, provider: LeanMeterProvider, settled: ExportDurations
) -> None:
    meter = _meter(provider, _OWN)
    settled.measure(meter)
    exporting = tuple(pipeline.exporting)
    provider.before_first_reading(_OWN, lambda: _observe(chosen, guard, meter, exporting, pipeline.further))


def _observe(
    chosen: settings.Settings,
    guard: Guard,
    meter: Meter,
    at_work: Iterable[Exporting],
    further: Iterable[tuple[Component, Callable[[], Any]]],
) -> None:
    from otel_distro.own_metrics import OwnMetrics

    own = OwnMetrics(meter, guard)
    otlp = {"traces": chosen.otlp_traces, "metrics": chosen.otlp_metrics, "logs": chosen.otlp_logs}
    capacities = {"traces": chosen.traces.batch.max_queue_size, "logs": chosen.logs.batch.max_queue_size}
    for exporting in at_work:
        component = _component(exporting, otlp[exporting.signal])
        stats: Callable[[], Any] | None = getattr(exporting.exporter, "stats", None)
        if stats is not None:
            own.watch_exporter(component, stats)
        queue: Any = exporting.queue
        if queue is not None:
            processor = Component(exporting.signal, f"batching_{_NOUNS[exporting.signal]}_processor", exporting.name)
            # an exporter that keeps no numbers is known by what it answers
            answers = None if stats is not None else component.type
            own.watch_queue(processor, queue, capacities[exporting.signal], answers)
    for component, stats_of in further:
        own.watch_exporter(component, stats_of)


def _component(exporting: Exporting, otlp: settings.Otlp) -> Component:
    """The exporter by the conventions' name; any other by the language's own, as they ask for."""
    if exporting.name == "otlp":
        return otlp_component(exporting.signal, otlp)
    kind = type(exporting.exporter)
    return Component(exporting.signal, f"{kind.__module__}.{kind.__qualname__}", exporting.name)
