"""gevent: the standard library is patched before our locks and threads exist, or telemetry steps aside.

A lock that was made before gevent's patch blocks the whole loop when a greenlet waits for it. So where it is
known that gevent will patch, that is done first; where an application does it later by itself, telemetry ends in this
process, which one line says (opentelemetry-python #3886, #4025, #4345).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from .process import program
from .session import Session

_VARIABLE = "OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH"


def patch_early(session: Session) -> None:
    """Patch now where the user asks for it, or gunicorn is told to use gevent's workers and would do it later."""
    if session.settings.python.gevent_patch is not None or gunicorn_uses_gevent(session.orig_argv, session.environ):
        session.guard.call("gevent", None, _patch)


def watch(session: Session, module: ModuleType) -> None:
    """End telemetry in this process when the application patches after it was set up.

    Args:
        session: of this process.
        module: `gevent.monkey`, which has just been imported.
    """
    if module.is_module_patched("threading"):
        return
    for name in ("patch_all", "patch_thread"):
        setattr(module, name, _stepping_aside(session, module, getattr(module, name)))


def gunicorn_uses_gevent(orig_argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether the command line or `GUNICORN_CMD_ARGS` names gevent's worker class.

    Args:
        orig_argv: `sys.orig_argv`.
        environ: environment variables.
    """
    command = program(orig_argv)
    named = command[1:2] if command[:1] == ["-m"] else command[:1]
    if not named or named[0].rpartition("/")[2].split(".")[0] != "gunicorn":
        return False
    words = [*command, *environ.get("GUNICORN_CMD_ARGS", "").split()]
    for index, word in enumerate(words):
        if word in {"-k", "--worker-class"} and words[index + 1 : index + 2] == ["gevent"]:
            return True
        if word in {"-kgevent", "--worker-class=gevent"}:
            return True
    return False


def _patch() -> None:
    import_module("gevent.monkey").patch_all()
    # gevent before 26 imports it with the first lookup of a name, which fails where a process already ends
    import_module("gevent.threadpool")


def _stepping_aside(session: Session, module: ModuleType, original: Any) -> Any:
    @functools.wraps(original)
    def patch(*args: Any, **kwargs: Any) -> Any:
        if session.pipeline is not None and not module.is_module_patched("threading"):
            session.guard.call("gevent", None, _end, session)
        return original(*args, **kwargs)

    return patch


def _end(session: Session) -> None:
    if session.pipeline is not None:
        session.pipeline.shutdown(session.settings.distro.shutdown_timeout / 1000, session.guard)
        session.pipeline.flushes.clear()
    reason = "gevent patches the standard library after telemetry was set up, so telemetry ends in this process"
    session.guard.failed("gevent", reason, remedy=f"{_VARIABLE}=patch_all patches before")
