"""When telemetry is set up: at the first sign that the process will do something to tell of, and not before.

Signs are an import of OpenTelemetry or of a library that is watched, a log record, an event loop that runs and, where
the process's own metrics are pushed, the moment of the first push. A program that gives none of them pays for its
settings and these hooks. Whatever has to act at once, or might, is a reason not to wait.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable, Collection, Iterable
from functools import partial, wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .import_hooks import locked_for_ever
from .installed import entry_points
from .instrumentation.table import CONTRIB_MODULES, OURS
from .process import in_forked_child, unforked
from .start import undisturbed

if TYPE_CHECKING:
    from . import settings as settings_
    from .session import Session

_BEFORE = ("trace", "propagate", "metrics", "_logs", "sdk")
"""Parts of OpenTelemetry in which the distro has something to put before the application gets at them."""
_SIGNS = ("gevent.monkey", "otel_distro.health.setup", "uvicorn.server")
"""Modules that are watched by something that the set-up makes, or must be set up before they act."""
_LOOPS = {"asyncio.base_events": "BaseEventLoop", "uvloop": "Loop"}
"""Classes of event loops: the first one that runs is a sign."""
_START_HOOKS = {"opentelemetry_pre_instrument", "opentelemetry_post_instrument"}


class Awakening:
    """Calls `set_up` once, at the first sign.

    Args:
        session: of this process, active.
        set_up: builds everything; guarded by itself.
    """

    def __init__(self, session: Session, set_up: Callable[[], object]) -> None:
        self._session = session
        self._set_up = set_up
        self._begun = threading.Lock()
        self._awake = threading.Event()
        self._setting_up = False
        self._collects = True
        self._silences: list[Callable[[], None]] = []

    def wait(self, modules: Iterable[str]) -> None:
        """Set up at the first sign, which may have been given already.

        Args:
            modules: whose import is one.
        """
        session = self._session
        session.wake = self.wake
        _watch_api(session, self.wake)
        for name in modules:
            session.hooks.on_import(name, self._imported)
        for name, holder in _LOOPS.items():
            session.hooks.on_import(name, partial(self._at_first_call, holder, "run_forever"))
        self._at_first_call("Logger", "filter", logging)
        in_forked_child(self._in_child, session.guard.failed)
        if _pushes(session.settings):
            self._wait_for_the_first_push()

    def wake(self) -> None:
        """Set up now, unless that has been done or another thread is about it.

        That one is not waited for: it may need an import that this thread is in the middle of. What the application
        asks of OpenTelemetry until it has ended is answered by the API's proxies.
        """
        if self._session.wake is None:
            return
        with unforked():
            if not self._begun.acquire(blocking=False):
                return
            self._session.wake = None
            self._awake.set()
            for silence in self._silences:
                silence()
            self._collects = gc.isenabled()
            self._setting_up = True
            undisturbed(self._set_up)
            self._setting_up = False
        self._session.settled()

    def _imported(self, module: ModuleType) -> None:
        del module
        self.wake()

    def _at_first_call(self, holder: str, name: str, module: ModuleType) -> None:
        if self._session.wake is not None:
            self._silences.append(_at_first_call(getattr(module, holder), name, self.wake))

    def _in_child(self) -> None:
        if self._setting_up:
            if self._collects:
                gc.enable()  # the thread that would is not here
            # what was being imported stays locked here for ever, so nothing tries again
            self._lost("another thread of its parent set telemetry up")
        elif self._session.wake is not None and (module := locked_for_ever()):
            # whoever imports it waits without an end, and the set-up imports half of the standard library
            self._begun.acquire(blocking=False)
            self._session.wake = None
            self._lost(f"another thread of its parent imported {module}")
        elif _pushes(self._session.settings):
            self._wait_for_the_first_push()

    def _lost(self, meanwhile: str) -> None:
        self._session.guard.failed(
            "set-up",
            f"this process was forked while {meanwhile}",
            remedy="it has no telemetry; fork later, or import opentelemetry before",
        )

    def _wait_for_the_first_push(self) -> None:
        if self._session.wake is not None:
            # a forked child's own: a thread that is not here may hold its parent's
            self._awake = threading.Event()
            threading.Thread(target=self._push, args=(self._awake,), name="otel-distro-wake", daemon=True).start()

    def _push(self, awake: threading.Event) -> None:
        if not awake.wait(self._session.settings.metrics.export_interval / 1000):
            self._session.guard.call("set-up", None, self.wake)


def signs(session: Session) -> tuple[str, ...] | None:
    """The modules whose import is a sign; None where something has to act before the application does."""
    if not _plain(session.settings):
        return None
    contrib = _patient(session.settings.instrumentation.disabled)
    if contrib is None:
        return None
    ours = (module for own in OURS for module in own.modules if module != "logging")
    return tuple(dict.fromkeys((*_SIGNS, *ours, *contrib)))


def _plain(chosen: settings_.Settings) -> bool:
    """Whether everything that was asked for is built in: what is not may be missing, which is said at the start."""
    exporters = {*chosen.traces.exporters, *chosen.metrics.exporters, *chosen.logs.exporters}
    at_once = (
        chosen.distro.pipeline != "lean",
        chosen.distro.spool_dir is not None,  # what an earlier process left there is sent
        chosen.sentry.dsn is not None,
        chosen.health.enabled == "on",
        chosen.logs.exporters != ("none",) or chosen.logs.lines or chosen.logs.levels or chosen.logs.correlation,
        not exporters <= {"otlp", "console", "prometheus", "none"},
        any(otlp.protocol == "grpc" for otlp in (chosen.otlp_traces, chosen.otlp_metrics)),
        not {*chosen.general.propagators} <= {"tracecontext", "baggage"},
        chosen.general.resource_detectors or chosen.general.config_file,
        chosen.python.id_generator != "random",
    )
    return not any(at_once)


def _patient(disabled: Collection[str]) -> list[str] | None:
    """What contrib's installed instrumentations wait for; None where one of them, or another package, cannot wait."""
    installed = entry_points("opentelemetry_instrumentor", *_START_HOOKS)
    if installed is None:
        return None
    silent = {*disabled}.union(*({own.name, *own.replaces} for own in OURS))
    modules = []
    for group, name, value in installed:
        if group == "opentelemetry_instrumentor" and name not in silent and "*" not in disabled:
            if name not in CONTRIB_MODULES:
                return None
            modules.append(CONTRIB_MODULES[name])
        elif group in _START_HOOKS and not value.startswith("otel_distro."):
            return None
    return modules


