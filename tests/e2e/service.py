"""A service started as its users start it: a real process under a real launcher, on a free port, with its log kept."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.servers.base import free_port
from tests.servers.waiting import wait_until

BIN = Path(sys.executable).parent
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
STOCK = ("opentelemetry-instrument",)
OURS = ("otel-distro", "run")
_OF_LIFE = re.compile(r"[A-Z]+: .*(process|startup|shutdown)|otel-distro: ")


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of a response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Service:
    """A process that serves HTTP on `port`; a context manager that ends it by its process id.

    Args:
        name: of the service, and of its log file.
        command: what is started, `{port}` filled in.
        environ: variables on top of the caller's, whose own `OTEL_*` are taken away.
        logs: directory of the log, which stays.
    """

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str], logs: Path) -> None:
        self.name = name
        self.port = free_port()
        self.metrics_port = free_port()
        self._command = [part.format(port=self.port) for part in command]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "SENTRY_", "PYTHON"))}
        self._environ = {
            **kept,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PORT": str(self.port),
            "OTEL_SERVICE_NAME": name,
            "OTEL_PYTHON_DISTRO": "otel_distro",
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(self.metrics_port),
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "health",
            **environ,
        }
        logs.mkdir(parents=True, exist_ok=True)
        self._log = logs / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base address of the service."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def metrics_target(self) -> str:
        """`host:port` of its /metrics page."""
        return f"127.0.0.1:{self.metrics_port}"

    @property
    def pid(self) -> int:
        """Process id of what was started."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """All that the process wrote so far."""
        return self._log.read_text(errors="replace")

    def start(self) -> Self:
        """Start and wait until /health answers."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environ,
                cwd=EXAMPLES,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(self._started, seconds=120, what=f"{self.name} to answer; its log: {self._log}")
        return self

    def stop(self, signal_number: int = signal.SIGTERM, *, seconds: float = 20) -> int:
        """Send a signal and wait for the end; the exit code, negative for a signal."""
        assert self._process is not None
        self._process.send_signal(signal_number)
        return self._process.wait(seconds)

    def call(
        self, path: str, *, method: str = "GET", body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request, whatever its status."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=dict(headers or {}))
        if data is not None:
            request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return Answer(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read())

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException as error:
            self.__exit__(None, error)
            raise

    def __exit__(self, _: object = None, error: BaseException | None = None, __: object = None) -> None:
        if error is not None and self._process is not None:
            error.add_note(f"{self.name}, exit code {self._process.poll()}:\n{self._life()}")
        if self._process is None or self._process.poll() is not None:
            return
        try:
            self.stop(seconds=15)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _life(self) -> str:
        """What the log says of the beginning and the end of processes, and what the distro says; the last of it."""
        return "\n".join([line for line in self.log().splitlines() if _OF_LIFE.match(line)][-40:])

    def _started(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self._process.returncode}:\n{self.log()[-3000:]}")
        return self.ready()

    def ready(self) -> bool:
        """Whether it serves: /health answers."""
        try:
            return self.call("/health").status == 200
        except OSError:
            return False
