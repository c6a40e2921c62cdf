"""Who is measured: packages, settings and launcher of each peer, and why they are what they are."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parents[1]

# What every environment holds, so that only the telemetry differs. SQLAlchemy is 2.0: contrib does not know 2.1.
BASE = (
    "fastapi==0.165.0",
    "starlette==1.10.0",
    "pydantic==2.14.3",
    "opentelemetry-api==1.45.1",  # FastAPI depends on it, so bare has it too
    "uvicorn[standard]==0.54.0",
    "sqlalchemy==2.0.58",
    "redis==8.1.0",
    "httpx==0.28.1",
    "requests==2.34.2",
    "urllib3==2.8.0",
)
_CONTRIB = (
    "opentelemetry-sdk==1.45.1",
    "opentelemetry-distro==0.66b1",
    "opentelemetry-exporter-otlp-proto-http==1.45.1",
    "opentelemetry-instrumentation-fastapi==0.66b1",
    "opentelemetry-instrumentation-sqlalchemy==0.66b1",
    "opentelemetry-instrumentation-redis==0.66b1",
    "opentelemetry-instrumentation-httpx==0.66b1",
    "opentelemetry-instrumentation-requests==0.66b1",
)
_STOCK = ("opentelemetry-instrument",)

# Alike for everything that reads OTEL_*: {…} are filled in by the run (benchmarks/run.py).
_OTEL = MappingProxyType(
    {
        "OTEL_SERVICE_NAME": "bench",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "{otlp}",
        "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database",
        "OTEL_BSP_SCHEDULE_DELAY": "{interval_ms}",
        "OTEL_BSP_MAX_QUEUE_SIZE": "65536",
        "OTEL_METRIC_EXPORT_INTERVAL": "10000",
    }
)
_UNSAMPLED = {"OTEL_TRACES_SAMPLER": "always_off"}
_NO_METRICS = {"OTEL_METRICS_EXPORTER": "none"}
_UPSTREAM = {**_OTEL, "OTEL_PYTHON_DISTRO": "distro"}
_OURS = {**_OTEL, "OTEL_PYTHON_DISTRO": "otel_distro", "OTEL_DISTRO_PIPELINE": "lean"}
_NATIVE = {**_UPSTREAM, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "fastapi,asgi,starlette"}


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to watch the same application.

    Attributes:
        name: Short name, unique, as the command line selects it.
        title: Name in tables and plots.
        why: What it stands for and why it is configured so.
        requirements: Packages beside `BASE`; peers with equal requirements share an environment.
        environment: Variables of the process; `{…}` is filled in by the run.
        launcher: Console script (and its arguments) put before `python`.
        setup: Name of the function of workload/setups.py that wires it in code.
        wrap: ASGI wrapper put around the application: "" | "noop" | "contextvar".
        cases: Names of the only cases it takes part in; None is all.
        checkout: Whether this checkout is installed into its environment.
        arrives: Path below which the sink gets its spans; "" is that of OTLP.
        exact: Whether every span sent must arrive; False where the peer itself samples.
        quick: Whether the quick mode measures it.
    """

    name: str
    title: str
    why: str
    requirements: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    launcher: tuple[str, ...] = ()
    setup: str = "nothing"
    wrap: str = ""
    cases: frozenset[str] | None = None
    checkout: bool = False
    arrives: str = ""
    exact: bool = True
    quick: bool = False

    @property
    def far_end(self) -> str:
        """Path below which the sink gets what this peer sends."""
        return self.arrives or f"/{self.name}/"


