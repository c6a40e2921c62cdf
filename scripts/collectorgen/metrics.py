"""The three ways of metrics to Prometheus."""

from __future__ import annotations

from scripts.collectorgen import parts


def otlp(scheme: str, *, tls: str) -> parts.Settings:
    """OTLP, the only way that queues through an outage."""
    return {
        "#endpoint": "OTLP: exemplars arrive, several collectors may write, an outage is queued and no gap.",
        "endpoint": f"${{env:PROMETHEUS_OTLP_ENDPOINT:-{scheme}://127.0.0.1:9090/api/v1/otlp}}",
        "tls": parts.client_tls(tls=tls),
        "compression": "${env:OTELCOL_BACKEND_COMPRESSION:-none}",
        "timeout": "10s",
        "middlewares": [{"id": "park/prometheus"}],
        "retry_on_failure": parts.retry(),
        "#sending_queue": "One consumer keeps the points of a series in their order.",
        "sending_queue": parts.queue("prometheus", consumers=1),
    }


def remote_write(scheme: str, *, tls: str) -> parts.Settings:
    """For stores that have no OTLP."""
    return {
        "endpoint": f"${{env:PROMETHEUS_REMOTE_WRITE_ENDPOINT:-{scheme}://127.0.0.1:9090/api/v1/write}}",
        "tls": parts.client_tls(tls=tls),
        "timeout": "10s",
        "#remote_write_queue": "In memory, in order: an outage longer than the queue is a gap, which OTLP has not.",
        "remote_write_queue": {"enabled": True, "queue_size": 10000, "num_consumers": 1},
        "retry_on_failure": {
            "initial_interval": "1s",
            "max_interval": "${env:OTELCOL_RETRY_MAX_INTERVAL:-30s}",
            "#max_elapsed_time": "Points older than the store accepts are refused anyway.",
            "max_elapsed_time": "1h",
        },
    }


def page(*, tls: str) -> parts.Settings:
    """A page that Prometheus scrapes."""
    return {
        "#endpoint": "Prometheus scrapes this page: an outage of it is a gap. One replica only: each shows its own.",
        "endpoint": "${env:OTELCOL_PROMETHEUS_ENDPOINT:-127.0.0.1:9464}",
        **({"tls": parts.server_tls(mutual=tls == "mtls")} if tls != "none" else {}),
        "#enable_open_metrics": "Exemplars leave by OpenMetrics only.",
        "enable_open_metrics": True,
        "metric_expiration": "15m",
    }
