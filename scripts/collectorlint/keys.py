"""Old names: component types that became aliases or are gone, and keys that no longer do anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.collectorlint.model import kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.collectorlint.model import Config, Finding

#: section, type -> what to write instead. Aliases of 0.155.0 still start, with a warning.
_TYPES: dict[tuple[str, str], str] = {
    ("exporters", "otlp"): "otlp_grpc",
    ("exporters", "otlphttp"): "otlp_http",
    ("exporters", "prometheusremotewrite"): "prometheus_remote_write",
    ("exporters", "loadbalancing"): "load_balancing",
    ("exporters", "logging"): "debug; logging was removed in 0.111",
    ("exporters", "jaeger"): "otlp_grpc to Jaeger's port 4317; removed in 0.85",
    ("exporters", "jaeger_thrift"): "otlp_grpc; removed in 0.85",
    ("receivers", "filelog"): "file_log",
    ("receivers", "hostmetrics"): "host_metrics",
    ("receivers", "opencensus"): "otlp; opencensus is no longer maintained",
    ("processors", "resourcedetection"): "resource_detection",
    ("processors", "k8sattributes"): "k8s_attributes",
    ("processors", "batch"): "sending_queue.batch of the exporters; deprecated from 0.160",
    ("processors", "spanmetrics"): "the connector span_metrics; removed in 0.106",
    ("processors", "servicegraph"): "the connector service_graph; removed in 0.106",
    ("connectors", "spanmetrics"): "span_metrics",
    ("connectors", "servicegraph"): "service_graph",
    ("extensions", "memory_ballast"): "GOMEMLIMIT; removed in 0.110",
}

#: path below a component of that type -> what to write instead
_KEYS: dict[tuple[str, str, str], str] = {
    ("connectors", "span_metrics", "dimensions_cache_size"): "aggregation_cardinality_limit",
    ("connectors", "spanmetrics", "dimensions_cache_size"): "aggregation_cardinality_limit",
    ("processors", "memory_limiter", "ballast_size_mib"): "GOMEMLIMIT",
    ("extensions", "file_storage", "max_size"): "queue_size of the exporters: 0.155 does not know max_size",
    ("receivers", "kafka", "topic"): "traces: {topics: [...]}, metrics:, logs:",
    ("receivers", "kafka", "encoding"): "traces: {encoding: ...}, metrics:, logs:",
    ("receivers", "kafka", "group_rebalance_strategy"): "group_rebalance_strategies",
    ("exporters", "kafka", "topic"): "traces: {topic: ...}, metrics:, logs:",
    ("exporters", "kafka", "encoding"): "traces: {encoding: ...}, metrics:, logs:",
}


def old_names(config: Config) -> Iterator[Finding]:
    """Types and keys of the past."""
    for section in ("receivers", "processors", "connectors", "exporters", "extensions"):
        for name, settings in config.items(section):
            instead = _TYPES.get((section, kind(name)))
            if instead:
                yield _old(config, (section, name), f"{section[:-1]} type {kind(name)}", instead)
            for (where, of_type, key), better in _KEYS.items():
                if where == section and of_type == kind(name) and key in settings:
                    yield _old(config, (section, name, key), f"{name}: {key}", better)
    if "address" in config.section("service", "telemetry", "metrics"):
        path = ("service", "telemetry", "metrics", "address")
        yield _old(
            config, path, "service.telemetry.metrics.address", "readers: [{pull: {exporter: {prometheus: ...}}}]"
        )


def _old(config: Config, path: tuple[str, ...], what: str, instead: str) -> Finding:
    return config.finding(
        path,
        "old-name",
        f"{what} is deprecated or gone",
        remedy=instead,
        source="changelogs of opentelemetry-collector and -contrib up to 0.155.0",
    )
