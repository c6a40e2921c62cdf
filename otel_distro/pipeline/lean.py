"""Our own pipeline: lean spans and series behind upstream's interfaces, encoded and sent without protobuf objects."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from otel_distro import resource as resources
from otel_distro import sampling, settings
from otel_distro.guard import Guard
from otel_distro.metrics import LeanMeterProvider
from otel_distro.tracing import BatchQueue, LeanTracerProvider

from . import _exporters
from ._base import Pipeline


class ChildResource:
    """The resource of a forked child, one for all signals, so that they share a `service.instance.id`.

    Args:
        parent: the resource before the fork.
        general: tells whether the user fixed the instance id.
    """

    def __init__(self, parent: Resource, general: settings.General) -> None:
        self._general = general
        self._pid = os.getpid()
        self._resource = parent

    def __call__(self, _: Resource | None = None) -> Resource:
        pid = os.getpid()
        if pid != self._pid:
            self._pid, self._resource = pid, resources.for_child(self._resource, self._general)
        return self._resource


def build(chosen: settings.Settings, resource: Resource, guard: Guard, *, serves: bool) -> Pipeline:
    """Assemble our providers; arguments as of `upstream.build`."""
    pipeline = Pipeline()
    child = ChildResource(resource, chosen.general)
    tracer_provider = _tracer_provider(chosen, resource, child, guard)
    if tracer_provider is not None:
        pipeline.tracer_provider = tracer_provider
        pipeline.flushes.append(("traces", lambda seconds: tracer_provider.force_flush(int(seconds * 1000))))
        pipeline.endings.append(("traces", lambda seconds: tracer_provider.shutdown(seconds * 1000)))
    meter_provider = _meter_provider(chosen, resource, child, guard, serves=serves)
    if meter_provider is not None:
        pipeline.meter_provider = meter_provider
        pipeline.flushes.append(("metrics", lambda seconds: meter_provider.force_flush(seconds * 1000)))
        pipeline.endings.append(("metrics", lambda seconds: meter_provider.shutdown(seconds * 1000)))
    return pipeline


def _tracer_provider(
    chosen: settings.Settings, resource: Resource, child: ChildResource, guard: Guard
) -> LeanTracerProvider | None:
    traces = chosen.traces
    if traces.exporters == ("none",):
        return None
    fallback = sampling.build("parentbased_always_on")
    provider = LeanTracerProvider(
        resource=resource,
        sampler=guard.call("sampler", fallback, sampling.build, traces.sampler, traces.sampler_arg),
        limits=traces.limits,
        guard=guard,
        resource_for_child=child,
    )
    built_in: dict[str, Callable[[], Any]] = {
        "otlp": lambda: _otlp_span_exporter(chosen, guard),
        "console": _console,
    }
    for name, exporter in _exporters.build("traces", traces.exporters, built_in, guard):
        provider.add_span_processor(BatchQueue(exporter, batch=traces.batch, guard=guard, name=name))
    return provider


def _otlp_span_exporter(chosen: settings.Settings, guard: Guard) -> Any:
    if chosen.otlp_traces.protocol == "grpc":
        from .upstream import otlp_span_exporter

        return otlp_span_exporter(chosen.otlp_traces)
    from otel_distro.otlp.exporters import build_span_exporter

    return build_span_exporter(chosen.otlp_traces, chosen.distro, guard)


def _console() -> Any:
    from otel_distro.console import ConsoleSpanExporter

    return ConsoleSpanExporter()


def _meter_provider(
    chosen: settings.Settings, resource: Resource, child: ChildResource, guard: Guard, *, serves: bool
) -> LeanMeterProvider | None:
    metrics = chosen.metrics
    if metrics.exporters == ("none",):
        return None
    built_in: dict[str, Callable[[], Any]] = {
        "otlp": lambda: _otlp_metric_exporter(chosen, guard),
        "console": _console_metrics,
    }
    names = [name for name in metrics.exporters if name != "prometheus"]
    readers = [_as_reader(made, metrics) for _, made in _exporters.build("metrics", names, built_in, guard)]
    return LeanMeterProvider(
        resource=resource,
        guard=guard,
        exemplar_filter=metrics.exemplar_filter,
        readers=readers,
        scraped="prometheus" in metrics.exporters,
        child_resource=child,
    )


def _as_reader(made: Any, metrics: settings.Metrics) -> MetricReader:
    """Installed metric exporters may be exporters or readers, as upstream has it."""
    if isinstance(made, MetricReader):
        return made
    return PeriodicExportingMetricReader(
        made, export_interval_millis=metrics.export_interval, export_timeout_millis=metrics.export_timeout
    )


def _otlp_metric_exporter(chosen: settings.Settings, guard: Guard) -> Any:
    if chosen.otlp_metrics.protocol == "grpc":
        from .upstream import otlp_metric_exporter

        return otlp_metric_exporter(chosen.otlp_metrics, chosen.metrics)
    from otel_distro.otlp.exporters import build_metric_exporter

    return build_metric_exporter(chosen.otlp_metrics, chosen.metrics, chosen.distro, guard)


def _console_metrics() -> Any:
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter

    return ConsoleMetricExporter()
