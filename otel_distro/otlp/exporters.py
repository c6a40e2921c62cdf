"""Exporters made from settings. SDK modules are imported for the signals that are used, and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_distro.guard import Guard

from ._batch import JSON, PROTOBUF, LateEncoder
from ._tls import Tls
from .backoff import Backoff
from .client import OtlpClient, check_header
from .endpoint import Endpoint, Proxies, parse_endpoint
from .later import Later
from .sender import Sender, Settled
from .spool import Spool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_distro.settings import Distro, Metrics, Otlp

    from ._batch import Encoder
    from .directory import Directory
    from .log_exporter import OtlpLogExporter
    from .metric_exporter import OtlpMetricExporter
    from .span_exporter import OtlpSpanExporter

MOST_ITEMS = 512
"""The specification's default of `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`."""


def build_span_exporter(
    otlp: Otlp,
    distro: Distro,
    guard: Guard,
    *,
    proxies: Proxies | None = None,
    most_items: int = MOST_ITEMS,
    settled: Settled | None = None,
) -> OtlpSpanExporter:
    """The exporter of spans.

    Args:
        otlp: where and how; `protocol` is `http/protobuf` or `http/json`.
        distro: budgets and the spool.
        guard: gets what a person has to know.
        proxies: the process's proxies, see `parse_proxies`.
        most_items: most spans in one request, `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`.
        settled: see `Sender`.

    Raises:
        ValueError: the endpoint or the proxy is unusable.
    """
    from .span_exporter import OtlpSpanExporter

    encoder = build_encoder("traces", otlp.protocol)
    sender = build_sender(otlp, encoder, distro, guard, proxies=proxies, most_items=most_items, settled=settled)
    return OtlpSpanExporter(encoder, sender, guard, shutdown_timeout=distro.shutdown_timeout)


def build_metric_exporter(
    otlp: Otlp,
    metrics: Metrics,
    distro: Distro,
    guard: Guard,
    *,
    proxies: Proxies | None = None,
    settled: Settled | None = None,
) -> OtlpMetricExporter:
    """The exporter of metrics, with the temporality and the aggregation of `metrics`; else as `build_span_exporter`."""
    from .metric_exporter import OtlpMetricExporter

    content_type = JSON if otlp.protocol == "http/json" else PROTOBUF
    encoder = LateEncoder("metrics", content_type, lambda: build_encoder("metrics", otlp.protocol))
    return OtlpMetricExporter(
        encoder,
        build_sender(otlp, encoder, distro, guard, proxies=proxies, settled=settled),
        guard,
        shutdown_timeout=distro.shutdown_timeout,
        temporality=metrics.temporality,
        aggregation=metrics.histogram_aggregation,
    )


def build_log_exporter(
    otlp: Otlp,
    distro: Distro,
    guard: Guard,
    *,
    proxies: Proxies | None = None,
    most_items: int = MOST_ITEMS,
    settled: Settled | None = None,
) -> OtlpLogExporter:
    """The exporter of log records; as `build_span_exporter`."""
    from .log_exporter import OtlpLogExporter

    encoder = build_encoder("logs", otlp.protocol)
    sender = build_sender(otlp, encoder, distro, guard, proxies=proxies, most_items=most_items, settled=settled)
    return OtlpLogExporter(encoder, sender, guard, shutdown_timeout=distro.shutdown_timeout)


def build_encoder(signal: str, protocol: str) -> Encoder:
    """The encoder of `traces`, `metrics` or `logs` for `http/protobuf` or `http/json`.

    Raises:
        ValueError: another signal or protocol.
    """
    if protocol == "http/json":
        from .encode_json import JsonLogEncoder, JsonMetricEncoder, JsonSpanEncoder

        json_encoders: dict[str, type[JsonSpanEncoder | JsonMetricEncoder | JsonLogEncoder]]
        json_encoders = {"traces": JsonSpanEncoder, "metrics": JsonMetricEncoder, "logs": JsonLogEncoder}
        if signal in json_encoders:
            return json_encoders[signal]()
    elif protocol == "http/protobuf":
        if signal == "traces":
            from .encode_traces import SpanEncoder

            return SpanEncoder()
        if signal == "metrics":
            from .encode_metrics import MetricEncoder

            return MetricEncoder()
        if signal == "logs":
            from .encode_logs import LogEncoder

            return LogEncoder()
    raise ValueError(f"no encoder for {signal} by {protocol}")


def build_sender(
    otlp: Otlp,
    encoder: Encoder,
    distro: Distro,
    guard: Guard,
    *,
    proxies: Proxies | None = None,
    backoff: Backoff | None = None,
    most_items: int = MOST_ITEMS,
    settled: Settled | None = None,
) -> Sender:
    """A sender for what `encoder` makes; its thread starts with the first batch.

    Args:
        otlp: where and how.
        encoder: tells signal and media type.
        distro: the spool's size and place.
        guard: gets what a person has to know.
        proxies: the process's proxies.
        backoff: the waits between attempts, the default if None.
        most_items: waiting batches are joined to requests of up to so many items; JSON cannot be joined.
        settled: see `Sender`.

    Raises:
        ValueError: the endpoint or the proxy is unusable.
    """
    signal = encoder.signal
    endpoint = parse_endpoint(otlp.endpoint)
    for name, value in otlp.headers.items():
        reason = check_header(name, value)
        if reason is not None:
            shown = "".join(c for c in name[:40] if c.isprintable())
            guard.warn(
                f"OTEL_EXPORTER_OTLP_HEADERS: header {shown!r} is not sent: {reason}", once=f"otlp header {shown}"
            )
    client = OtlpClient(
        endpoint,
        content_type=encoder.content_type,
        headers=otlp.headers,
        timeout=otlp.timeout / 1000,
        gzip=otlp.compression == "gzip",
        tls=Tls(otlp.certificate, otlp.client_certificate, otlp.client_key),
        proxies=proxies,
    )
    later = Later(guard)
    spool = Spool(
        memory_limit=distro.spool_size,
        directory=_directory(distro.spool_dir, encoder, endpoint, otlp.headers, guard),
        directory_limit=distro.spool_size,
        later=later,
    )
    joined = most_items if encoder.content_type == PROTOBUF else 0
    return Sender(signal, client, spool, later, backoff=backoff, most_items=joined, settled=settled)


def _directory(
    root: str | None, encoder: Encoder, endpoint: Endpoint, headers: Mapping[str, str], guard: Guard
) -> Directory | None:
    if root is None:
        return None
    try:
        from .directory import Directory
    except ImportError as error:
        guard.failed("spool directory", error, remedy="it needs a POSIX system; batches wait in memory")
        return None
    import hashlib

    from otel_distro.redaction.policy import is_secret_parameter

    # batches are replayed to where they were meant for: the same signal, place, encoding and tenant (X-Scope-OrgID),
    # whatever the credentials, which are renewed
    place = f"{encoder.signal}\n{endpoint.scheme}://{endpoint.authority}{endpoint.target}\n{encoder.content_type}"
    place += "".join(
        sorted(f"\n{name.lower()}: {value}" for name, value in headers.items() if not is_secret_parameter(name))
    )
    return Directory(root, f"{encoder.signal}-{hashlib.sha256(place.encode()).hexdigest()[:16]}")
