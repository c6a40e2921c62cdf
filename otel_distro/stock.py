"""Entry point `otel_distro` of `opentelemetry_environment_variables`, which `opentelemetry-instrument` loads first.

That launcher starts Python twice and imports all it needs in both. Its own process it keeps; the program's it would
begin with half of the API, `packaging`, `wrapt` and `asyncio`, only to find that our distro is to be set up. Where that
is certain, the program is started as `otel-distro run` starts it. This module adds no option to the launcher's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from .launch import python_path

_LAUNCHER = "opentelemetry.instrumentation.auto_instrumentation"
_STARTS = "execl"
"""What the launcher ends with, as a name of its module; a contract test holds it."""
_NAME = "otel_distro"


def chosen(environ: Mapping[str, str]) -> bool:
    """Whether the launcher would set up our distro, with our configurator, and the lean pipeline.

    Args:
        environ: of the program.
    """
    if environ.get("OTEL_PYTHON_CONFIGURATOR", _NAME) != _NAME or environ.get("OTEL_DISTRO_PIPELINE", "lean") != "lean":
        return False
    named = environ.get("OTEL_PYTHON_DISTRO")
    if named is None:
        from .installed import entry_points

        # the first one found is taken
        found = entry_points("opentelemetry_distro")
        return found is not None and {point.name for point in found} == {_NAME}
    return named == _NAME


def _start(start: Any, *command: Any) -> None:
    try:
        if chosen(os.environ):
            os.environ["PYTHONPATH"] = python_path(os.environ.get("PYTHONPATH", ""))
    except Exception:  # noqa: BLE001 - then it starts as it would without us
        pass
    start(*command)


def _stand_in(launcher: Any) -> None:
    start = getattr(launcher, _STARTS, None)
    if start is os.execl:
        setattr(launcher, _STARTS, partial(_start, start))


_stand_in(sys.modules.get(_LAUNCHER))
