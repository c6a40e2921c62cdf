"""The thread that keeps `/metrics` answered: one process of the group owns the port, the next takes over when it ends.

The owner is who holds a lock that the kernel gives back on any death. A port that a stranger has is tried again and
again, said once. The same thread answers the owner's question for what callbacks say now, by a datagram.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from otel_distro.guard import Guard, start_thread
from otel_distro.metrics.shared.member import names
from otel_distro.metrics.shared.runtime import locked
from otel_distro.metrics.shared.store import SOCKET
from otel_distro.process import Deadline

from .server import Server

_LOCK: Final = "owner"
_EVERY: Final = 0.5  # seconds between two tries to own the port
_TIDY: Final = 5.0  # seconds between two foldings of the dead, without scrapes
_SWEEP: Final = 60.0  # seconds between two looks for groups without members
_LONGEST_ADDRESS: Final = 107  # bytes of a Unix socket's path
_ANSWERS: Final = 0.1  # seconds that other processes have to refresh their callbacks' values


class Keeper:
    """Keeps the port owned.

    Args:
        server: to bind when this process owns the port; None where scrapes come another way, and the owner only
            looks after the dead.
        guard: gets the one line about a port that is taken.
        directory: gives that of the group; None when this process is alone and owns without asking.
        name: of this process in the group.
        observe: runs this process's callbacks.
        tidy: folds the dead.
        sweep: removes the directories of groups without members.
    """

    def __init__(
        self,
        server: Server | None,
        guard: Guard,
        *,
        directory: Callable[[], Path] | None = None,
        name: Callable[[], str] = lambda: "",
        observe: Callable[[], None] = lambda: None,
        tidy: Callable[[], None] = lambda: None,
        sweep: Callable[[], object] = lambda: None,
    ) -> None:
        self._server = server
        self._guard = guard
        self._directory = directory
        self._name = name
        self._observe = observe
        self._tidy = tidy
        self._sweep = sweep
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._ear: socket.socket | None = None
        self._ear_at = Path()
        self._lock = -1
        self._patient = False
        self._owns = directory is None

    @property
    def owns(self) -> bool:
        """Whether the port is this process's among those of its group; a stranger may have it all the same."""
        return self._owns

    def start(self, *, patiently: bool = False) -> None:
        """Own the port now if nobody else does, and go on trying from a thread; a second call does nothing.

        Args:
            patiently: say nothing of a port that is taken now, if it is free at the next try: a worker may be of root,
                and in the group of root's processes, for a moment only.
        """
        if self._thread is not None or (self._server is None and self._directory is None):
            return
        self._patient = patiently
        self._ended.clear()
        self._guard.call("prometheus port", None, self._try)
        self._ear = self._listen()
        self._thread = threading.Thread(target=self._run, name="otel-distro-metrics-port", daemon=True)
        if not start_thread(self._thread):
            self._thread = None
            remedy = "the port is not tried again, and no group is looked after"
            self._guard.failed("/metrics", "no thread can be started", remedy=remedy)

    def stop(self, timeout: float = 1.0) -> None:
        """Give the port to another process of the group; waits for the threads at most `timeout` seconds each."""
        thread, self._thread = self._thread, None
        self._ended.set()
        if self._ear is not None:
            # a question to itself ends the thread's wait at once
            with (
                contextlib.suppress(OSError),
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth,
                _address(self._ear_at) as address,
            ):
                mouth.sendto(b"", address)
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        if self._server is not None:
            self._server.stop(timeout)
        self._let_go()

    def after_fork(self) -> None:
        """In a child: nothing runs and nothing is owned, until `start` is called there."""
        self._thread = None
        self._ended = threading.Event()
        if self._server is not None:
            self._server.after_fork()
        self._let_go(unlink=False)

    def _run(self) -> None:
        pid, tidied, swept = os.getpid(), time.monotonic(), 0.0
        while not self._ended.is_set() and os.getpid() == pid:
            self._hear(_EVERY)
            if self._ended.is_set():
                return
            self._guard.call("prometheus port", None, self._try)
            now = time.monotonic()
            if not self._leads:
                continue
            if now - tidied > _TIDY:
                tidied = now
                self._guard.call("metrics: group", None, self._tidy)
            if now - swept > _SWEEP:
                swept = now
                self._guard.call("metrics: group", None, self._sweep)

    @property
    def _leads(self) -> bool:
        return self._owns and (self._server is None or self._server.port != 0)

    def _try(self) -> None:
        """Own the port if nobody of the group does, and bind it if no stranger has."""
        if self._leads or self._ended.is_set():
            return
        if not self._owns:
            self._owns = self._own()
        if not self._owns or self._server is None:
            return
        try:
            self._server.bind()
        except OSError as error:
            if self._patient:
                self._patient = False
                return
            self._guard.failed(
                "/metrics",
                f"{self._server.address} cannot be bound: {error.strerror or error}",
                remedy="everything else works; it is tried again, or set OTEL_EXPORTER_PROMETHEUS_PORT to a free port",
            )
            return
        if self._server.exposed:
            self._guard.info(
                f"/metrics: {self._server.address} is every interface: whoever reaches this port reads this service's "
                "metrics, route names and resource attributes, without a password (keep it inside the pod's or "
                "compose's network)",
                once="metrics exposed",
            )
        try:
            self._server.start()
        except (OSError, RuntimeError) as error:
            # an interpreter that ends starts no threads: whoever had the port has ended just before this process
            if threading.main_thread().is_alive():
                self._guard.failed("/metrics", error, remedy="everything else works; it is tried again")

    def _own(self) -> bool:
        assert self._directory is not None  # noqa: S101 - narrows the type: without a group the port is owned
        if self._lock < 0:
            self._lock = os.open(self._directory() / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        return locked(self._lock)

    def _let_go(self, *, unlink: bool = True) -> None:
        self._owns = self._directory is None
        lock, self._lock = self._lock, -1
        ear, self._ear = self._ear, None
        if lock >= 0:
            os.close(lock)
        if ear is not None:
            ear.close()
            if unlink:
                self._ear_at.unlink(missing_ok=True)

    def _listen(self) -> socket.socket | None:
        """A socket for questions; without one this process's callbacks run only when it scrapes itself."""
        if self._directory is None:
            return None
        try:
            ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            path = self._ear_at = self._directory() / (self._name() + SOCKET)
            path.unlink(missing_ok=True)
            with _address(path) as address:
                ear.bind(address)
            ear.setblocking(False)
        except OSError as error:
            self._guard.failed("metrics: group", error, remedy="observed values of this process are not refreshed")
            return None
        return ear

    def _hear(self, seconds: float) -> None:
        """Wait for a question at most `seconds`, and answer it when the callbacks have run."""
        ear = self._ear
        if ear is None:
            self._ended.wait(seconds)
            return
        try:
            waiting = select.poll()
            waiting.register(ear, select.POLLIN)
            if not waiting.poll(seconds * 1000):
                return
            _, asker = ear.recvfrom(16)
            if self._ended.is_set():
                return
            self._guard.call("metrics: group", None, self._observe)
            if asker:
                ear.sendto(b"y", asker)
        except OSError:
            self._ended.wait(0.01)


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """What a socket calls `path`: an address has at most 107 bytes, a directory may be deeper (unix(7))."""
    text = str(path)
    if len(os.fsencode(text)) <= _LONGEST_ADDRESS or not hasattr(os, "O_PATH"):
        yield text
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def ask(directory: Path, me: str) -> None:
    """Let the other processes of the group run their callbacks; waits for them, but not for long.

    Args:
        directory: of the group.
        me: the asking process, which is left out.
    """
    others = [name for name in names(directory) if name != me]
    if not others:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
        mouth.bind("")  # Linux gives a socket an address of its own then, in no directory
        mouth.setblocking(False)
        asked = 0
        for name in others:
            with contextlib.suppress(OSError), _address(directory / (name + SOCKET)) as address:
                mouth.sendto(b"?", address)
                asked += 1
        deadline = Deadline(_ANSWERS)
        waiting = select.poll()
        waiting.register(mouth, select.POLLIN)
        while asked and waiting.poll(deadline.left() * 1000):
            mouth.recv(16)
            asked -= 1
