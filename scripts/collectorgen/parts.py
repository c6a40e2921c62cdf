"""The components that roles are put together from; each function gives the settings of one, with their reasons."""

from __future__ import annotations

from typing import Any

Settings = dict[str, Any]

STORAGE = "${env:OTELCOL_STORAGE_DIRECTORY:-/var/lib/otelcol}"
_SECRETS = "/etc/otelcol"


def server_tls(*, mutual: bool) -> Settings:
    """TLS of what listens. A file that is missing stops the collector at its start: there is no way back to plain text."""
    settings: Settings = {
        "cert_file": f"${{env:OTELCOL_TLS_CERT_FILE:-{_SECRETS}/tls/tls.crt}}",
        "key_file": f"${{env:OTELCOL_TLS_KEY_FILE:-{_SECRETS}/tls/tls.key}}",
    }
    if mutual:
        settings["#client_ca_file"] = (
            "Senders must show a certificate of this authority; a renewed one is read at once."
        )
        settings["client_ca_file"] = f"${{env:OTELCOL_TLS_CLIENT_CA_FILE:-{_SECRETS}/tls/client-ca.crt}}"
        settings["client_ca_file_reload"] = True
    return settings | {
        "#reload_interval": "A renewed certificate is used without a restart.",
        "reload_interval": "${env:OTELCOL_TLS_RELOAD_INTERVAL:-60s}",
        "min_version": "1.2",
    }


def client_tls(*, tls: str) -> Settings:
    """TLS towards a backend or a gateway."""
    if tls == "none":
        return {"#insecure": "Plain text: loopback or a private network.", "insecure": True}
    settings: Settings = {"ca_file": f"${{env:OTELCOL_BACKEND_CA_FILE:-{_SECRETS}/backend/ca.crt}}"}
    if tls == "mtls":
        settings["cert_file"] = f"${{env:OTELCOL_BACKEND_CERT_FILE:-{_SECRETS}/backend/tls.crt}}"
        settings["key_file"] = f"${{env:OTELCOL_BACKEND_KEY_FILE:-{_SECRETS}/backend/tls.key}}"
    return settings | {"reload_interval": "${env:OTELCOL_TLS_RELOAD_INTERVAL:-60s}"}


def token_in() -> Settings:
    """Authenticator of receivers; a changed file is read at once."""
    return {"filename": f"${{env:OTELCOL_RECEIVER_TOKEN_FILE:-{_SECRETS}/receiver-token}}"}


def token_out() -> Settings:
    """Authenticator of an exporter."""
    return {"filename": f"${{env:OTELCOL_EXPORTER_TOKEN_FILE:-{_SECRETS}/exporter-token}}"}


def health() -> Settings:
    """Liveness."""
    return {
        "#endpoint": "Liveness only: were it to depend on the backends, an outage of theirs would restart the queues' owner.",
        "endpoint": "${env:OTELCOL_HEALTH_ENDPOINT:-127.0.0.1:13133}",
    }


def ledger() -> Settings:
    """Where the counters of every span's fate are."""
    return {
        "#directory": "Mapped file: its counters survive kill -9. otelcol_ledger_items_total, docs/collector.md.",
        "directory": f"{STORAGE}/ledger",
    }


def room() -> Settings:
    """Of a connector at an entrance: senders are refused before a disk is full."""
    return {
        "#directory": "A queue whose disk is full loses what it was about to send: senders are refused before, and keep it.",
        "directory": STORAGE,
        "min_free_bytes": "${env:OTELCOL_DISK_RESERVE_BYTES:-67108864}",
    }


def counted(why: str) -> Settings:
    """Only the counting of `park`."""
    return {"#max_bytes": f"Counted by code and not parked: {why}", "max_bytes": 0}


def storage(name: str) -> Settings:
    """The file behind one queue."""
    directory = f"{STORAGE}/{name}"
    return {
        "directory": directory,
        "create_directory": True,
        "#recreate": "Sets aside a file at which opening panics; otelcol-start finds the broken files that this misses.",
        "recreate": True,
        "#fsync": "Without it the queue survives kill -9, not the loss of the machine; what it costs: docs/sizing.md.",
        "fsync": "${env:OTELCOL_STORAGE_FSYNC:-false}",
        "timeout": "10s",
        "compaction": {
            "#on_start": "The file never shrinks by itself: give the disk back at the start and after an outage.",
            "on_start": True,
            "on_rebound": True,
            "#rebound_needed_threshold_mib": "A file that has grown beyond this is made smaller once 10 MiB are left in it.",
            "rebound_needed_threshold_mib": 32,
            "cleanup_on_start": True,
            "directory": directory,
        },
    }


def park(name: str) -> Settings:
    """What a backend refuses for good."""
    return {
        "#directory": "Batches refused with a permanent code wait here and are offered again, instead of a log line.",
        "directory": f"{STORAGE}/parked-{name}",
        "max_bytes": "${env:OTELCOL_PARK_BYTES:-268435456}",
        "retry_interval": "${env:OTELCOL_PARK_RETRY_INTERVAL:-30s}",
        "#max_age": "After that a batch that is still refused is discarded, and counted by code.",
        "max_age": "${env:OTELCOL_PARK_MAX_AGE:-24h}",
    }


