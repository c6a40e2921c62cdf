"""Every environment variable the distro reads, once: name, kind, default, meaning and source.

The reference table in the README and the parser are both made from these classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ._values import BOOLEAN, MILLISECONDS, PAIRS, TEXT, URL, choice, integer, names
from ._variable import CONTRIB, OURS, UPSTREAM, group, variable

COUNT = integer(0, 1_000_000)
SIZE = integer(1, 10_000_000)
PORT = integer(0, 65535)

SAMPLERS = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class General:
    """What concerns every signal."""

    disabled: bool = variable("OTEL_SDK_DISABLED", BOOLEAN, False, "`true` switches all telemetry off.")
    log_level: str = variable(
        "OTEL_LOG_LEVEL",
        choice("trace", "debug", "info", "warn", "warning", "error", "fatal", "none"),
        "info",
        "The least level of the distro's own lines.",
    )
    service_name: str | None = variable(
        "OTEL_SERVICE_NAME",
        TEXT,
        None,
        "The service's name; else the name of the module or script that runs.",
    )
    resource_attributes: Mapping[str, str] = variable(
        "OTEL_RESOURCE_ATTRIBUTES", PAIRS, {}, "Attributes of the resource, as `key=value,key=value`."
    )
    propagators: tuple[str, ...] = variable(
        "OTEL_PROPAGATORS",
        names(),
        ("tracecontext", "baggage"),
        "How context travels between services: names of installed propagators, or `none`.",
    )
    resource_detectors: tuple[str, ...] = variable(
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS",
        names(),
        (),
        "Further resource detectors, by entry-point name; what they find adds to host and process.",
        source=UPSTREAM,
    )
    config_file: str | None = variable(
        "OTEL_CONFIG_FILE", TEXT, None, "Declarative configuration; not read yet, named when set."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits on what a span may hold; `None` is no limit."""

    attribute_count: int = variable("OTEL_ATTRIBUTE_COUNT_LIMIT", COUNT, 128, "Most attributes of one thing.")
    attribute_length: int | None = variable(
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", COUNT, None, "Longest attribute value, in characters."
    )
    span_attribute_count: int | None = variable(
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", COUNT, None, "Most attributes of a span; else the general limit."
    )
    span_attribute_length: int | None = variable(
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        COUNT,
        None,
        "Longest value of a span's attribute; else the general limit.",
    )
    event_count: int = variable("OTEL_SPAN_EVENT_COUNT_LIMIT", COUNT, 128, "Most events of a span.")
    link_count: int = variable("OTEL_SPAN_LINK_COUNT_LIMIT", COUNT, 128, "Most links of a span.")
    event_attribute_count: int | None = variable(
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", COUNT, None, "Most attributes of an event; else the general limit."
    )
    link_attribute_count: int | None = variable(
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", COUNT, None, "Most attributes of a link; else the general limit."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """How finished items wait for export."""

    schedule_delay: int = variable("SCHEDULE_DELAY", integer(1, 86_400_000), 5000, "Milliseconds between two exports.")
    export_timeout: int = variable("EXPORT_TIMEOUT", MILLISECONDS, 30000, "Milliseconds one export may take.")
    max_queue_size: int = variable("MAX_QUEUE_SIZE", SIZE, 2048, "Most items that wait; more are dropped and counted.")
    max_export_batch_size: int = variable("MAX_EXPORT_BATCH_SIZE", SIZE, 512, "Most items in one export.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBatch(Batch):
    """The same for log records, which leave sooner."""

    schedule_delay: int = variable("SCHEDULE_DELAY", integer(1, 86_400_000), 1000, "Milliseconds between two exports.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """Tracing: who gets spans, which are sampled."""

    exporters: tuple[str, ...] = variable(
        "OTEL_TRACES_EXPORTER",
        names(),
        ("otlp",),
        "`otlp`, `console`, `none`, or installed exporters, as a list.",
    )
    sampler: str = variable("OTEL_TRACES_SAMPLER", TEXT, "parentbased_always_on", "Which traces are recorded.")
    sampler_arg: str | None = variable(
        "OTEL_TRACES_SAMPLER_ARG", TEXT, None, "The sampler's argument: a ratio 0..1 for `traceidratio`."
    )
    limits: Limits = group(Limits)
    batch: Batch = group(Batch, prefix="OTEL_BSP_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Metrics: who gets them, how often, and where they are scraped."""

    exporters: tuple[str, ...] = variable(
        "OTEL_METRICS_EXPORTER",
        names(),
        ("prometheus",),
        "`prometheus`, `otlp`, `console`, `none`, or installed exporters, as a list.",
    )
    exemplar_filter: str = variable(
        "OTEL_METRICS_EXEMPLAR_FILTER",
        choice("always_on", "always_off", "trace_based"),
        "trace_based",
        "Which measurements may become exemplars.",
    )
    export_interval: int = variable(
        "OTEL_METRIC_EXPORT_INTERVAL",
        integer(1, 86_400_000),
        60000,
        "Milliseconds between two pushes of metrics.",
    )
    export_timeout: int = variable(
        "OTEL_METRIC_EXPORT_TIMEOUT", MILLISECONDS, 30000, "Milliseconds one push of metrics may take."
    )
    temporality: str = variable(
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        choice("cumulative", "delta", "lowmemory"),
        "cumulative",
        "Whether pushed sums count from the start or from the last push.",
    )
    histogram_aggregation: str = variable(
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        choice("explicit_bucket_histogram", "base2_exponential_bucket_histogram"),
        "explicit_bucket_histogram",
        "How pushed histograms are bucketed.",
    )
    prometheus_host: str = variable(
        "OTEL_EXPORTER_PROMETHEUS_HOST", TEXT, "127.0.0.1", "The address `/metrics` listens on."
    )
    prometheus_port: int = variable("OTEL_EXPORTER_PROMETHEUS_PORT", PORT, 9464, "The port `/metrics` listens on.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """Logs by OTLP."""

    exporters: tuple[str, ...] = variable(
        "OTEL_LOGS_EXPORTER", names(), ("none",), "`otlp`, `console` or `none`, as a list."
    )
    batch: Batch = group(LogBatch, prefix="OTEL_BLRP_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Otlp:
    """Where and how one signal is sent by OTLP; every variable exists for all signals and for one."""

    endpoint: str = variable(
        "ENDPOINT",
        URL,
        "http://localhost:4318",
        "Where the collector listens; signal paths are added to the general one.",
    )
    protocol: str = variable(
        "PROTOCOL",
        choice("http/protobuf", "http/json", "grpc"),
        "http/protobuf",
        "`grpc` needs the extra `otel-distro[grpc]`.",
    )
    headers: Mapping[str, str] = variable("HEADERS", PAIRS, {}, "Headers of each request.", secret=True)
    timeout: int = variable("TIMEOUT", MILLISECONDS, 10000, "Milliseconds one request may take.")
    compression: str = variable("COMPRESSION", choice("gzip", "none"), "none", "How a request's body is packed.")
    certificate: str | None = variable("CERTIFICATE", TEXT, None, "File with the authorities to trust, PEM.")
    client_key: str | None = variable("CLIENT_KEY", TEXT, None, "File with the client's key for mTLS, PEM.")
    client_certificate: str | None = variable(
        "CLIENT_CERTIFICATE", TEXT, None, "File with the client's certificate for mTLS, PEM."
    )
    insecure: bool = variable("INSECURE", BOOLEAN, False, "grpc only: no TLS for an endpoint without scheme.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """What the HTTP instrumentations record."""

    excluded_urls: tuple[str, ...] = variable(
        "OTEL_PYTHON_EXCLUDED_URLS",
        names(),
        (),
        "Regular expressions of URLs that make no telemetry.",
        source=CONTRIB,
    )
    fastapi_excluded_urls: tuple[str, ...] | None = variable(
        "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS",
        names(),
        None,
        "The same, for FastAPI's server side alone.",
        source=CONTRIB,
    )
    httpx_excluded_urls: tuple[str, ...] | None = variable(
        "OTEL_PYTHON_HTTPX_EXCLUDED_URLS", names(), None, "The same, for httpx alone.", source=CONTRIB
    )
    requests_excluded_urls: tuple[str, ...] | None = variable(
        "OTEL_PYTHON_REQUESTS_EXCLUDED_URLS", names(), None, "The same, for requests alone.", source=CONTRIB
    )
    urllib3_excluded_urls: tuple[str, ...] | None = variable(
        "OTEL_PYTHON_URLLIB3_EXCLUDED_URLS", names(), None, "The same, for urllib3 alone.", source=CONTRIB
    )
    aiohttp_client_excluded_urls: tuple[str, ...] | None = variable(
        "OTEL_PYTHON_AIOHTTP_CLIENT_EXCLUDED_URLS",
        names(),
        None,
        "The same, for aiohttp's client.",
        source=CONTRIB,
    )
    capture_request_headers: tuple[str, ...] = variable(
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST",
        names(),
        (),
        "Request headers put on server spans: names or regular expressions.",
        source=CONTRIB,
    )
    capture_response_headers: tuple[str, ...] = variable(
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE",
        names(),
        (),
        "Response headers put on server spans.",
        source=CONTRIB,
    )
    capture_client_request_headers: tuple[str, ...] = variable(
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST",
        names(),
        (),
        "Request headers put on client spans.",
        source=CONTRIB,
    )
    capture_client_response_headers: tuple[str, ...] = variable(
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE",
        names(),
        (),
        "Response headers put on client spans.",
        source=CONTRIB,
    )
    sanitize_headers: tuple[str, ...] = variable(
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS",
        names(),
        (),
        "Captured headers whose values are hidden; credentials and cookies always are.",
        source=CONTRIB,
    )
    known_methods: tuple[str, ...] = variable(
        "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",
        names(),
        ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"),
        "Methods recorded by name; others become `_OTHER`.",
        source="semantic conventions",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrumentation:
    """Which libraries are instrumented, and how."""

    disabled: tuple[str, ...] = variable(
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
        names(),
        (),
        "Instrumentations that are not loaded, by entry-point name; `*` for all.",
        source=UPSTREAM,
    )
    semconv_opt_in: tuple[str, ...] = variable(
        "OTEL_SEMCONV_STABILITY_OPT_IN",
        names(),
        ("http", "database"),
        "Which stable conventions contrib's instrumentations follow; ours know the stable ones only.",
        source="semantic conventions",
    )
    sqlcommenter: bool = variable(
        "OTEL_DISTRO_SQLCOMMENTER",
        BOOLEAN,
        False,
        "Append the trace context to SQL statements as a comment.",
        source=OURS,
    )
    http: Http = group(Http)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distro:
    """What only this distro has a word for."""

    pipeline: str = variable(
        "OTEL_DISTRO_PIPELINE",
        choice("lean", "upstream"),
        "lean",
        "`upstream` runs the unmodified SDK and contrib's instrumentations.",
        source=OURS,
    )
    shutdown_timeout: int = variable(
        "OTEL_DISTRO_SHUTDOWN_TIMEOUT",
        integer(0, 600_000),
        2000,
        "Milliseconds all signals together may take to leave at exit.",
        source=OURS,
    )
    spool_size: int = variable(
        "OTEL_DISTRO_SPOOL_SIZE",
        integer(0, 1_000_000_000_000),
        32_000_000,
        "Most bytes of one signal that wait, in memory or in the directory, while the collector is away.",
        source=OURS,
    )
    spool_dir: str | None = variable(
        "OTEL_DISTRO_SPOOL_DIR",
        TEXT,
        None,
        "Directory where waiting batches survive the process.",
        source=OURS,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one process, parsed once."""

    general: General = group(General)
    traces: Traces = group(Traces)
    metrics: Metrics = group(Metrics)
    logs: Logs = group(Logs)
    otlp_traces: Otlp = group(Otlp, prefix="OTEL_EXPORTER_OTLP_TRACES_", fallback="OTEL_EXPORTER_OTLP_")
    otlp_metrics: Otlp = group(Otlp, prefix="OTEL_EXPORTER_OTLP_METRICS_", fallback="OTEL_EXPORTER_OTLP_")
    otlp_logs: Otlp = group(Otlp, prefix="OTEL_EXPORTER_OTLP_LOGS_", fallback="OTEL_EXPORTER_OTLP_")
    instrumentation: Instrumentation = group(Instrumentation)
    distro: Distro = group(Distro)


__all__ = [
    "SAMPLERS",
    "Batch",
    "Distro",
    "General",
    "Http",
    "Instrumentation",
    "Limits",
    "Logs",
    "Metrics",
    "Otlp",
    "Settings",
    "Traces",
]