def _watch_api(session: Session, wake: Callable[[], None]) -> None:
    if "opentelemetry" not in sys.modules:
        session.hooks.before_import("opentelemetry", wake)
        return
    # the stock launcher has imported a part of it
    for name in _BEFORE:
        module = sys.modules.get(f"opentelemetry.{name}")
        if module is None:
            session.hooks.before_import(f"opentelemetry.{name}", wake)
        elif type(module) is ModuleType:
            module.__class__ = _touching(wake)
        else:
            wake()


def _touching(wake: Callable[[], None]) -> type[ModuleType]:
    """The class of a module whose first use is a sign; then it is an ordinary one again."""

    class Touched(ModuleType):
        def __getattribute__(self, name: str) -> Any:
            # the import system asks each module that is imported again for its __spec__
            if not name.startswith("__"):
                object.__setattr__(self, "__class__", ModuleType)
                wake()
            return ModuleType.__getattribute__(self, name)

    return Touched


def _at_first_call(holder: type, name: str, wake: Callable[[], None]) -> Callable[[], None]:
    """Wake before the first call of a method of a class; what is returned takes the hook away."""
    original = getattr(holder, name)

    @wraps(original)
    def first(*args: Any) -> Any:
        outermost = getattr(holder, name) is first
        wake()
        # what stands here by now serves this call, too
        current = getattr(holder, name)
        return (current if outermost and current is not first else original)(*args)

    def silence() -> None:
        # who has put something over it keeps that, and what is below hands on
        if getattr(holder, name) is first:
            setattr(holder, name, original)

    setattr(holder, name, first)
    return silence


def _pushes(chosen: settings_.Settings) -> bool:
    """Whether somebody gets metrics that nobody in the application records."""
    return not {*chosen.metrics.exporters} <= {"prometheus", "none"} and bool(
        {"runtime", "own"} & {*chosen.metric_groups.enabled}
    )