def otlp_receiver(*, tls: str, token: bool) -> Settings:
    """OTLP by gRPC and HTTP."""
    guard: Settings = {}
    if tls != "none":
        guard["tls"] = server_tls(mutual=tls == "mtls")
    if token:
        guard["auth"] = {"authenticator": "bearertokenauth/in"}
    return {
        "protocols": {
            "grpc": {
                "#endpoint": "Loopback unless told otherwise.",
                "endpoint": "${env:OTELCOL_OTLP_GRPC_ENDPOINT:-127.0.0.1:4317}",
                "max_recv_msg_size_mib": 16,
                "keepalive": {
                    "server_parameters": {
                        "#max_connection_age": "Clients reconnect now and then: a collector added behind a balancer gets its share.",
                        "max_connection_age": "60s",
                        "max_connection_age_grace": "30s",
                    }
                },
                **guard,
            },
            "http": {
                "endpoint": "${env:OTELCOL_OTLP_HTTP_ENDPOINT:-127.0.0.1:4318}",
                "max_request_body_size": 16777216,
                **guard,
            },
        }
    }


def memory_limiter() -> Settings:
    """The first processor wherever data comes in."""
    return {
        "check_interval": "1s",
        "limit_percentage": "${env:OTELCOL_MEMORY_LIMIT_PERCENT:-80}",
        "spike_limit_percentage": "${env:OTELCOL_MEMORY_SPIKE_PERCENT:-20}",
    }


# Keys that hold a person, a credential or a payload by their names; values are looked at by `redaction`.
_PRIVATE_KEYS = r"(?i)(password|passwd|secret|api[_.-]?key|access[_.-]?token|authorization|cookie|^user\.(email|full_name|name)$|^enduser\.id$|ssn|credit[_.-]?card|iban)"
_PRIVATE_VALUES = [
    r"(?i)[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}",
    r"\b(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|3[47][0-9]{13})\b",
    r"(?i)\bbearer\s+[a-z0-9._~+/-]{8,}=*",
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
]


def redaction() -> Settings:
    """Personal data and credentials, by key and by value."""
    return {
        "#allow_all_keys": "Keys stay, values that match are masked: a closed list of keys would lose what nobody thought of.",
        "allow_all_keys": True,
        "blocked_key_patterns": [_PRIVATE_KEYS],
        "#blocked_values": "E-mail addresses, card numbers, bearer tokens, JSON web tokens.",
        "blocked_values": list(_PRIVATE_VALUES),
        "#summary": "Says in an attribute how many values were masked, not which.",
        "summary": "info",
    }


def red_resource() -> Settings:
    """What may stay of the resource of a span metric."""
    return {
        "#error_mode": "The resource is that of the first process seen; only what all processes of a service share may stay.",
        "error_mode": "ignore",
        "metric_statements": [
            'keep_keys(resource.attributes, ["service.name", "service.namespace", "deployment.environment.name"])'
        ],
    }


def span_metrics() -> Settings:
    """Requests, errors and durations from spans."""
    names = ("http.request.method", "http.route", "http.response.status_code", "error.type")
    return {
        "#dimensions": "collector.instance.id is one by default: it keeps the series of several collectors apart.",
        "dimensions": [{"name": name} for name in names],
        "histogram": {
            "unit": "s",
            "#explicit": "The boundaries that the semantic conventions give for http.server.request.duration.",
            "explicit": {
                "buckets": [
                    *("5ms", "10ms", "25ms", "50ms", "75ms", "100ms", "250ms", "500ms", "750ms"),
                    *("1s", "2500ms", "5s", "7500ms", "10s"),
                ]
            },
        },
        "exemplars": {"enabled": True, "max_per_data_point": 5},
        "#resource_metrics_key_attributes": "Processes come and go, a service stays: one set of series a service.",
        "resource_metrics_key_attributes": ["service.name", "service.namespace", "deployment.environment.name"],
        "#aggregation_cardinality_limit": "Ids in span names cost one overflow series, not the memory.",
        "aggregation_cardinality_limit": "${env:OTELCOL_SPAN_METRICS_LIMIT:-2000}",
        "metrics_flush_interval": "${env:OTELCOL_SPAN_METRICS_INTERVAL:-15s}",
        "metrics_expiration": "15m",
    }


def retry() -> Settings:
    """Never give up: the default of 5 minutes drops what an outage of an hour has queued."""
    return {
        "initial_interval": "1s",
        "max_interval": "${env:OTELCOL_RETRY_MAX_INTERVAL:-30s}",
        "#max_elapsed_time": "Never give up: the default of 5 minutes drops what an outage of an hour has queued.",
        "max_elapsed_time": 0,
    }


