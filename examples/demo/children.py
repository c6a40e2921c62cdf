"""The processes that the demo starts: each with its log, ended by its own id, and never outliving the demo."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from .errors import DemoError

_JANITOR = Path(__file__).with_name("janitor.py")
_START_SECONDS = 60.0


class Child:
    """A running process."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], directory: Path) -> None:
        """Start it in `directory`, with its output in `<name>.log` there."""
        self.name = name
        self.log = directory / f"{name}.log"
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=directory,
                start_new_session=True,  # Ctrl-C is for the demo, which ends its children in order
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Raises DemoError when the process has ended."""
        code = self._process.poll()
        if code is not None:
            raise DemoError(f"{self.name} ended with code {code}: {self.last_line()} (all of it: {self.log})")

    def last_line(self) -> str:
        """The last thing it said."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it said nothing"

    def complaints(self) -> list[str]:
        """What the distro inside it had to say."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if line.startswith("otel-distro: ")]

    def wait_until(self, ready: Callable[[], bool], seconds: float = _START_SECONDS) -> None:
        """Wait for `ready`; a DemoError when the process ends or takes longer."""
        end = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > end:
                raise DemoError(f"{self.name} does not answer after {seconds:.0f} s: {self.last_line()} ({self.log})")
            time.sleep(0.05)

    def stop(self, seconds: float) -> None:
        """SIGTERM, and SIGKILL when that is not heard for so many seconds."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


class Janitor:
    """A small process that ends others should this one be killed; a context manager around all of them."""

    def __init__(self, directory: Path) -> None:
        """`directory` is removed should this process be killed; nothing is started yet."""
        self._directory = directory
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-I", "-S", str(_JANITOR), str(self._directory)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
        return self

    def watch(self, *pids: int) -> None:
        """From now on these processes do not outlive this one."""
        for pid in pids:
            self._tell(str(pid))

    def __exit__(self, *_: object) -> None:
        """All are ended by now: nothing is left to do."""
        self._tell("done")
        if self._process is not None:
            with suppress(BrokenPipeError):
                self._process.communicate()

    def _tell(self, line: str) -> None:
        if self._process is None or self._process.stdin is None:
            return
        # somebody ended the janitor: then only a kill of the demo leaves something behind
        with suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()


class Family:
    """Starts children and ends them all at the end, the last first; a context manager."""

    def __init__(self, directory: Path, janitor: Janitor, stop_seconds: float = 8.0) -> None:
        """`directory` is where the children run and have their logs; each may take `stop_seconds` to end."""
        self._stop_seconds = stop_seconds
        self._directory = directory
        self._janitor = janitor
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start a child."""
        child = Child(name, command, environment, self._directory)
        self._stack.callback(child.stop, self._stop_seconds)
        self._janitor.watch(child.pid)
        return child


def answers(url: str) -> bool:
    """Whether a GET gives 200 now."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def accepts(port: int) -> bool:
    """Whether somebody listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(wanted: Mapping[str, int | None]) -> dict[str, int]:
    """A free port of 127.0.0.1 for each name; a number that is given is kept.

    Raises:
        DemoError: a port that was asked for is taken.
    """
    with ExitStack() as stack:
        ports = {}
        for name, port in wanted.items():
            probe = stack.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port or 0))
                probe.listen()
            except OSError as error:
                reason = error.strerror or str(error)
                raise DemoError(f"port {port} for {name}: {reason}; choose another with --{name}-port") from None
            ports[name] = probe.getsockname()[1]
        return ports
