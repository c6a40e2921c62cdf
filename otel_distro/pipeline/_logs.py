"""Log records by OTLP and to whom else: exporters, their queues, and the provider of the OpenTelemetry logs API."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from otel_distro.logs.provider import LeanLoggerProvider
from otel_distro.logs.queue import for_logs, tap_of
from otel_distro.logs.records import Translator

from . import _exporters, _own
from ._base import Exporting

if TYPE_CHECKING:
    from otel_distro.logs.others import OtherProcessor

    from ._base import Pipeline
    from .lean import Ground


def add(ground: Ground, pipeline: Pipeline) -> None:
    """Put the way of log records into `pipeline`; called where some leave, or lines are ours."""
    chosen = ground.settings.logs
    queues = []
    for name, exporter in _build(ground):
        ours = name == "otlp" and ground.settings.otlp_logs.protocol != "grpc"
        queue = for_logs(exporter, batch=chosen.batch, guard=ground.guard, name=name, ours=ours)
        queues.append(queue)
        pipeline.exporting.append(Exporting("logs", name, exporter, queue))
        pipeline.flushes.append((f"logs {name}", queue.flush))
        pipeline.endings.append((f"logs {name}", queue.end))
    most = 128 if chosen.attribute_count is None else chosen.attribute_count
    provider = LeanLoggerProvider(
        resource=ground.resource,
        resource_for_child=ground.child,
        sinks=tuple(queue.emit for queue in queues),
        guard=ground.guard,
        most_attributes=most,
        longest=chosen.attribute_length,
    )
    provider.flushes = tuple(queue.flush for queue in queues)
    provider.on_added = partial(_end_with_ours, pipeline)
    pipeline.logger_provider = provider
    if queues and chosen.auto:
        translator = Translator(
            least=chosen.least,
            code=chosen.code_attributes,
            most_attributes=most,
            longest=chosen.attribute_length,
            guard=ground.guard,
        )
        tap = tap_of(translator, queues, provider)
        pipeline.take_log = tap.take
        provider.on_first = tap.share


def _end_with_ours(pipeline: Pipeline, added: OtherProcessor) -> None:
    """A processor of others has its turn, in a thread of its own, in every flush and at the end of the process."""
    pipeline.flushes.append((added.part, added.flush))
    pipeline.endings.append((added.part, added.end))


def _build(ground: Ground) -> list[tuple[str, Any]]:
    chosen = ground.settings.logs
    if chosen.exporters == ("none",):
        return []
    from opentelemetry.sdk._logs.export import LogRecordExporter

    built_in: dict[str, Callable[[], Any]] = {"otlp": lambda: _otlp(ground)}
    return _exporters.build("logs", chosen.exporters, built_in, ground.guard, lambda: (LogRecordExporter,))


def _otlp(ground: Ground) -> Any:
    from otel_distro.otlp.endpoint import parse_proxies

    otlp = ground.settings.otlp_logs
    if otlp.protocol == "grpc":
        from ._upstream_logs import otlp_log_exporter

        return otlp_log_exporter(otlp)
    from otel_distro.otlp.exporters import build_log_exporter

    return build_log_exporter(
        otlp,
        ground.settings.distro,
        ground.guard,
        proxies=parse_proxies(ground.environ),
        most_items=ground.settings.logs.batch.max_export_batch_size,
        settled=ground.settled.recorder(_own.otlp_component("logs", otlp), otlp.endpoint),
    )
