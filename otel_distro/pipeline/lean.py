"""Our own pipeline: lean spans and series behind upstream's interfaces, encoded and sent without protobuf objects."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter

from otel_distro import resource as resources
from otel_distro import sampling, settings
from otel_distro.export_durations import ExportDurations
from otel_distro.guard import Guard
from otel_distro.metrics import LeanMeterProvider, unsupported
from otel_distro.metrics.groups import Groups
from otel_distro.metrics.late import LateReader
from otel_distro.otlp.endpoint import parse_proxies
from otel_distro.otlp.queue import SpanQueue
from otel_distro.process import around_change_of_user
from otel_distro.records import dataclass
from otel_distro.tracing import LeanTracerProvider

from . import _exporters, _own, _queues
from ._base import Exporting, Pipeline, installed_ids

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader

    from otel_distro.metrics.shared import SharedStore
    from otel_distro.prometheus import Endpoint

    from ._scrapes import Scrapes


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


@dataclass(frozen=True, slots=True)
class Ground:
    """What every part of the pipeline stands on.

    Attributes:
        settings: the process's.
        resource: what all telemetry carries.
        child: the resource of a forked child.
        guard: gets every part that cannot be built.
        environ: for the proxies' variables, and for what is left to child processes.
        serves: whether this process may bind the port of `/metrics`.
        settled: takes the durations of exports.
    """

    settings: settings.Settings
    resource: Resource
    child: ChildResource
    guard: Guard
    environ: MutableMapping[str, str]
    serves: bool
    settled: ExportDurations


def build(
    chosen: settings.Settings, resource: Resource, guard: Guard, *, environ: MutableMapping[str, str], serves: bool
) -> Pipeline:
    """Assemble our providers; `environ` is also read for proxies, the rest as of `upstream.build`."""
    ground = Ground(
        chosen, resource, ChildResource(resource, chosen.general), guard, environ, serves, ExportDurations()
    )
    pipeline = Pipeline()
    # also without any exporter: `none` stops no context from passing through, and applications add processors
    tracer_provider = _tracer_provider(ground, pipeline)
    pipeline.tracer_provider = tracer_provider
    pipeline.flushes.append(("traces", lambda seconds: tracer_provider.force_flush(int(seconds * 1000))))
    pipeline.endings.append(("traces", lambda seconds: tracer_provider.shutdown(seconds * 1000)))
    meter_provider = _meter_provider(ground, pipeline)
    if meter_provider is not None:
        pipeline.meter_provider = meter_provider
        for exporting in pipeline.exporting:
            if isinstance(exporting.queue, SpanQueue):
                meter_provider.settle_before_reading(exporting.queue.settle)
        pipeline.flushes.append(("metrics", lambda seconds: meter_provider.force_flush(seconds * 1000)))
        pipeline.endings.append(("metrics", lambda seconds: meter_provider.shutdown(seconds * 1000)))
    if chosen.logs.exporters != ("none",) or chosen.logs.lines:
        from . import _logs

        guard.call("logs", None, _logs.add, ground, pipeline)
    if meter_provider is not None:
        _own.install(chosen, guard, pipeline, meter_provider, ground.settled)
    return pipeline


def _tracer_provider(ground: Ground, pipeline: Pipeline) -> LeanTracerProvider:
    traces, guard = ground.settings.traces, ground.guard
    fallback = sampling.build("parentbased_always_on")
    provider = LeanTracerProvider(
        resource=ground.resource,
        sampler=guard.call("sampler", fallback, sampling.build, traces.sampler, traces.sampler_arg),
        limits=traces.limits,
        guard=guard,
        id_generator=guard.call("id generator", None, installed_ids, ground.settings.python.id_generator),
        resource_for_child=ground.child,
    )
    built_in: dict[str, Callable[[], Any]] = {
        "otlp": lambda: _otlp_span_exporter(ground),
        "console": lambda: _console_span_exporter(ground),
    }
    for name, exporter in _exporters.build("traces", traces.exporters, built_in, guard, lambda: (SpanExporter,)):
        ours = name in built_in and not (name == "otlp" and ground.settings.otlp_traces.protocol == "grpc")
        queue = _queues.for_spans(exporter, batch=traces.batch, guard=guard, name=name, ours=ours)
        provider.add_span_processor(queue)
        pipeline.exporting.append(Exporting("traces", name, exporter, queue))
    return provider


def _console_span_exporter(ground: Ground) -> Any:
    from ._console import console

    return console(ground.environ, ground.guard)


def _otlp_span_exporter(ground: Ground) -> Any:
    otlp = ground.settings.otlp_traces
    if otlp.protocol == "grpc":
        from ._grpc import in_parts
        from .upstream import otlp_span_exporter

        exporter: Any = otlp_span_exporter(otlp)
        exporter.export = in_parts(exporter.export)
        return exporter
    from otel_distro.otlp.exporters import build_span_exporter

    return build_span_exporter(
        otlp,
        ground.settings.distro,
        ground.guard,
        proxies=parse_proxies(ground.environ),
        most_items=ground.settings.traces.batch.max_export_batch_size,
        settled=ground.settled.recorder(_own.otlp_component("traces", otlp), otlp.endpoint),
    )


def _meter_provider(ground: Ground, pipeline: Pipeline) -> LeanMeterProvider | None:
    metrics, guard = ground.settings.metrics, ground.guard
    refused = unsupported()
    if refused and metrics.exporters != ("none",):
        guard.failed("metrics", refused, remedy="OTEL_DISTRO_PIPELINE=upstream has metrics there; traces go on")
        return None
    if metrics.exporters == ("none",):
        return None
    built_in: dict[str, Callable[[], Any]] = {
        "otlp": lambda: _otlp_metric_exporter(ground),
        "console": _console_metrics,
    }
    names = [name for name in metrics.exporters if name != "prometheus"]
    made = _exporters.build("metrics", names, built_in, guard, _kinds_of_metrics)
    pipeline.exporting += [Exporting("metrics", name, exporter) for name, exporter in made]
    # ours, where they want nothing but the default, are not waited for by anything that is measured
    late = [exporter for _, exporter in made if getattr(exporter, "has_defaults", False)]
    readers = [_as_reader(exporter, metrics, guard, pipeline) for _, exporter in made if exporter not in late]
    scraped = "prometheus" in metrics.exporters
    groups = Groups(ground.settings.metric_groups.enabled)
    kind, store, group = LeanMeterProvider, None, ""
    if scraped:
        from . import _scrapes  # who is not scraped does not pay for it

        service = str(ground.resource.attributes["service.name"])
        group = _scrapes.group(ground.environ, service, metrics.prometheus_port)
        kind = _scrapes.ScrapedMeterProvider
        store = _scrapes.store(ground.environ, group, guard, ground.child, serves=ground.serves)
    provider = kind(
        resource=ground.resource,
        guard=guard,
        exemplar_filter=metrics.exemplar_filter,
        readers=readers,
        store=store,
        scraped=scraped,
        merges=_own.merges(groups),
        child_resource=ground.child,
        wants=groups.wants,
    )
    for exporter in late:
        provider.expect(_late_reader(exporter, metrics, guard, pipeline))
    if scraped:
        _answer_scrapes(ground, provider, group, pipeline, made)
    return provider


def _answer_scrapes(
    ground: Ground, provider: LeanMeterProvider, group: str, pipeline: Pipeline, made: Iterable[tuple[str, Any]]
) -> None:
    # only where processes share numbers
    from otel_distro.metrics.shared import SharedStore, group_name

    from . import _scrapes

    killed = _scrapes.killed(made)
    own_id = "service.instance.id" in ground.settings.general.resource_attributes
    store = provider.store

    def endpoint() -> Endpoint:
        from otel_distro.prometheus import Endpoint

        # numbers of a group belong to none of its processes, and each launch is another one: so restarts are counted
        instance_id = None
        if isinstance(store, SharedStore) and not own_id:
            instance_id = group_name(group, store.group.began)
        metrics = ground.settings.metrics
        host, port = metrics.prometheus_host, metrics.prometheus_port
        return Endpoint(
            provider,
            ground.guard,
            host=host,
            port=port,
            listens=metrics.listens,
            instance_id=instance_id,
            killed=killed,
        )

    scrapes = _scrapes.Scrapes(endpoint, serves=ground.serves, guard=ground.guard)
    if isinstance(provider, _scrapes.ScrapedMeterProvider):
        provider.on_meter = scrapes.begin
    pipeline.scrapes = scrapes
    pipeline.endings.append(("/metrics", scrapes.end))
    if isinstance(store, SharedStore):
        pipeline.closings.append(("shared metrics", store.close))
        if os.geteuid() == 0:
            stay_together(provider, store, scrapes, ground.guard)


def stay_together(provider: LeanMeterProvider, store: SharedStore, scrapes: Scrapes, guard: Guard) -> None:
    """Share numbers also with workers that start as root and give that up: what root has opened is closed to them."""
    # both ends, so that what is sent stays as long as this process or one that it forks
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ends[0].setblocking(False)

    def before() -> None:
        scrapes.rest()
        guard.call("shared metrics", None, store.withdraw)

    def after() -> None:
        guard.call("shared metrics", None, provider.after_fork)
        with contextlib.suppress(OSError):
            store.group.outlive(ends[0])
        scrapes.go_on()

    around_change_of_user(before, after)


def _kinds_of_metrics() -> tuple[type, ...]:
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader

    return MetricReader, MetricExporter


def _late_reader(exporter: Any, metrics: settings.Metrics, guard: Guard, pipeline: Pipeline) -> LateReader:
    def measured() -> bool:
        return _has_measured(pipeline)

    def make() -> MetricReader:
        return _as_reader(exporter, metrics, guard, pipeline)

    return LateReader(make, interval=metrics.export_interval, measured=measured, guard=guard)


def _has_measured(pipeline: Pipeline) -> bool:
    provider = pipeline.meter_provider
    return not isinstance(provider, LeanMeterProvider) or bool(provider.store.entries())


def _as_reader(made: Any, metrics: settings.Metrics, guard: Guard, pipeline: Pipeline) -> MetricReader:
    """Installed metric exporters may be exporters or readers, as upstream has it."""
    from opentelemetry.sdk.metrics.export import MetricReader

    if isinstance(made, MetricReader):
        return made
    from otel_distro.metrics.push import PushReader

    return PushReader(
        made,
        interval=metrics.export_interval,
        timeout=metrics.export_timeout,
        guard=guard,
        measured=lambda: _has_measured(pipeline),
    )


def _otlp_metric_exporter(ground: Ground) -> Any:
    otlp = ground.settings.otlp_metrics
    if otlp.protocol == "grpc":
        from .upstream import otlp_metric_exporter

        return otlp_metric_exporter(otlp)
    from otel_distro.otlp.exporters import build_metric_exporter

    return build_metric_exporter(
        otlp,
        ground.settings.metrics,
        ground.settings.distro,
        ground.guard,
        proxies=parse_proxies(ground.environ),
        settled=ground.settled.recorder(_own.otlp_component("metrics", otlp), otlp.endpoint),
    )


def _console_metrics() -> Any:
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter

    return ConsoleMetricExporter()
