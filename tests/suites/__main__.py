"""The table of suites: what each runs and what it needs."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from . import environments, servers
from .environments import MAIN, OTHERS, Environment
from .jobs import Job, Result, Runner, closing

PROCESSORS = max(2, os.cpu_count() or 2)
LANES = PROCESSORS + 1
"""Jobs at once: while one waits, the others compute."""
THOROUGH = {"TEST_EXAMPLES": "1000"}
"""Read by tests/examples.py."""


@dataclass(frozen=True)
class Suite:
    """One suite: its name, one line of help, what it needs beside environments, and its jobs; alone or among others."""

    name: str
    help: str
    needs: tuple[Callable[[], None], ...]
    jobs: Callable[[bool], list[Job]]


def main(arguments: list[str]) -> int:
    """Run the suites named by `arguments`, or all; exit status 0 when every one passed."""
    if {"-h", "--help"} & set(arguments):
        print("usage: ./scripts/test [--thorough] [suite ...]\n")
        print("\n".join(f"  {suite.name:12} {suite.help}" for suite in SUITES))
        print("\n--thorough tries each property with 1,000 random examples, where the gate has the same few each time.")
        return 0
    variables = THOROUGH if "--thorough" in arguments else {}
    names = [argument for argument in arguments if argument != "--thorough"]
    known = {suite.name: suite for suite in SUITES}
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"scripts/test: no such suite: {unknown[0]} (there are {', '.join(known)})", file=sys.stderr)
        return 2
    chosen = [known[name] for name in names] or list(SUITES)
    jobs = [job for suite in chosen for job in suite.jobs(len(chosen) == 1)]
    for environment in dict.fromkeys(job.environment for job in jobs):
        environments.make(environment, environments.python_of(environment))
    for need in dict.fromkeys(need for suite in chosen for need in suite.needs):
        need()
    return _run(jobs, variables)


def _run(jobs: list[Job], variables: dict[str, str]) -> int:
    """Run the jobs, the longest first, and say at the end how each suite went, in the order of the table."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what runs is ended, too
    began = time.monotonic()
    results: list[Result] = []
    print(f"running: {', '.join(job.title for job in jobs)}", flush=True)
    by_length = sorted(jobs, key=lambda job: _LONGEST.index(job.suite) if job.suite in _LONGEST else len(_LONGEST))
    for result in Runner(LANES).run(by_length, variables):
        results.append(result)
        if len(jobs) > 1:
            print(f"\n=== {result.job.title} ({result.seconds:.0f} s)\n{result.output}", flush=True)
    results.sort(key=lambda result: jobs.index(result.job))
    print(f"\n{time.monotonic() - began:.0f} s in all", *closing(results), sep="\n")
    return 1 if any(result.failed for result in results) else 0


_LONGEST = ("integration", "e2e", "matrix python3.13", "matrix oldest", "conformance", "unit", "collector", "demo")
"""Suites that begin first, so that no long one is left alone at the end."""


def _pytest(title: str, *paths: str, workers: int, environment: Environment = MAIN, suite: str = "") -> Job:
    command = ("python", "-m", "pytest", "-q", *(("--color=yes",) if sys.stdout.isatty() else ()), *paths)
    # a test file is one process's, with the servers that it starts
    spread = ("-n", str(workers), "--dist", "loadfile") if workers > 1 else ()
    return Job(suite or title, title, environment, (*command, *spread))


def _computing(name: str) -> Callable[[bool], list[Job]]:
    """A suite that computes all the time: alone it takes every processor, among others it is one of those that run."""
    return lambda alone: [_pytest(name, f"tests/{name}", workers=PROCESSORS if alone else 1)]


def _waiting(name: str, workers: int) -> Callable[[bool], list[Job]]:
    """A suite whose tests wait for processes and time-outs more than they compute; among others one worker less."""
    return lambda alone: [_pytest(name, f"tests/{name}", workers=workers if alone else workers - 1)]


def _lint(alone: bool) -> list[Job]:
    cache = environments.CACHE
    checks = {
        "ruff check": ("ruff", "check", "--output-format", "concise", "--cache-dir", str(cache / "ruff"), "."),
        "ruff format": ("ruff", "format", "--check", "--cache-dir", str(cache / "ruff"), "."),
        "mypy": ("mypy", "--cache-dir", str(cache / "mypy")),
        "pyright": ("pyright",),
    }
    return [Job("lint", title, MAIN, command) for title, command in checks.items()]


def _matrix(alone: bool) -> list[Job]:
    jobs = []
    for environment in OTHERS:
        if environments.find_python(environment.python) is None:
            print(f"{environment.name}: Python {environment.python} is not on this machine, left out", flush=True)
            continue
        name = f"matrix {environment.name}"
        for suite, files, workers in (("unit", environment.unit, 1), ("integration", environment.integration, 2)):
            found = environments.files_of(suite, files)
            jobs.append(_pytest(f"{name} {suite}", *found, workers=workers, environment=environment, suite=name))
    return jobs


SUITES = (
    Suite("lint", "ruff, format, mypy and pyright", (), _lint),
    Suite("unit", "one part at a time, in a minute or two", (), _computing("unit")),
    Suite("conformance", "ours against upstream's, span by span", (), _computing("conformance")),
    Suite("integration", "parts against real servers", (servers.debian_packages,), _waiting("integration", 4)),
    Suite("collector", "the collector, Jaeger, Tempo and Prometheus", (servers.go_programs,), _waiting("collector", 3)),
    Suite(
        "e2e",
        "real applications under both launchers",
        (servers.debian_packages, servers.go_programs),
        _waiting("e2e", 4),
    ),
    Suite(
        "demo",
        "the demo as a newcomer runs it, embedded and against real servers",
        (servers.debian_packages, servers.go_programs),
        _waiting("demo", 1),
    ),
    Suite("matrix", "unit and integration on other Pythons and libraries", (servers.debian_packages,), _matrix),
)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
