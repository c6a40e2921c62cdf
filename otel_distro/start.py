"""What happens in a program started by `otel-distro run`, before its own first line.

It does what the stock launcher does with the same parts, but imports neither that launcher nor `OtelDistro`, whose base
class alone costs more than everything here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .session import Session, this_process

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_NAME = "otel_distro"


def start() -> None:
    """Set up telemetry in this process; the settings are repaired before anything of OpenTelemetry is imported."""
    session = this_process()
    if session.settings.python.gevent_patch is not None:
        # before anything else is imported, and also where telemetry is off: the application counts on it
        session.guard.call("gevent", None, _patch)
    if not session.active:
        return
    from .configurator import configure
    from .instrumentation.load import load

    named = session.environ.get("OTEL_PYTHON_DISTRO") or _NAME
    if named != _NAME:
        session.guard.warn(f"OTEL_PYTHON_DISTRO={named!r} has no effect under `otel-distro run`; {_NAME} is used")
    configure(session)
    _run_hooks("opentelemetry_pre_instrument", session)
    session.guard.call("instrumentors", None, load, session)
    _run_hooks("opentelemetry_post_instrument", session)


def _patch() -> None:
    from importlib import import_module

    import_module("gevent.monkey").patch_all()


def _run_hooks(group: str, session: Session) -> None:
    """Run what other packages want done around the instrumentors."""
    from ._compat import entry_points  # upstream keeps what it has read; Python's own reads all metadata again

    for point in entry_points(group=group):
        if not point.value.startswith("otel_distro."):
            session.guard.call(f"{group} {point.name}", None, _run, point)


def _run(point: EntryPoint) -> None:
    point.load()()
