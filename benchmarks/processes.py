"""Child processes of a run: started here, spoken to by pipes and loopback, ended by their own process id."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Failed(Exception):
    """A child process ended, did not answer in time, or answered with an error."""


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(done: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Asks `done` every 50 ms.

    Raises:
        Failed: it was not true after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not after {seconds:g} s")
        time.sleep(0.05)


def listening(port: int) -> bool:
    """Whether something accepts connections on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def whole_run(
    command: list[str], environment: Mapping[str, str], directory: str, what: str, seconds: float = 900.0
) -> str:
    """Runs a program to its end and gives all that it has printed.

    Args:
        command: Program and arguments.
        environment: All of its environment.
        directory: Where it runs.
        what: For messages.
        seconds: How long it may take.

    Raises:
        Failed: it ended with another status than 0, or took too long.
    """
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{what}: not after {seconds:g} s") from late
    if done.returncode:
        raise Failed(f"{what}: ended with {done.returncode}; {done.stdout[-400:]}")
    return done.stdout


class Child:
    """A process with pipes for its input and output; what it says on its error output is kept in a file.

    Args:
        command: Program and arguments.
        environment: All of its environment.
        name: For messages and the name of its log.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str], name: str) -> None:
        self.name = name
        self._log = tempfile.NamedTemporaryFile(prefix=f"bench-{name}-", suffix=".log")  # noqa: SIM115 - closed in stop
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=tempfile.gettempdir(),  # not the checkout: its package must come from the environment or not at all
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def line(self, seconds: float = 60.0) -> str:
        """Next line of its output.

        Raises:
            Failed: it ended, or said nothing for `seconds`.
        """
        output = self._process.stdout
        assert output is not None
        if not select.select([output], [], [], seconds)[0]:
            raise Failed(f"{self.name}: no answer within {seconds:g} s; {self.last_words()}")
        answer = output.readline()
        if not answer:
            raise Failed(f"{self.name}: ended with {self._process.wait(5)}; {self.last_words()}")
        return answer.strip()

    def ask(self, command: Mapping[str, object], seconds: float = 120.0) -> dict[str, Any]:
        """One JSON command, one JSON answer.

        Raises:
            Failed: no answer, or one that holds an error.
        """
        given = self._process.stdin
        assert given is not None
        try:
            given.write(json.dumps(command) + "\n")
            given.flush()
        except BrokenPipeError:
            raise Failed(f"{self.name}: has ended; {self.last_words()}") from None
        answer: dict[str, Any] = json.loads(self.line(seconds))
        if "error" in answer:
            raise Failed(f"{self.name}: {answer['error']}")
        return answer

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Lets it run only inside: the threads of whoever is not measured take no core and send nothing."""
        self.tell(signal.SIGCONT)
        try:
            yield
        finally:
            self.tell(signal.SIGSTOP)

    def tell(self, number: signal.Signals) -> None:
        """Sends it a signal, unless it has ended."""
        if self._process.poll() is None:
            os.kill(self.pid, number)

    def stop(self) -> None:
        """Closes its input, asks it to end, and ends it after five seconds."""
        self.tell(signal.SIGCONT)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def cpu(self) -> float:
        """Seconds of processor time it has used, all threads, in steps of the kernel's clock tick (10 ms)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def last_words(self) -> str:
        """The end of what it said on its error output."""
        return "it said: " + " | ".join(Path(self._log.name).read_text(errors="replace").splitlines()[-4:])
