"""When telemetry is set up: at the first sign that the process will do something to tell of, and not before.

Signs are the first call of a library that is watched or of what OpenTelemetry's API offers, an import where no such
call is known, a log record, an event loop that runs and, where the process's own metrics are pushed, the moment of the
first push. A program that gives none of them pays for its settings and these hooks. Whatever has to act at once, or
might, is a reason not to wait.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

from .first_calls import OF_API, OF_LIBRARIES, hook, hook_one
from .installed import entry_points
from .instrumentation.table import CONTRIB_MODULES, OURS
from .process import in_forked_child, unforked
from .start import undisturbed

if TYPE_CHECKING:
    from . import settings as settings_
    from .session import Session

_SIGNS = (
    # watched by something that the set-up makes, or must be set up before they act
    "gevent.monkey",
    "uvicorn.server",
    # our own interface
    "otel_distro.captures",
    "otel_distro.context",
    "otel_distro.health.setup",
    "otel_distro.measure",
    "otel_distro.operations",
    # they patch the same methods, and a hook below theirs would let the first call pass
    "ddtrace",
    "elasticapm",
    "logfire",
    "newrelic",
    "sentry_sdk",
)
"""Modules whose import is a sign, beside libraries of which no first call is known."""
_LOOPS = {"asyncio.base_events": "BaseEventLoop", "uvloop": "Loop"}
"""Classes of event loops: the first one that runs is a sign."""
_START_HOOKS = {"opentelemetry_pre_instrument", "opentelemetry_post_instrument"}
_LONGEST = 5.0
"""Seconds that a call of a library waits for the set-up of another thread at most: it may need what that one holds."""


class Awakening:
    """Calls `set_up` once, at the first sign.

    Args:
        session: of this process, active.
        set_up: builds everything; calls what it is given before it patches a library.
    """

    def __init__(self, session: Session, set_up: Callable[[Callable[[], None]], object]) -> None:
        self._session = session
        self._set_up = set_up
        self._begun = threading.Lock()
        self._done = threading.Event()
        self._thread = 0
        self._silences: list[Callable[[], None]] = []
        self._libraries: list[Callable[[], None]] = []

    def wait(self, modules: Iterable[str]) -> None:
        """Set up at the first sign, which may have been given already.

        Args:
            modules: whose import is one, or the first call of what they have.
        """
        session = self._session
        session.wake = self.wake
        if "OTEL_PROPAGATORS" in session.environ:
            # upstream reads it in its own way while it is imported, where the set-up takes it away
            session.hooks.before_import("opentelemetry.propagate", self.wake)
        for name, functions in OF_API.items():
            session.hooks.on_import(name, partial(self._at_first_use, functions))
        for name in modules:
            for module, methods in OF_LIBRARIES.get(name, {name: ()}).items():
                session.hooks.on_import(module, partial(self._at_first_call, methods))
        for name, holder in _LOOPS.items():
            session.hooks.on_import(name, partial(self._at_first_loop, holder))
        self._at_first_use(("Logger.callHandlers",), logging)
        if _pushes(session.settings):
            in_forked_child(self._wait_for_the_first_push, session.guard.failed)
            self._wait_for_the_first_push()

    def wake(self) -> None:
        """Set up now, unless that has been done or another thread is about it.

        That one is not waited for: it may need an import that this thread is in the middle of. What the application
        asks of OpenTelemetry until it has ended is answered by the API's proxies. A fork waits for it, as a child could
        neither go on with what another thread had begun nor begin anew.
        """
        if not self._begun.acquire(blocking=False):
            return
        self._thread = threading.get_ident()
        self._session.wake = None
        for silence in self._silences:
            silence()
        with unforked():
            self._session.guard.call("set-up", None, undisturbed, partial(self._set_up, self._silence_libraries))
        self._silence_libraries()
        self._session.settled()
        self._done.set()

    def _silence_libraries(self) -> None:
        for silence in self._libraries:
            silence()

    def _wake_for_a_call(self) -> None:
        """Set up before a call goes on; another thread's set-up is waited for, so that this call is told of as well."""
        self.wake()
        if self._thread != threading.get_ident():
            self._done.wait(_LONGEST)
            # nobody waits twice: in a forked child there is no such thread any more
            self._done.set()

    def _at_first_use(self, paths: tuple[str, ...], module: ModuleType) -> None:
        if self._session.wake is not None:
            self._silences += hook(module, paths, self.wake)

    def _at_first_call(self, paths: tuple[str, ...], module: ModuleType) -> None:
        if self._session.wake is None:
            return
        silences = hook(module, paths, self._wake_for_a_call)
        self._libraries += silences
        if not silences:
            # a version that is made otherwise, or a module of which no call is known
            self.wake()

    def _at_first_loop(self, holder: str, module: ModuleType) -> None:
        if self._session.wake is not None:
            # uvloop's class has its method from another one
            self._silences.append(hook_one(getattr(module, holder), "run_forever", self.wake))

    def _wait_for_the_first_push(self) -> None:
        if self._session.wake is not None:
            threading.Thread(target=self._push, name="otel-distro-wake", daemon=True).start()

    def _push(self) -> None:
        threading.Event().wait(self._session.settings.metrics.export_interval / 1000)
        if self._session.wake is not None:
            self.wake()


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


def _pushes(chosen: settings_.Settings) -> bool:
    """Whether somebody gets metrics that nobody in the application records."""
    return not {*chosen.metrics.exporters} <= {"prometheus", "none"} and bool(
        {"runtime", "own"} & {*chosen.metric_groups.enabled}
    )
