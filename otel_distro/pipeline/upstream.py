"""The unmodified upstream SDK, assembled from the same settings: our pipeline's oracle, and the user's way out."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from importlib.metadata import entry_points
from typing import Any

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)

from otel_distro import settings
from otel_distro._compat_metrics import EXEMPLAR_FILTERS
from otel_distro.guard import Guard
from otel_distro.quiet import quieten

from . import _exporters
from ._base import Exporting, Pipeline, installed_ids
from ._console import console
from ._context import ContextOnSpans


def build(
    chosen: settings.Settings, resource: Resource, guard: Guard, *, environ: MutableMapping[str, str], serves: bool
) -> Pipeline:
    """Assemble upstream's providers.

    Args:
        chosen: the process's settings.
        resource: what all telemetry carries.
        guard: gets every part that cannot be built.
        environ: read for what the console exporter may draw.
        serves: whether this process may bind the port of `/metrics`.
    """
    quieten()
    pipeline = Pipeline()
    tracer_provider = _tracer_provider(chosen, resource, guard, environ, pipeline)
    pipeline.tracer_provider = tracer_provider
    pipeline.flushes.append(("traces", lambda seconds: tracer_provider.force_flush(int(seconds * 1000))))
    pipeline.endings.append(("traces", lambda _: tracer_provider.shutdown()))
    meter_provider = _meter_provider(chosen, resource, guard, pipeline, serves=serves)
    if meter_provider is not None:
        pipeline.meter_provider = meter_provider
        pipeline.flushes.append(("metrics", lambda seconds: meter_provider.force_flush(seconds * 1000)))
        pipeline.endings.append(("metrics", lambda seconds: meter_provider.shutdown(seconds * 1000)))
    if chosen.logs.exporters != ("none",):
        from . import _upstream_logs

        guard.call("logs", None, _upstream_logs.add, chosen, resource, guard, pipeline)
    return pipeline


def _tracer_provider(
    chosen: settings.Settings, resource: Resource, guard: Guard, environ: Mapping[str, str], pipeline: Pipeline
) -> TracerProvider:
    traces = chosen.traces
    provider = TracerProvider(
        sampler=guard.call("sampler", DEFAULT_ON, sampler, traces),
        resource=resource,
        span_limits=span_limits(traces.limits),
        id_generator=guard.call("id generator", None, installed_ids, chosen.python.id_generator),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(ContextOnSpans())
    built_in = {
        "otlp": lambda: otlp_span_exporter(chosen.otlp_traces),
        "console": lambda: console(environ, guard),
    }
    for name, exporter in _exporters.build("traces", traces.exporters, built_in, guard, lambda: (SpanExporter,)):
        pipeline.exporting.append(Exporting("traces", name, exporter))
        provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=traces.batch.max_queue_size,
                schedule_delay_millis=traces.batch.schedule_delay,
                max_export_batch_size=traces.batch.max_export_batch_size,
                export_timeout_millis=traces.batch.export_timeout,
            )
        )
    return provider


def span_limits(limits: settings.Limits) -> SpanLimits:
    """Upstream's limits from ours; every value is given, so that none is read from the environment again."""
    unset = SpanLimits.UNSET
    return SpanLimits(
        max_attributes=limits.attribute_count,
        max_events=limits.event_count,
        max_links=limits.link_count,
        max_span_attributes=_or(limits.span_attribute_count, limits.attribute_count),
        max_event_attributes=_or(limits.event_attribute_count, limits.attribute_count),
        max_link_attributes=_or(limits.link_attribute_count, limits.attribute_count),
        max_attribute_length=_or(limits.attribute_length, unset),
        max_span_attribute_length=_or(limits.span_attribute_length, _or(limits.attribute_length, unset)),
    )


def sampler(traces: settings.Traces) -> Sampler:
    """The sampler of `OTEL_TRACES_SAMPLER`, upstream's own or an installed one."""
    ratio = float(traces.sampler_arg or 1.0) if traces.sampler.endswith("traceidratio") else 1.0
    known: dict[str, Sampler] = {
        "always_on": ALWAYS_ON,
        "always_off": ALWAYS_OFF,
        "parentbased_always_on": DEFAULT_ON,
        "parentbased_always_off": DEFAULT_OFF,
        "traceidratio": TraceIdRatioBased(ratio),
        "parentbased_traceidratio": ParentBasedTraceIdRatio(ratio),
    }
    if traces.sampler in known:
        return known[traces.sampler]
    point = next(iter(entry_points(group="opentelemetry_traces_sampler", name=traces.sampler)))
    made: Sampler = point.load()(traces.sampler_arg)
    return made


