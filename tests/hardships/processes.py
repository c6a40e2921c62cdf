"""Servers under a launcher, whose log is kept, and threads that ask them."""

from __future__ import annotations

import http.client
import os
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Self

from tests.serving import Serving


class Served(Serving):
    """`application` under a server and a launcher."""

    def memory(self) -> dict[int, int]:
        """Resident bytes of each process of the group, by pid."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == self.pid:
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
