"""Who gets metrics, how often, and where they are scraped."""

from __future__ import annotations

from otel_distro.settings._values import MILLISECONDS, PATH, TEXT, choice, integer, names
from otel_distro.settings._variable import OURS, Record, variable

_PORT = integer(0, 65535)


class Metrics(Record):
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
        "OTEL_EXPORTER_PROMETHEUS_HOST",
        TEXT,
        "127.0.0.1",
        "The address `/metrics` listens on; `0.0.0.0` or `::` is every interface, which a line at the start says.",
    )
    prometheus_port: int = variable("OTEL_EXPORTER_PROMETHEUS_PORT", _PORT, 9464, "The port `/metrics` listens on.")
    route: str | None = variable(
        "OTEL_DISTRO_METRICS_ROUTE",
        PATH,
        None,
        "A path such as `/metrics` that answers scrapes on the application's own port, for FastAPI and Starlette; the "
        "port above is then bound only when its host or port is set, too.",
        source=OURS,
    )
    listens: bool = True
    """Whether that port is bound: not when the route was asked for and the port was not."""