def _ours_requirements() -> tuple[str, ...]:
    """The dependencies this checkout declares, and its build backend: it is installed without isolation."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return (*project["project"]["dependencies"], *project["build-system"]["requires"])


_SERVER = frozenset({"plain", "lag", "routes-1000", "body-1k", "body-1m", "error", "uvicorn"})
_OFF = frozenset({"plain"})
_SENTRY = frozenset({"plain", "mixed", "spans-9"})
_LIMIT = frozenset({"plain"})
_OURS_PACKAGES = _ours_requirements()
_DDTRACE = {
    "DD_SERVICE": "bench",
    "DD_TRACE_AGENT_URL": "{sink}",
    "DD_TRACE_WRITER_INTERVAL_SECONDS": "{interval_s}",
    "DD_TRACE_WRITER_BUFFER_SIZE_BYTES": "268435456",
    "DD_TRACE_WRITER_MAX_PAYLOAD_SIZE_BYTES": "67108864",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_TRACE_STARTUP_LOGS": "false",
}

PEERS = (
    Peer("bare", "bare FastAPI", "The application alone; what every ratio is against.", quick=True),
    Peer("noop", "no-op ASGI wrapper", "Limit: an ASGI wrapper that only calls on.", wrap="noop", cases=_LIMIT),
    Peer(
        "contextvar",
        "contextvars set/reset",
        "Limit: a wrapper that sets and resets one context variable, without which no tracing works.",
        wrap="contextvar",
        cases=_LIMIT,
    ),
    Peer(
        "ours",
        "otel-distro",
        "This checkout under `otel-distro run`, everything on: traces, metrics, export.",
        _OURS_PACKAGES,
        _OURS,
        ("otel-distro", "run"),
        checkout=True,
        setup="opentelemetry",
        quick=True,
    ),
    Peer(
        "upstream",
        "OpenTelemetry contrib + SDK",
        "Stock launcher, `opentelemetry-distro`, contrib instrumentations, stable conventions; nothing else changed.",
        _CONTRIB,
        _UPSTREAM,
        _STOCK,
        setup="opentelemetry",
        quick=True,
    ),
    Peer(
        "upstream-tuned",
        "contrib + SDK, tuned by hand",
        "The same with everything configuration can take away: no send/receive spans, no exemplars, W3C only.",
        _CONTRIB,
        {
            **_UPSTREAM,
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "fastapi",
            "OTEL_METRICS_EXEMPLAR_FILTER": "always_off",
            "OTEL_PROPAGATORS": "tracecontext",
        },
        _STOCK,
        setup="contrib_tuned",
    ),
    Peer(
        "native",
        "FastAPI native + SDK",
        "FastAPI's own telemetry with the upstream SDK; contrib serves the client libraries, which FastAPI does not.",
        _CONTRIB,
        _NATIVE,
        _STOCK,
        setup="opentelemetry",
    ),
    Peer(
        "ddtrace",
        "ddtrace",
        "`ddtrace-run` with its defaults; telemetry about itself and remote configuration off (in its favour).",
        ("ddtrace==4.16.0",),
        _DDTRACE,
        ("ddtrace-run",),
        setup="ddtrace",
        arrives="/v0.",
    ),
    Peer(
        "sentry",
        "sentry-sdk 1.0",
        "traces_sample_rate=1.0; queue enlarged so that nothing is dropped.",
        ("sentry-sdk==2.75.0",),
        {"SENTRY_DSN": "{sentry}/1", "SENTRY_TRACES_SAMPLE_RATE": "1.0"},
        setup="sentry",
        arrives="/api/1/",
    ),
    Peer(
        "sentry-0.1",
        "sentry-sdk 0.1",
        "traces_sample_rate=0.1, the usual advice against its price.",
        ("sentry-sdk==2.75.0",),
        {"SENTRY_DSN": "{sentry}/2", "SENTRY_TRACES_SAMPLE_RATE": "0.1"},
        setup="sentry",
        arrives="/api/2/",
        exact=False,
    ),
    Peer(
        "ours-sentry",
        "otel-distro, spans to Sentry too",
        "Spans to the collector and to Sentry, errors by sentry-sdk; no request fails.",
        (*_OURS_PACKAGES, "sentry-sdk==2.75.0"),
        {**_OURS, "SENTRY_DSN": "{sentry}/3"},
        ("otel-distro", "run"),
        setup="opentelemetry",
        checkout=True,
        cases=_SENTRY,
    ),
    Peer(
        "ours-errors",
        "otel-distro, errors to Sentry",
        "Spans to the collector alone, errors by sentry-sdk; no request fails.",
        (*_OURS_PACKAGES, "sentry-sdk==2.75.0"),
        {**_OURS, "SENTRY_DSN": "{sentry}/4", "OTEL_DISTRO_SENTRY_SPANS": "off"},
        ("otel-distro", "run"),
        setup="opentelemetry",
        checkout=True,
        cases=_SENTRY,
    ),
    Peer(
        "logfire",
        "logfire",
        "send_to_logfire=False with an OTLP endpoint, as its documentation says for other backends; no console.",
        ("logfire==5.2.0", *(item for item in _CONTRIB if "distro" not in item)),
        {**_OTEL},
        setup="logfire",
    ),
    Peer(
        "prometheus",
        "prometheus-fastapi-instrumentator",
        "Metrics only, defaults: what a service pays that traces nothing.",
        ("prometheus-fastapi-instrumentator==8.1.0",),
        setup="prometheus",
        cases=_SERVER | {"startup"},
    ),
    Peer(
        "ours-off",
        "otel-distro, unsampled",
        "always_off, metrics on.",
        _OURS_PACKAGES,
        {**_OURS, **_UNSAMPLED},
        ("otel-distro", "run"),
        setup="opentelemetry",
        cases=_OFF,
        checkout=True,
    ),
    Peer(
        "ours-off-bare",
        "otel-distro, unsampled, no metrics",
        "always_off, metrics off.",
        _OURS_PACKAGES,
        {**_OURS, **_UNSAMPLED, **_NO_METRICS},
        ("otel-distro", "run"),
        setup="opentelemetry",
        cases=_OFF,
        checkout=True,
    ),
    Peer(
        "upstream-off",
        "contrib + SDK, unsampled",
        "always_off, metrics on.",
        _CONTRIB,
        {**_UPSTREAM, **_UNSAMPLED},
        _STOCK,
        setup="opentelemetry",
        cases=_OFF,
    ),
    Peer(
        "upstream-off-bare",
        "contrib + SDK, unsampled, no metrics",
        "always_off, metrics off.",
        _CONTRIB,
        {**_UPSTREAM, **_UNSAMPLED, **_NO_METRICS},
        _STOCK,
        setup="opentelemetry",
        cases=_OFF,
    ),
    Peer(
        "floor",
        "stock launcher alone",
        "`opentelemetry-instrument` with no distro and no instrumentation: the least the stock way can cost.",
        ("opentelemetry-instrumentation==0.66b1",),
        {},
        _STOCK,
        cases=frozenset({"startup"}),
    ),
    Peer(
        "ours-stock",
        "otel-distro, stock launcher",
        "This checkout under `opentelemetry-instrument`: same pipeline, upstream's start.",
        _OURS_PACKAGES,
        _OURS,
        _STOCK,
        setup="opentelemetry",
        cases=frozenset({"startup"}),
        checkout=True,
    ),
)
