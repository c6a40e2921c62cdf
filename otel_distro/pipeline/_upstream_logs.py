"""Log records by the unmodified SDK: its provider, batch processor and exporter, and its handler for `logging`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler, LogRecordLimits
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.resources import Resource

from otel_distro import settings
from otel_distro.guard import Guard
from otel_distro.logs.exporting import exporting
from otel_distro.logs.fields import CONTEXT, stays
from otel_distro.tracing.context import suppressed

from . import _exporters
from ._base import Exporting
from .upstream import grpc_arguments, http_arguments

if TYPE_CHECKING:
    from ._base import Pipeline


def add(chosen: settings.Settings, resource: Resource, guard: Guard, pipeline: Pipeline) -> None:
    """Put upstream's way of log records into `pipeline`.

    Args:
        chosen: the process's settings.
        resource: what all telemetry carries.
        guard: gets an exporter that cannot be built.
        pipeline: gets provider, flush and ending.
    """
    logs = chosen.logs
    unset = LogRecordLimits.UNSET
    provider = LoggerProvider(
        resource=resource,
        shutdown_on_exit=False,
        log_record_limits=LogRecordLimits(
            max_log_record_attributes=unset if logs.attribute_count is None else logs.attribute_count,
            max_log_record_attribute_length=unset if logs.attribute_length is None else logs.attribute_length,
        ),
    )
    built_in = {"otlp": lambda: otlp_log_exporter(chosen.otlp_logs)}
    for name, exporter in _exporters.build("logs", logs.exporters, built_in, guard, lambda: (LogRecordExporter,)):
        processor = BatchLogRecordProcessor(
            exporter,
            schedule_delay_millis=logs.batch.schedule_delay,
            max_export_batch_size=logs.batch.max_export_batch_size,
            export_timeout_millis=logs.batch.export_timeout,
            max_queue_size=logs.batch.max_queue_size,
        )
        provider.add_log_record_processor(processor)
        pipeline.exporting.append(Exporting("logs", name, exporter))
    pipeline.logger_provider = provider
    pipeline.flushes.append(("logs", lambda seconds: provider.force_flush(int(seconds * 1000))))
    pipeline.endings.append(("logs", lambda _: provider.shutdown()))
    # contrib's instrumentation of logging, where it is installed, brings a handler of its own
    if logs.auto and find_spec("opentelemetry.instrumentation.logging") is None:
        pipeline.take_log = _take(logs.least, provider)


def otlp_log_exporter(otlp: settings.Otlp) -> Any:
    """Upstream's OTLP exporter of log records; grpc raises `ImportError` without the extra."""
    if otlp.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import (  # pyright: ignore[reportMissingImports]
            OTLPLogExporter as GrpcLogExporter,
        )

        return GrpcLogExporter(**grpc_arguments(otlp))
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    return OTLPLogExporter(**http_arguments(otlp))


def _take(least: int, provider: LoggerProvider) -> Callable[[logging.LogRecord, Any], None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        handler = LoggingHandler(level=least, logger_provider=provider)

    def take(record: logging.LogRecord, context: Any) -> None:
        del context
        if record.levelno < least or stays(record.name):
            return
        if not (suppressed() and exporting()):
            # the handler sends whatever it finds on a record, and what is known of the request is for lines
            values = record.__dict__
            known = {CONTEXT: values.pop(CONTEXT)} if CONTEXT in values else {}
            try:
                handler.handle(record)
            finally:
                values.update(known)

    return take
