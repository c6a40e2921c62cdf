"""A process of an application that serves HTTP, with its log kept."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.programs import ROOT, environment
from tests.servers.base import free_port
from tests.servers.waiting import http_ok, wait_until

_OF_LIFE = re.compile(r"[A-Z]+: .*(process|startup|shutdown)|otel-distro: ")


class Serving:
    """A process that serves HTTP on `port`; a context manager that ends it by its process id.

    Args:
        command: what is started, `{port}` filled in.
        environ: variables on top of the caller's, without those of telemetry.
        log: the file that gets what its processes write.
        cwd: where it is started.
        probe: the path that is answered when it serves.
    """

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        log: Path,
        *,
        cwd: Path = ROOT,
        probe: str = "/health",
    ) -> None:
        self.port = free_port()
        self._command = [part.format(port=self.port) for part in command]
        self._environ = {"PORT": str(self.port), **environ}
        self._log = log
        self._cwd = cwd
        self._probe = probe
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base address of the service."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of what was started."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """All that was written so far."""
        return self._log.read_text(errors="replace")

    def start(self) -> Self:
        """Start it and wait until it is ready."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=environment(self._environ),
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(self._started, seconds=120, what=f"the application; its log: {self._log}")
        return self

    def stop(self, number: int = signal.SIGTERM, *, seconds: float = 90) -> int:
        """Send a signal and wait for the end; the exit code, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: it outlived `seconds`, and was killed with all of its processes.
        """
        assert self._process is not None
        self._process.send_signal(number)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            raise

    def ready(self) -> bool:
        """Whether it serves."""
        return http_ok(self.url + self._probe)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException as error:
            self.__exit__(None, error)
            raise

    def __exit__(self, _: object = None, error: BaseException | None = None, __: object = None) -> None:
        process = self._process
        if error is not None and process is not None:
            error.add_note(f"{self._log.stem}, exit code {process.poll()}:\n{self._life()}")
        if process is not None and process.poll() is None:
            self.stop()

    def _life(self) -> str:
        """What the log says of the beginning and the end of processes, and what the distro says; the last of it."""
        return "\n".join([line for line in self.log().splitlines() if _OF_LIFE.match(line)][-40:])

    def _started(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"it ended with {self._process.returncode}:\n{self.log()[-3000:]}")
        return self.ready()
