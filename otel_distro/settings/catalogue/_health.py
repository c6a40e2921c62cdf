"""Health endpoints on the application's own port."""

from __future__ import annotations

from collections.abc import Mapping

from otel_distro.settings._values import MILLISECONDS, PAIRS, TEXT, choice, integer, names, paths
from otel_distro.settings._variable import OURS, Record, variable


class Health(Record):
    """Health endpoints on the application's own port."""

    enabled: str = variable(
        "OTEL_DISTRO_HEALTH",
        choice("on", "off", also={"true": "on", "false": "off"}),
        "off",
        "`on` answers the health paths below without a line of the application; a route of its own stays.",
        source=OURS,
    )
    live_paths: tuple[str, ...] = variable(
        "OTEL_DISTRO_HEALTH_LIVE_PATHS",
        paths(),
        ("/live",),
        "Paths of the liveness probe, which touches no dependency; `none` for none.",
        source=OURS,
    )
    basic_paths: tuple[str, ...] = variable(
        "OTEL_DISTRO_HEALTH_PATHS",
        paths(),
        ("/health",),
        "Paths of the basic answer, which touches no dependency either.",
        source=OURS,
    )
    ready_paths: tuple[str, ...] = variable(
        "OTEL_DISTRO_HEALTH_READY_PATHS",
        paths(),
        ("/ready",),
        "Paths of the readiness probe, which runs the checks.",
        source=OURS,
    )
    detailed_paths: tuple[str, ...] = variable(
        "OTEL_DISTRO_HEALTH_DETAILED_PATHS",
        paths(),
        ("/health/detailed", "/api/health"),
        "Paths of the answer that names each check.",
        source=OURS,
    )
    timeout: int = variable(
        "OTEL_DISTRO_HEALTH_TIMEOUT",
        integer(1, 60_000),
        800,
        "Milliseconds a check may take; below the one second that Kubernetes waits for a probe.",
        source=OURS,
    )
    cache: int = variable(
        "OTEL_DISTRO_HEALTH_CACHE",
        MILLISECONDS,
        1000,
        "Milliseconds the result of a check counts: within them it runs once a process, however many ask.",
        source=OURS,
    )
    critical: tuple[str, ...] = variable(
        "OTEL_DISTRO_HEALTH_CRITICAL",
        names(),
        ("database",),
        "Found or named dependencies (`database`, `redis`, a check's name) without which the process is not ready; "
        "others degrade it. `none` for none.",
        source=OURS,
    )
    http: Mapping[str, str] = variable(
        "OTEL_DISTRO_HEALTH_HTTP",
        PAIRS,
        {},
        "HTTP and WebSocket dependencies to check, as `name=url`.",
        source=OURS,
        secret=True,
    )
    drain: int = variable(
        "OTEL_DISTRO_HEALTH_DRAIN",
        integer(0, 600_000),
        0,
        "Milliseconds uvicorn goes on serving after SIGTERM while `/ready` answers 503.",
        source=OURS,
    )
    token: str | None = variable(
        "OTEL_DISTRO_HEALTH_TOKEN",
        TEXT,
        None,
        "Whoever sends it as a bearer token sees details; while it is set, loopback alone shows none.",
        source=OURS,
        secret=True,
    )
