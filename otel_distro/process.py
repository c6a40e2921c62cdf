"""What process is this, what happens in its children, and how long its end may take."""

from __future__ import annotations

import _thread
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import Enum
from functools import wraps
from typing import Any


class Role(Enum):
    """What a process is for; decides whether it binds ports and loads instrumentations."""

    APPLICATION = "application"
    """A program of its own: serves, or runs and ends."""
    WORKER = "worker"
    """A child that was started to do the application's work."""
    SUPERVISOR = "supervisor"
    """Starts workers and serves nothing itself (gunicorn's master, uvicorn with several workers, a reloader)."""
    HELPER = "helper"
    """Python's own bookkeeping (multiprocessing's resource tracker), or a subinterpreter: gets nothing."""


_PYTHON_OPTIONS_WITH_VALUE = {"-W", "-X", "--check-hash-based-pycs"}
_SUPERVISING_SERVERS = {"gunicorn", "hypercorn", "granian", "circusd"}


def program(orig_argv: Sequence[str]) -> list[str]:
    """The command without the interpreter and its options.

    `["python", "-X", "dev", "-m", "uvicorn", "app:app"]` gives `["-m", "uvicorn", "app:app"]`.

    Args:
        orig_argv: `sys.orig_argv`.
    """
    rest = list(orig_argv[1:])
    while rest:
        head = rest[0]
        if head in _PYTHON_OPTIONS_WITH_VALUE:
            del rest[:2]
        elif head in {"-m", "-c", "-"} or not head.startswith("-"):
            break
        elif len(head) > 2 and head[1] not in "-XW" and head[-1] in "mc":
            rest[0] = "-" + head[-1]  # python -um module
        else:
            del rest[0]
    return rest


def classify(orig_argv: Sequence[str], environ: Mapping[str, str]) -> Role:
    """Tell the role from the command line, before the program's own code has run.

    Args:
        orig_argv: `sys.orig_argv`.
        environ: environment variables; `WEB_CONCURRENCY` counts for uvicorn.
    """
    if "--multiprocessing-fork" in orig_argv:
        return Role.WORKER
    command = program(orig_argv)
    if command[:1] == ["-c"]:
        code = command[1] if len(command) > 1 else ""
        if "multiprocessing.resource_tracker" in code:
            return Role.HELPER
        return Role.SUPERVISOR if "multiprocessing.forkserver" in code else Role.APPLICATION
    name, arguments = _name(command)
    if name in _SUPERVISING_SERVERS:
        return Role.SUPERVISOR
    if name in {"uvicorn", "fastapi"} and _supervises(name, arguments, environ):
        return Role.SUPERVISOR
    return Role.APPLICATION


def allows_threads() -> bool:
    """Whether this interpreter may start daemon threads: a subinterpreter with a lock of its own may not.

    CPython tells from 3.12 on.
    """
    allowed: Callable[[], bool] = getattr(_thread, "daemon_threads_allowed", lambda: True)
    return allowed()


def _name(command: list[str]) -> tuple[str, list[str]]:
    if not command:
        return "", []
    if command[0] == "-m":
        return (command[1].split(".")[0] if len(command) > 1 else ""), command[2:]
    return os.path.basename(command[0]), command[1:]  # noqa: PTH119 - pathlib is an import a start-up path need not pay


def _supervises(name: str, arguments: list[str], environ: Mapping[str, str]) -> bool:
    if "--reload" in arguments or (name == "fastapi" and arguments[:1] == ["dev"] and "--no-reload" not in arguments):
        return True
    workers = environ.get("WEB_CONCURRENCY", "")
    for index, argument in enumerate(arguments):
        if argument == "--workers" and index + 1 < len(arguments):
            workers = arguments[index + 1]
        elif argument.startswith("--workers="):
            workers = argument.partition("=")[2]
    return workers.isdigit() and int(workers) > 1


def in_forked_child(
    callback: Callable[[], Any], guard_failed: Callable[[str, BaseException], None] | None = None
) -> None:
    """Call `callback` (a bound method) in every child of `os.fork`, as long as its object lives.

    Python keeps fork hooks for ever, beyond its last collection of garbage: only weak references are registered.

    Args:
        callback: a bound method without arguments.
        guard_failed: a bound method that gets `("fork hook", error)` when the callback raises, as long as its object
            lives; nothing reaches the forking code.
    """
    reference = weakref.WeakMethod(callback)
    told = None if guard_failed is None else weakref.WeakMethod(guard_failed)

    def after() -> None:
        method = reference()
        if method is None:
            return
        try:
            method()
        except Exception as error:  # noqa: BLE001 - a fork hook must never break os.fork()
            tell = None if told is None else told()
            if tell is not None:
                tell("fork hook", error)

    os.register_at_fork(after_in_child=after)


def around_change_of_user(before: Callable[[], object], after: Callable[[], object]) -> None:
    """Have both called around each call by which this process, of root, becomes another user's for good.

    gunicorn's `user` and Celery's `--uid` do that after telemetry was set up; what was opened by its name as root is
    closed to the process from then on. Calls that can be taken back (`os.seteuid`) are left alone.

    Args:
        before: the last that is done as root; never raises.
        after: the first that is done as the other user, or as root where that failed; never raises.
    """
    for name in ("setuid", "setreuid", "setresuid"):
        original = getattr(os, name, None)
        if original is not None:
            setattr(os, name, _with_both(original, before, after))


