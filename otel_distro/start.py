"""What happens in a program started by `otel-distro run`, before its own first line.

It does what the stock launcher does with the same parts, but imports neither that launcher nor `OtelDistro`, whose base
class alone costs more than everything here.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping

TYPE_CHECKING = False  # as `typing` has it: checkers know the name, and a disabled start does not pay that import
if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from typing import TypeVar

    from .session import Session

    T = TypeVar("T")

_NAME = "otel_distro"
_LOOKED_AT = ("OTEL_PYTHON_CONTEXT", "OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH")
_BUILT_IN = frozenset({"", "tracecontext", "baggage", "none"})
"""Propagators that need no look: the API has them, and no name at all is none."""


def start() -> None:
    """Set up telemetry in this process; the settings are repaired before anything of OpenTelemetry is imported."""
    if not switched_off(os.environ):
        undisturbed(_start)


def undisturbed(function: Callable[[], T]) -> T:
    """Call `function` without looks for garbage meanwhile: nearly all that a start makes is there to stay."""
    collects = gc.isenabled()
    try:
        gc.disable()  # a signal's handler that raises may come right after it
        return function()
    finally:
        if collects:
            gc.enable()


def _start() -> None:
    from .session import this_process

    session = this_process()
    if session.settings.python.gevent_patch is not None:
        # also where telemetry is off: the application counts on it
        from .gevent_patch import patch_early

        patch_early(session)
    if not session.active:
        return
    named = session.environ.get("OTEL_PYTHON_DISTRO") or _NAME
    if named != _NAME:
        session.guard.warn(f"OTEL_PYTHON_DISTRO={named!r} has no effect under `otel-distro run`; {_NAME} is used")
    from .configurator import begin

    begin(session, around=lambda group: _run_hooks(group, session))
    if session.wake is None:
        session.settled()


def switched_off(environ: Mapping[str, str]) -> bool:
    """Whether telemetry is off and nothing else of the environment needs a look: then nothing at all is imported.

    The API reads `OTEL_PROPAGATORS` when the application imports it, which `OTEL_SDK_DISABLED` does not change
    (specification, SDK environment variables); a name that would make it raise there has to be repaired first.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true" or environ.get("OTEL_CONFIG_FILE"):
        return False
    unusual = {name.strip() for name in environ.get("OTEL_PROPAGATORS", "").split(",")} - _BUILT_IN
    return not unusual and not any(name in environ for name in _LOOKED_AT)


def _run_hooks(group: str, session: Session) -> None:
    """Run what other packages want done around the instrumentors."""
    from .installed import entry_points as installed

    found = installed(group)
    if found is not None and all(point.value.startswith("otel_distro.") for point in found):
        return
    from ._compat import entry_points  # upstream keeps what it has read; Python's own reads all metadata again

    for point in entry_points(group=group):
        if not point.value.startswith("otel_distro."):
            session.guard.call(f"{group} {point.name}", None, _run, point)


def _run(point: EntryPoint) -> None:
    point.load()()