def queue(name: str, *, consumers: int = 4) -> Settings:
    """A queue on disk of one exporter's own."""
    return {
        "storage": f"file_storage/{name}",
        "sizer": "bytes",
        "queue_size": "${env:OTELCOL_QUEUE_BYTES:-1073741824}",
        "num_consumers": consumers,
        "#block_on_overflow": "A full queue refuses its own branch; blocking would stop the other backends too.",
        "block_on_overflow": False,
        "batch": {
            "#sizer": "In bytes, below the 4 MiB that gRPC servers accept: spans differ in size by a factor of a hundred.",
            "sizer": "bytes",
            "min_size": 1000000,
            "max_size": 3500000,
            "flush_timeout": "200ms",
        },
    }


def otlp_exporter(name: str, endpoint: str, *, tls: str, token: bool = False) -> Settings:
    """OTLP/gRPC to a backend or a gateway, with a queue and a parking place."""
    settings: Settings = {"endpoint": endpoint, "tls": client_tls(tls=tls)}
    if token:
        settings["auth"] = {"authenticator": "bearertokenauth/out"}
    return settings | {
        "#compression": "Compression is the dearest part of an export; switch it on across zones.",
        "compression": "${env:OTELCOL_BACKEND_COMPRESSION:-none}",
        "timeout": "${env:OTELCOL_BACKEND_TIMEOUT:-10s}",
        "middlewares": [{"id": f"park/{name}"}],
        "retry_on_failure": retry(),
        "sending_queue": queue(name),
    }


def sentry_stamp() -> Settings:
    """What Sentry asks for on each span."""
    return {
        "#error_mode": "Sentry knows a release and an environment by names of its own, and looks for them on the span.",
        "error_mode": "ignore",
        "trace_statements": [
            'set(span.attributes["sentry.release"], resource.attributes["service.version"]) where resource.attributes["service.version"] != nil and span.attributes["sentry.release"] == nil',
            'set(span.attributes["sentry.environment"], resource.attributes["deployment.environment.name"]) where resource.attributes["deployment.environment.name"] != nil and span.attributes["sentry.environment"] == nil',
        ],
    }


def sentry_exporter() -> Settings:
    """Spans to Sentry's OTLP endpoint: bounded everywhere, for its quota is money."""
    return {
        "#traces_endpoint": "https://HOST/api/PROJECT/integration/otlp/v1/traces/",
        "traces_endpoint": "${env:SENTRY_OTLP_TRACES_ENDPOINT:-http://127.0.0.1:9000/api/1/integration/otlp/v1/traces/}",
        "headers": {"x-sentry-auth": "sentry sentry_key=${env:SENTRY_PUBLIC_KEY:-unset}"},
        "compression": "gzip",
        "timeout": "10s",
        "middlewares": [{"id": "park/sentry"}],
        "retry_on_failure": {
            "#initial_interval": "429 with Retry-After waits as long as Sentry says; after that time a batch is given up.",
            "initial_interval": "5s",
            "max_interval": "60s",
            "#max_elapsed_time": "collector-lint: allow retry-gives-up",
            "max_elapsed_time": "${env:OTELCOL_SENTRY_MAX_ELAPSED:-10m}",
        },
        "#sending_queue": "In memory and small: what Sentry has no room for is dropped and counted, never hoarded. collector-lint: allow queue-in-memory",
        "sending_queue": {
            "sizer": "bytes",
            "queue_size": "${env:OTELCOL_SENTRY_QUEUE_BYTES:-33554432}",
            "num_consumers": 2,
            "block_on_overflow": False,
            "batch": {"sizer": "bytes", "min_size": 200000, "max_size": 900000, "flush_timeout": "1s"},
        },
    }


def telemetry(*, remote_write: bool) -> Settings:
    """The collector's own metrics."""
    views = [_without("http.server.*", "server.address", "server.port")]
    why = "What a client calls this collector is its own choice: as a label it has no end, and hides the codes of answers."
    if remote_write:
        views.append(_without("otelcol_exporter_prometheusremotewrite_*", "endpoint"))
        why += " The address of a remote write may hold a login."
    return {
        "metrics": {
            "#level": "Refused logins and malformed bodies are counted at this level only.",
            "level": "detailed",
            "readers": [
                {
                    "pull": {
                        "exporter": {
                            "prometheus": {
                                "host": "${env:OTELCOL_TELEMETRY_HOST:-127.0.0.1}",
                                "port": "${env:OTELCOL_TELEMETRY_PORT:-8888}",
                                "#without_type_suffix": "Pinned: since 0.152 the defaults drop _total and _seconds.",
                                "without_type_suffix": False,
                                "without_units": False,
                                "without_scope_info": True,
                            }
                        }
                    }
                }
            ],
            "#views": why,
            "views": views,
        }
    }


def _without(instruments: str, *labels: str) -> Settings:
    """A view of some of the collector's own metrics."""
    return {"selector": {"instrument_name": instruments}, "stream": {"attribute_keys": {"excluded": list(labels)}}}
