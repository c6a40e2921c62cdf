"""The one place that keeps the distro's own failures away from the application.

Every part of the distro that runs inside the application hands its failures here: they are counted by part, said once
with the reason and the remedy, and never raised (OpenTelemetry specification, "Error handling": an implementation must
not throw unhandled exceptions at run time).
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from types import FrameType, TracebackType
from typing import ParamSpec, TypeVar

from otel_distro.records import dataclass, replace

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D")

LOGGER_NAME = "otel_distro"
_MAX_PARTS = 256
_MAX_REASON = 300
_MAX_CHAIN = 8
"""Exceptions raised in the handling of each other: applications may close such a chain to a ring."""
_VARARGS = 0x04
"""`inspect.CO_VARARGS`, without that import."""


@dataclass(slots=True)
class Failure:
    """What went wrong in one part: `count` times, with the first reason; `inherited` of them in the parent process."""

    part: str
    reason: str
    remedy: str
    count: int = 0
    inherited: int = 0


def one_line(error: BaseException | str) -> str:
    """The reason in one bounded line: type and message, without control characters."""
    try:
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - an exception whose str() raises must not raise again here
        text = type(error).__name__
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 1] + "…"


def say(level: int, text: str) -> None:
    """Write one line to the application's logging, or to stderr where that is not set up.

    Args:
        level: a level of `logging`.
        text: the line, without a prefix.
    """
    try:
        logger = logging.getLogger(LOGGER_NAME)
        if not logger.disabled and shows(logger):
            logger.log(level, "%s", text)
        elif sys.stderr is not None:
            sys.stderr.write(f"otel-distro: {logging.getLevelName(level).lower()}: {text}\n")
            sys.stderr.flush()
    except Exception:  # noqa: BLE001 - a closed stderr or a broken log handler must not end the application
        return


def shows(logger: logging.Logger | None) -> bool:
    """Whether a record of this logger gets to a handler that may show it.

    Handlers of OpenTelemetry's send records, and what is said of the sending must not depend on it.
    """
    while logger is not None:
        for handler in logger.handlers:
            if not type(handler).__module__.startswith("opentelemetry."):
                return True
        logger = logger.parent if logger.propagate else None
    return False


def is_interrupt(error: BaseException) -> bool:
    """Whether a signal's handler raised `error`: it fell into code of ours, is the application's, and no failure.

    Time limits work like that (Celery's soft ones, RQ's, SIGALRM with a handler that raises TimeoutError), and ends by
    `sys.exit()` in a handler of SIGTERM: who kept it would keep the application from stopping. Nothing tells but the
    traceback: Python calls a handler with the very frame that it interrupts.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return False  # handlers run nowhere else
    return any(_handles(called, caller) for caller, called in pairwise(_frames(error.__traceback__)))


def let_through(error: BaseException) -> None:
    """Raise `error` again where it is the application's own; called by who goes on after any other.

    Raises:
        BaseException: `error`, or the application's exception in whose handling it was raised: `Thread.start` raises
            KeyError where a handler did as the thread began.
    """
    seen: set[FrameType] = set()
    raised: BaseException | None = error
    for _ in range(_MAX_CHAIN):
        frames = _frames(None if raised is None else raised.__traceback__)
        # else it was caught by somebody outside, who is done with it
        if raised is None or (seen and not seen.intersection(frames[:1])):
            return
        if is_interrupt(raised):
            raise raised
        seen.update(frames)
        raised = raised.__context__


def start_thread(thread: threading.Thread) -> bool:
    """Start `thread`; False where none can be had: the interpreter ends (CPython 3.12), or the machine is full.

    Raises:
        BaseException: of a signal's handler that has interrupted this. Where it falls into a lock of `Thread.start`,
            Python goes on with "release unlocked lock", which is a RuntimeError as well.
    """
    try:
        thread.start()
    except RuntimeError as error:
        let_through(error)
        return False
    return True


def _frames(trace: TracebackType | None) -> list[FrameType]:
    frames = []
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    return frames


def _handles(called: FrameType, caller: FrameType) -> bool:
    """Whether a function was called with the number of a signal and the frame of who seems to have called it."""
    code = called.f_code
    given = called.f_locals
    values = [given.get(name) for name in code.co_varnames[: code.co_argcount]]
    if code.co_flags & _VARARGS:
        values += given.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount]) or ()
    # not `isinstance`: it asks an object of the application's for its `__class__`, which may be code
    return any(issubclass(type(number), int) and frame is caller for number, frame in pairwise(values))


class Guard:
    """Counts and reports failures, each part once.

    Args:
        level: lines below this level of `logging` are not said (they are counted all the same).
        output: where a line goes: `(level, text)`; `say` unless a test or a tool wants the lines.
    """

    def __init__(self, *, level: int = logging.INFO, output: Callable[[int, str], None] = say) -> None:
        self._level = level
        self._output = output
        # re-entrant: a signal handler of ours may come while the main thread holds it
        self._lock = threading.RLock()
        self._failures: dict[str, Failure] = {}
        self._said: set[str] = set()

    def failed(self, part: str, error: BaseException | str, *, remedy: str = "") -> None:
        """Count a failure of `part`; the first one is said, with the remedy.

        Args:
            part: a stable name such as `"exporter otlp"`; never a value from a request.
            error: the exception or the reason.
            remedy: what a person can do about it, one clause.

        Raises:
            BaseException: `error`, where it is the application's own: see `is_interrupt`.
        """
        if isinstance(error, BaseException):
            let_through(error)
        reason = one_line(error)
        with self._lock:
            failure = self._failures.get(part)
            first = failure is None
            if failure is None:
                if len(self._failures) >= _MAX_PARTS:
                    part = "others"
                failure = self._failures.setdefault(part, Failure(part, reason, remedy))
            failure.count += 1
        if first:
            self._write(logging.WARNING, f"{part}: {reason}" + (f" ({remedy})" if remedy else ""))

    def call(self, part: str, default: D, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | D:
        """Call `function`; when it raises, count the failure under `part` and return `default`."""
        try:
            return function(*args, **kwargs)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - this is the guard; some parts of others call sys.exit()
            self.failed(part, error)
            return default

    def warn(self, text: str, *, once: str | None = None) -> None:
        """Say a line at warning level; with `once`, only the first under that key."""
        self._say(logging.WARNING, text, once)

    def info(self, text: str, *, once: str | None = None) -> None:
        """Say a line at info level; with `once`, only the first under that key."""
        self._say(logging.INFO, text, once)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """All failures so far, oldest first, at most 256 parts and `others`."""
        with self._lock:
            return tuple(replace(failure) for failure in self._failures.values())

    def after_fork(self) -> None:
        """A child starts with a lock that no vanished thread holds, and with failures that are its parent's."""
        self._lock = threading.RLock()
        for failure in self._failures.values():
            failure.inherited = failure.count

    def _say(self, level: int, text: str, once: str | None) -> None:
        if once is not None:
            with self._lock:
                if once in self._said or len(self._said) >= _MAX_PARTS:
                    return
                self._said.add(once)
        self._write(level, text)

    def _write(self, level: int, text: str) -> None:
        if level >= self._level:
            self._output(level, text)
