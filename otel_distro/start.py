"""What happens in a program started by `otel-distro run`, before its own first line."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from .guard import Guard
from .session import open_session


def start() -> None:
    """Set up telemetry in this process; the settings are repaired before anything of OpenTelemetry is imported."""
    import os
    import sys

    session = open_session(os.environ, sys.orig_argv)
    if not session.active:
        return
    from .configurator import Configurator
    from .distro import NAME, OtelDistro

    distro = OtelDistro()
    distro.adopt(session)
    named = session.environ.get("OTEL_PYTHON_DISTRO") or NAME
    if named != NAME:
        session.guard.warn(f"OTEL_PYTHON_DISTRO={named!r} has no effect under `otel-distro run`; {NAME} is used")
    Configurator().configure()
    _run_hooks("opentelemetry_pre_instrument", session.guard)
    distro.load_instrumentors()
    _run_hooks("opentelemetry_post_instrument", session.guard)


def _run_hooks(group: str, guard: Guard) -> None:
    for point in entry_points(group=group):
        if not point.value.startswith("otel_distro."):
            guard.call(f"{group} {point.name}", None, _run, point)


def _run(point: EntryPoint) -> None:
    point.load()()
