"""Jobs of the suites: several at once, each one's output in one piece, and what it counted at the end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from .environments import ROOT, Environment

_SUMMARY = re.compile(r"^=* ?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


@dataclass(frozen=True)
class Job:
    """One command of a suite.

    Attributes:
        suite: under which its result is counted.
        title: what it is called while it runs.
        environment: whose programs it finds first.
        command: program and arguments.
    """

    suite: str
    title: str
    environment: Environment
    command: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """What became of a job.

    Attributes:
        counts: pytest's own (`passed`, `failed`, `skipped`, ...), or one `passed` or `failed` of another program.
        seconds: from its start to its end.
        processor: seconds of computing, those of all its processes together.
        output: all that it wrote.
    """

    job: Job
    counts: Counter[str]
    seconds: float
    processor: float
    output: str

    @property
    def failed(self) -> int:
        """How much of it did not pass."""
        return self.counts["failed"] + self.counts["errors"]


class Runner:
    """Runs jobs, `lanes` of them at once; a single one shows its output as it comes."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def run(self, jobs: Sequence[Job], variables: Mapping[str, str]) -> Iterator[Result]:
        """The results, as jobs end. What runs is interrupted where the caller is told to end meanwhile."""
        shown = len(jobs) == 1
        with ThreadPoolExecutor(self._lanes) as pool:
            waiting = [pool.submit(self._one, job, variables, shown) for job in jobs]
            try:
                yield from (future.result() for future in as_completed(waiting))
            except BaseException as end:
                for future in waiting:
                    future.cancel()
                if not isinstance(end, KeyboardInterrupt):  # of Ctrl-C they know themselves
                    self._interrupt()
                raise

    def _interrupt(self) -> None:
        """Let every job end its servers."""
        with self._lock:
            for process in self._running:
                process.send_signal(signal.SIGINT)

    def _one(self, job: Job, variables: Mapping[str, str], shown: bool) -> Result:
        began = time.monotonic()
        process = subprocess.Popen(
            job.command,
            cwd=ROOT,
            env=surroundings(job.environment, variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        with self._lock:
            self._running.add(process)
        output = b"".join(_copied(process, shown))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        with self._lock:
            self._running.discard(process)
        text = output.decode(errors="replace")
        computed = usage.ru_utime + usage.ru_stime
        return Result(job, counted(text, process.returncode), time.monotonic() - began, computed, text)


def surroundings(environment: Environment, variables: Mapping[str, str]) -> dict[str, str]:
    """The caller's variables without those that settings are read from, and the environment's programs first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SENTRY_"))}
    path = f"{environment.bin}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**kept, **variables, "PATH": path, "PYTHONHASHSEED": "0"}


def counted(output: str, code: int) -> Counter[str]:
    """What pytest's last line counts; a program without one passed or failed as a whole."""
    found = _SUMMARY.findall(_COLOUR.sub("", output))
    counts: Counter[str] = Counter()
    for part in found[-1].split(", ") if found else ():
        number, word = part.split()
        counts["errors" if word == "error" else word] += int(number)
    if code == 0 and not counts:
        counts["passed"] = 1
    if code != 0 and not counts["failed"] + counts["errors"]:
        counts["failed"] = 1
    return counts


def closing(results: Iterable[Result]) -> list[str]:
    """One line a suite, and one for all of them: `N passed, N failed`."""
    suites: dict[str, list[Result]] = {}
    for result in results:
        suites.setdefault(result.job.suite, []).append(result)
    lines, total = [], Counter[str]()
    for suite, parts in suites.items():
        counts = sum((part.counts for part in parts), Counter[str]())
        failed = sum(part.failed for part in parts)
        total.update({"passed": counts["passed"], "failed": failed, "skipped": counts["skipped"]})
        seconds = max(part.seconds for part in parts)
        lines.append(
            f"{'FAILED' if failed else 'passed'}  {suite:20} {_numbers(counts['passed'], failed, counts['skipped']):40}"
            f" {seconds:5.0f} s, {sum(part.processor for part in parts):5.0f} s of computing"
        )
    return [*lines, "", _numbers(total["passed"], total["failed"], total["skipped"])]


def _numbers(passed: int, failed: int, skipped: int) -> str:
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def _copied(process: subprocess.Popen[bytes], shown: bool) -> Iterator[bytes]:
    assert process.stdout is not None
    with process.stdout as stream:
        while piece := os.read(stream.fileno(), 65_536):
            if shown:
                sys.stdout.buffer.write(piece)
                sys.stdout.flush()
            yield piece
