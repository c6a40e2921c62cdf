"""What one process has set up: made by the distro, filled by the configurator, read by `otel_distro.status()`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from otel_distro.records import dataclass, field

from . import settings as settings_
from .answers import Answers
from .borrowing import give_back_disabled
from .guard import Guard, say
from .import_hooks import ImportHooks
from .launch_lines import OncePerLaunch
from .process import Role, allows_threads, classify, in_forked_child

if TYPE_CHECKING:
    # nothing of OpenTelemetry may be imported before the environment is repaired
    from .instrumentation.contrib import Decision
    from .pipeline import Pipeline

_MOST_REPAIRS = 3

_LEVELS = {
    "trace": 5,
    "debug": 10,
    "info": 20,
    "warn": 30,
    "warning": 30,
    "error": 40,
    "fatal": 50,
    "none": 100,
}


@dataclass(slots=True)
class Session:
    """The settings, role and guard of this process.

    Attributes:
        settings: parsed once.
        problems: what was wrong with the environment.
        role: what the process is for.
        guard: where every failure goes.
        orig_argv: the command line.
        environ: the environment, with unusable values already repaired.
        hooks: where imports are watched.
        answers: paths that the distro answers on the application's port.
        settled: called when everything is set up: what is said afterwards is this process's own.
        begun: whether the configurator has been here, also in a process that this one was forked from.
        wake: sets telemetry up now, as long as it waits for a sign that it is needed; else None.
        pipeline: the providers, once the configurator has built them.
        decisions: who instruments what, once the instrumentors are loaded.
    """

    settings: settings_.Settings
    problems: Sequence[settings_.Problem]
    role: Role
    guard: Guard
    orig_argv: Sequence[str]
    environ: MutableMapping[str, str] = field(repr=False)
    hooks: ImportHooks = field(repr=False)
    answers: Answers = field(repr=False)
    settled: Callable[[], None] = field(repr=False)
    begun: bool = False
    wake: Callable[[], None] | None = None
    pipeline: Pipeline | None = None
    decisions: Callable[[], Sequence[Decision]] = tuple

    @property
    def active(self) -> bool:
        """Whether this process gets telemetry at all."""
        return not self.settings.general.disabled and self.role is not Role.HELPER

    @property
    def serves(self) -> bool:
        """Whether this process does the application's work, so may bind the port of `/metrics`."""
        return self.role in {Role.APPLICATION, Role.WORKER}


def open_session(environ: MutableMapping[str, str], orig_argv: Sequence[str]) -> Session:
    """Parse and repair `environ`, say what is wrong with it once, and tell the process's role.

    Nothing of OpenTelemetry is imported here: upstream raises on some values while it is imported.

    Args:
        environ: usually `os.environ`; unusable values are repaired in place.
        orig_argv: usually `sys.orig_argv`.
    """
    give_back_disabled(environ)
    chosen, problems = _parsed(environ)
    lines = OncePerLaunch(environ, say)
    guard = Guard(level=_LEVELS[chosen.general.log_level], output=lines)
    in_forked_child(guard.after_fork)
    role = classify(orig_argv, environ) if allows_threads() else Role.HELPER
    if role is not Role.HELPER:
        _say(problems, guard)
    return Session(chosen, problems, role, guard, orig_argv, environ, ImportHooks(guard), Answers(guard), lines.settled)


def _parsed(environ: MutableMapping[str, str]) -> tuple[settings_.Settings, list[settings_.Problem]]:
    """Settings and problems of `environ`, which is repaired.

    What is taken away may bring a value of lower rank to light, which is looked at as well: child processes see it.
    """
    # empty is unset for us, and an error with a traceback to some code of upstream's
    for name in [name for name, text in environ.items() if name.startswith("OTEL_") and not text.strip()]:
        del environ[name]
    chosen, problems = settings_.parse(environ, installed_names)
    for _ in range(_MOST_REPAIRS):
        before = dict(environ)
        settings_.repair(environ, problems)
        if environ == before:
            break
        chosen, more = settings_.parse(environ, installed_names)
        problems += [problem for problem in more if problem not in problems]
    return chosen, problems


def _say(problems: Sequence[settings_.Problem], guard: Guard) -> None:
    for problem in problems:
        if problem.weight is settings_.Weight.WARNING:
            guard.warn(str(problem))
        elif problem.weight is settings_.Weight.NOTE:
            guard.info(str(problem))


@cache
def this_process() -> Session:
    """The session of the running process, opened at the first call."""
    return open_session(os.environ, sys.orig_argv)


def opened() -> Session | None:
    """The session of the running process, or None when nothing has started the distro in it."""
    return this_process() if this_process.cache_info().currsize else None


def installed_names(group: str) -> Iterable[str]:
    """Names installed under an entry-point group."""
    from importlib.metadata import entry_points  # only paid for when a list names something that is not built in

    return [point.name for point in entry_points(group=group)]
