"""One server process of the tests: started on free loopback ports, waited for, ended by its own process id."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.servers.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Below Linux's ephemeral range (32768 and up): while a server is dead, no outgoing connection can take its port.
_FIRST_PORT, _LAST_PORT = 20_000, 32_000
_START_ATTEMPTS = 3
_STOP_SECONDS = 60.0
_TAIL_BYTES = 3_000


class ServerError(RuntimeError):
    """A server did not start, stop or answer as it should; the message holds the end of its log."""


class MissingBinary(ServerError):
    """A server program is not on this machine; the message says how to get it."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment, and that no other process of the tests gets soon.

    Raises:
        ServerError: a hundred ports were all taken.
    """
    for _ in range(100):
        port = _next_port()
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerError(f"no free port found between {_FIRST_PORT} and {_LAST_PORT}")


def _next_port() -> int:
    """The ports in turn, for all processes of this user: between the choice and the server's start is a while."""
    with Path(tempfile.gettempdir(), f"otel-distro-tests-port-{os.getuid()}").open("a+") as last:
        fcntl.flock(last, fcntl.LOCK_EX)
        last.seek(0)
        port = int(last.read() or random.randint(_FIRST_PORT, _LAST_PORT)) + 1
        port = port if port <= _LAST_PORT else _FIRST_PORT
        last.truncate(0)
        last.write(str(port))
    return port


class Server(ABC):
    """A child process with its ports, its data directory and its log; usable as a context manager.

    `start`, `stop` (orderly), `kill` (SIGKILL) and `restart` may be called in any order: ports and data stay the same
    until `close`, which removes the data directory. Logs are kept, in the directory the caller gave.
    """

    #: Names of the ports that the server listens on; `self.ports[name]` holds the numbers.
    port_names: Sequence[str] = ("main",)
    #: How long a start may take, in seconds.
    start_seconds = 90.0
    #: Account to run the process under when the caller is root; None keeps the caller's.
    run_as: str | None = None

    def __init__(self, name: str, logs: Path) -> None:
        """Prepare a server called `name` whose output goes to `logs/<name>.log`; nothing is started yet."""
        self.name = name
        logs.mkdir(parents=True, exist_ok=True)
        self.log = logs / f"{name}.log"
        self.data = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self.ports: dict[str, int] = {port: free_port() for port in self.port_names}
        self._process: subprocess.Popen[bytes] | None = None
        self._prepared = False

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Program and arguments, for the ports and data directory of now."""

    @abstractmethod
    def healthy(self) -> bool:
        """Whether the server answers its own health question; may raise OSError for "not yet"."""

    def environment(self) -> Mapping[str, str] | None:
        """Whole environment of the process; None passes on the caller's."""
        return None

    def prepare(self) -> None:  # noqa: B027 - most servers need nothing here
        """Called once before the first start, with the data directory made: write files, initialise storage."""

    @property
    def pid(self) -> int:
        """Process id of the running server.

        Raises:
            ServerError: it is not running.
        """
        if not self.running:
            raise ServerError(f"{self.name} is not running")
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process exists now."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the process and wait until it is healthy.

        Raises:
            MissingBinary: the program is not on this machine.
            ServerError: it ended, or was not healthy in time.
        """
        if self.running:
            raise ServerError(f"{self.name} is already running")
        if self._prepared:
            self._launch()
            return self
        for attempt in range(1, _START_ATTEMPTS + 1):
            try:
                self.prepare()
                self._launch()
            except ServerError:
                # Another process took a port between our look and the server's: choose again, but only then.
                if attempt == _START_ATTEMPTS or "in use" not in self.log_tail():
                    raise
                self.ports = {port: free_port() for port in self.port_names}
            else:
                self._prepared = True
                break
        return self

    def stop(self) -> None:
        """End the process in order (SIGTERM), or by SIGKILL when it takes longer than a minute; the data stays."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End the process at once (SIGKILL), as a crash or the kernel's out-of-memory killer does; the data stays."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    def restart(self) -> Self:
        """Stop in order, if it runs, and start again on the same ports and data."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """Stop and remove the data directory; the log stays."""
        self.stop()
        shutil.rmtree(self.data, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def log_tail(self) -> str:
        """The last lines of the log, for messages."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")

    def _launch(self) -> None:
        """Start the process, wait for its health; end it again when that fails."""
        command = list(self.command())
        with self.log.open("ab") as output:
            output.write(f"--- {time.strftime('%H:%M:%S')} {' '.join(command)}\n".encode())
            output.flush()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                cwd=self.data,
                user=self.run_as,
                group=self.run_as,
                extra_groups=[] if self.run_as else None,
                start_new_session=True,  # Ctrl-C in a terminal is for the caller, who ends the servers in order
            )
        try:
            wait_until(self._started, seconds=self.start_seconds, what=f"{self.name} to be healthy")
        except (TimeoutError, ServerError) as error:
            self.kill()
            raise ServerError(f"{error}; end of {self.log}:\n{self.log_tail()}") from error

    def _started(self) -> bool:
        """Whether the process is healthy; a process that has ended is an error, not a reason to wait."""
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            raise ServerError(f"{self.name} ended with code {code} while starting")
        return self.healthy()