def otlp_span_exporter(otlp: settings.Otlp) -> SpanExporter:
    """Upstream's OTLP exporter for `otlp.protocol`; grpc raises `ImportError` without the extra."""
    if otlp.protocol == "grpc":
        # the extra `grpc` need not be installed where this is checked
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # pyright: ignore[reportMissingImports]
            OTLPSpanExporter as GrpcSpanExporter,
        )

        exporter: SpanExporter = GrpcSpanExporter(**grpc_arguments(otlp))
        return exporter
    return OTLPSpanExporter(**http_arguments(otlp))


def otlp_metric_exporter(otlp: settings.Otlp) -> Any:
    """Upstream's OTLP metric exporter; temporality is read by upstream from its own variable."""
    if otlp.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # pyright: ignore[reportMissingImports]
            OTLPMetricExporter as GrpcMetricExporter,
        )

        return GrpcMetricExporter(**grpc_arguments(otlp))
    return OTLPMetricExporter(**http_arguments(otlp))


def http_arguments(otlp: settings.Otlp) -> dict[str, Any]:
    """Arguments of upstream's HTTP exporters.

    Raises:
        ValueError: the protocol is `http/json`, which they do not have.
    """
    if otlp.protocol == "http/json":
        raise ValueError("upstream's exporter has no http/json; use http/protobuf or OTEL_DISTRO_PIPELINE=lean")
    return {
        "endpoint": otlp.endpoint,
        "headers": dict(otlp.headers),
        "timeout": otlp.timeout / 1000,
        "compression": Compression.Gzip if otlp.compression == "gzip" else Compression.NoCompression,
        "certificate_file": otlp.certificate,
        "client_key_file": otlp.client_key,
        "client_certificate_file": otlp.client_certificate,
    }


def grpc_arguments(otlp: settings.Otlp) -> dict[str, Any]:
    """Arguments of upstream's gRPC exporters; a missing certificate file raises `OSError`, never plain text."""
    import grpc  # pyright: ignore[reportMissingModuleSource]

    def read(path: str | None) -> bytes | None:
        if path is None:
            return None
        with open(path, "rb") as file:  # noqa: PTH123 - a path from the environment, read once
            return file.read()

    secure = otlp.endpoint.startswith("https://")
    return {
        "endpoint": otlp.endpoint,
        "insecure": not secure,
        "credentials": grpc.ssl_channel_credentials(
            read(otlp.certificate), read(otlp.client_key), read(otlp.client_certificate)
        )
        if secure
        else None,
        "headers": tuple((key.lower(), value) for key, value in otlp.headers.items()),
        "timeout": otlp.timeout / 1000,
        "compression": grpc.Compression.Gzip if otlp.compression == "gzip" else grpc.Compression.NoCompression,
    }


def _meter_provider(
    chosen: settings.Settings, resource: Resource, guard: Guard, pipeline: Pipeline, *, serves: bool
) -> MeterProvider | None:
    metrics = chosen.metrics
    if metrics.exporters == ("none",):
        return None
    periodic = {
        "otlp": lambda: _periodic(otlp_metric_exporter(chosen.otlp_metrics), metrics),
        "console": lambda: _periodic(ConsoleMetricExporter(), metrics),
    }
    if serves:
        periodic["prometheus"] = lambda: _prometheus(metrics, guard)
    names = [name for name in metrics.exporters if name != "prometheus" or serves]
    made = _exporters.build("metrics", names, periodic, guard, lambda: (MetricReader,))
    pipeline.exporting += [Exporting("metrics", name, reader) for name, reader in made]
    readers = [reader for _, reader in made]
    return MeterProvider(
        metric_readers=readers,
        resource=resource,
        exemplar_filter=EXEMPLAR_FILTERS[metrics.exemplar_filter](),
        shutdown_on_exit=False,
    )


def _periodic(exporter: Any, metrics: settings.Metrics) -> MetricReader:
    return PeriodicExportingMetricReader(
        exporter,
        export_interval_millis=metrics.export_interval,
        export_timeout_millis=metrics.export_timeout,
    )


def _prometheus(metrics: settings.Metrics, guard: Guard) -> MetricReader:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import start_http_server

    reader = PrometheusMetricReader()
    try:
        start_http_server(metrics.prometheus_port, metrics.prometheus_host)
    except OSError as error:
        guard.failed(
            "/metrics",
            f"{metrics.prometheus_host}:{metrics.prometheus_port} cannot be bound: {error.strerror}",
            remedy="set OTEL_EXPORTER_PROMETHEUS_PORT to a free port; everything else works",
        )
    return reader


def _or(value: int | None, default: Any) -> Any:
    return default if value is None else value