def _with_both(
    original: Callable[..., None], before: Callable[[], object], after: Callable[[], object]
) -> Callable[..., None]:
    @wraps(original)
    def changed(*ids: int) -> None:
        if os.geteuid() != 0 or not ids or not all(type(one) is int and one > 0 for one in ids[:2]):
            return original(*ids)
        before()
        try:
            return original(*ids)
        finally:
            after()

    return changed


LAUNCH = "OTEL_DISTRO_LAUNCH"
"""What tells the processes of one launch from all others; left in the environment by the first of them."""


def launch(environ: MutableMapping[str, str]) -> str:
    """The launch that this process belongs to: that of the first process that was started with the distro.

    Siblings that something else started (PM2's cluster mode, systemd) share the parent, which is told by pid and start
    time, and the directory that they were started in: pid 1 is the parent of every service of a machine.

    Args:
        environ: read, and written for the children.
    """
    known = environ.get(LAUNCH)
    if not known:
        parent = os.getppid()
        known = environ[LAUNCH] = f"{parent}-{started(parent)}-{_directory()}"
    return known


def _directory() -> str:
    """The working directory as the kernel knows it, "" where it is gone."""
    try:
        found = os.stat(".")  # noqa: PTH116 - pathlib is an import of 5 ms
    except OSError:
        return ""
    return f"{found.st_dev:x}.{found.st_ino:x}"


def started(pid: int) -> str:
    """When process `pid` started, in the kernel's ticks since boot, "" where that cannot be told.

    Together with the pid it names one process for as long as the machine runs.
    """
    try:
        return _stat(str(pid))[19]
    except (OSError, IndexError):
        return ""


def _stat(task: str) -> list[str]:
    """What the kernel tells of a process, or a thread, behind the name of its command (proc_pid_stat(5), from field 3).

    Raises:
        OSError: there is none, or another system.
    """
    with open(f"/proc/{task}/stat", encoding="latin-1") as file:  # noqa: PTH123 - pathlib is an import of 5 ms
        # the second field is a command in parentheses, of any characters
        return file.read().rpartition(")")[2].split()


class _ForkGate:
    """Keeps `os.fork` out of what a thread of ours does at this moment."""

    _LONGEST = 30.0
    """Seconds a fork waits at most, once for each who holds the gate: what is imported in a moment takes seconds where
    a container has a hundredth of a processor. Then rather a child in danger than an application that stands still."""
    _STUCK = 5.0
    """Seconds a fork waits for one who uses no processor time meanwhile: a callback of the application's that hangs."""
    _LOOK = 0.25
    """Seconds between two looks at that time."""
    _THREAD = 0.5
    """Seconds another thread of ours waits at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forking: int | None = None
        self._holder = 0
        self._given_up = False
        os.register_at_fork(before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child)

    @contextmanager
    def closed(self) -> Iterator[None]:
        lock = self._lock
        # a callback of the application's that hangs in such a moment holds up no other thread for ever
        closed = lock.acquire(timeout=self._THREAD)
        if closed:
            self._holder, self._given_up = threading.get_native_id(), False
        try:
            yield
        finally:
            if closed:
                lock.release()

    def _before(self) -> None:
        if self._lock.acquire(blocking=False) or self._waited():
            self._forking = threading.get_ident()

    def _waited(self) -> bool:
        """Wait as long as the holder gets on; whether the gate is ours then."""
        if self._holder == threading.get_native_id():
            return False  # a signal handler or a callback of the holder's own thread: it never gets on
        since = moved = time.monotonic()
        used = _processor_ticks(self._holder)
        while not self._given_up:
            if self._lock.acquire(timeout=self._LOOK):
                return True
            now = time.monotonic()
            ticks = _processor_ticks(self._holder)
            if ticks != used:
                used, moved = ticks, now
            # who comes next waits no more for this one
            self._given_up = now - moved > self._STUCK or now - since > self._LONGEST
        return False

    def _in_parent(self) -> None:
        if self._forking == threading.get_ident():
            self._forking = None
            self._lock.release()

    def _in_child(self) -> None:
        self._lock = threading.Lock()
        self._forking = None
        self._given_up = False


def _processor_ticks(thread: int) -> int:
    """Processor time that a thread of this process has used, in the kernel's ticks; 0 where that cannot be told."""
    try:
        user, system = _stat(f"self/task/{thread}")[11:13]
    except (OSError, ValueError):
        return 0
    return int(user) + int(system)


_GATE = _ForkGate()


def unforked() -> AbstractContextManager[None]:
    """No fork falls into this context: for late imports in threads of ours.

    A module that a vanished thread was importing stays locked in a forked child, where whoever imports it waits for
    ever.
    """
    return _GATE.closed()


NO_MORE_THREADS = "interpreter shutdown"
"""In what CPython 3.12 says of a thread that it does not start any more, because it ends."""


class Deadline:
    """A moment until which several waits together may last.

    Args:
        seconds: from now.
    """

    __slots__ = ("_at",)

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that remain, never negative."""
        return max(0.0, self._at - time.monotonic())
