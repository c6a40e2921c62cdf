"""Programs started under a launcher, with an environment of their own and their log kept."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self

from tests.servers.base import free_port
from tests.servers.waiting import http_ok, wait_until

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
OURS = ("otel-distro", "run")
STOCK = ("opentelemetry-instrument",)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without telemetry settings, and `given`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SENTRY_", "PYTHON"))}
    return {**kept, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OTEL_PYTHON_DISTRO": "otel_distro", **given}


def run(
    code: str, launcher: Sequence[str] = OURS, *, seconds: float = 150, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run a piece of Python under a launcher."""
    return subprocess.run(
        [*launcher, sys.executable, "-c", code],
        env=environment(environ),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        errors="replace",
        cwd=ROOT,
    )


class Served:
    """`application` under a server and a launcher; a context manager.

    Args:
        command: the server's command line, `{port}` filled in.
        environ: variables of the telemetry.
        log: file that gets what the processes write.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self.port = free_port()
        self._command = [part.format(port=self.port) for part in command]
        self._environ = environ
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env=environment(self._environ), cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(
            lambda: http_ok(f"http://127.0.0.1:{self.port}/health"), seconds=120, what=f"the application; {self._log}"
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self.stop()

    def stop(self, number: int = signal.SIGTERM, *, seconds: float = 30) -> int:
        """End it by a signal; the exit code. One that outlives `seconds` is killed, and `TimeoutExpired` raised."""
        assert self._process is not None
        self._process.send_signal(number)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            raise

    @property
    def output(self) -> str:
        """All that was written so far."""
        return self._log.read_text(errors="replace")

    def memory(self) -> dict[int, int]:
        """Resident bytes of each process of the group, by pid."""
        assert self._process is not None
        found = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == self._process.pid:
                found[int(path.parent.name)] = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        return found


class Threads:
    """Work in threads until the block ends; a context manager.

    Args:
        work: one function a thread, which looks at `ending`.

    Attributes:
        ending: set when the block ends.
    """

    def __init__(self, work: Iterable[Callable[[], object]]) -> None:
        self.ending = threading.Event()
        self._threads = [threading.Thread(target=function, daemon=True) for function in work]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        for thread in self._threads:
            thread.join()


class Load(Threads):
    """Requests `/n/0`, `/n/1`, ... at an even rate, from threads with connections of their own.

    So many threads that the rate holds where an answer takes a tenth of a second: `uvicorn --workers` answers in two
    packets on sockets without TCP_NODELAY, and so waits some 40 ms for each acknowledgement, under whatever launcher.

    Args:
        port: of the application.
        rate: requests a second, all threads together.
        threads: how many; one for six requests a second if 0.

    Attributes:
        answered: numbers of the requests that were answered well.
        failed: how many were not.
    """

    def __init__(self, port: int, rate: float, threads: int = 0) -> None:
        threads = threads or max(8, round(rate / 6))
        self._port = port
        self._pause = threads / rate
        self._lock = threading.Lock()
        self._next = 0
        self._took: list[tuple[float, float]] = []
        self.answered: set[int] = set()
        self.failed = 0
        super().__init__(partial(self._run, number / rate) for number in range(threads))

    def latency(self, share: float, since: float = 0, until: float = float("inf")) -> float:
        """Milliseconds within which this share of the requests was answered that began between two moments.

        Args:
            share: between 0 and 1; 0.5 gives the median.
            since: of `time.monotonic()`.
            until: likewise.
        """
        with self._lock:
            took = sorted(seconds for began, seconds in self._took if since <= began < until)
        return 1000 * took[min(len(took) - 1, int(share * len(took)))] if took else 0.0

    def _run(self, after: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        due = time.monotonic() + after
        count = 0
        while not self.ending.wait(max(0.0, due - time.monotonic())):
            due += self._pause
            with self._lock:
                number = self._next
                self._next += 1
            began = time.monotonic()
            try:
                connection.request("GET", f"/n/{number}")
                good = connection.getresponse().read() == str(number).encode()
            except (OSError, http.client.HTTPException):
                good = False
            took = time.monotonic() - began
            count += 1
            if not good or count % 50 == 0:
                connection.close()  # another worker may get the next ones
            with self._lock:
                if good:
                    self.answered.add(number)
                    self._took.append((began, took))
                else:
                    self.failed += 1
        connection.close()
