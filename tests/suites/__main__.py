"""The table of suites: what each runs and what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from . import environments, servers
from .environments import MAIN, OTHERS, ROOT, Environment


@dataclass(frozen=True)
class Suite:
    """One suite: its name, one line of help, what it needs first, and how it runs (True when it passed)."""

    name: str
    help: str
    needs: tuple[Callable[[], None], ...]
    run: Callable[[], bool]


def main(arguments: list[str]) -> int:
    """Run the suites named by `arguments`, or all; exit status 0 when every one passed."""
    if {"-h", "--help"} & set(arguments):
        print("usage: ./scripts/test [suite ...]\n")
        print("\n".join(f"  {suite.name:12} {suite.help}" for suite in SUITES))
        return 0
    known = {suite.name: suite for suite in SUITES}
    unknown = [name for name in arguments if name not in known]
    if unknown:
        print(f"scripts/test: no such suite: {unknown[0]} (there are {', '.join(known)})", file=sys.stderr)
        return 2
    chosen = [known[name] for name in arguments] or list(SUITES)
    for need in dict.fromkeys(need for suite in chosen for need in suite.needs):
        need()
    results = []
    for suite in chosen:
        print(f"\n=== {suite.name}: {suite.help}", flush=True)
        began = time.monotonic()
        results.append((suite.name, suite.run(), time.monotonic() - began))
    print()
    for name, passed, seconds in results:
        print(f"{'passed' if passed else 'FAILED'}  {name:12} {seconds:6.0f} s")
    failed = sum(not passed for _, passed, _ in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _main_environment() -> None:
    _environment(MAIN)


def _environment(environment: Environment) -> None:
    python = environments.find_python(environment.python)
    if python is None:
        sys.exit(f"scripts/test: Python {environment.python} is needed and not found")
    environments.make(environment, python)


def _run(environment: Environment, *command: str) -> bool:
    path = f"{environment.bin}{os.pathsep}{os.environ.get('PATH', '')}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SENTRY_"))}
    done = subprocess.run(command, cwd=ROOT, env={**kept, "PATH": path, "PYTHONHASHSEED": "0"}, check=False)
    return done.returncode == 0


def _pytest(*paths: str, environment: Environment = MAIN) -> Callable[[], bool]:
    return lambda: _run(environment, "python", "-m", "pytest", "-q", *paths)


_SIDE_BY_SIDE = ("-n", "2", "--dist", "loadfile")
"""A test file is one process's, with the servers that it starts, so two files run at once."""
_MOSTLY_WAITING = ("-n", "4", "--dist", "loadfile")
"""For suites whose tests wait for processes and time-outs more than they compute."""


def _lint() -> bool:
    checks = (
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
        ("pyright",),
    )
    return not [check for check in checks if not _run(MAIN, *check)]


def _matrix() -> bool:
    passed = True
    for environment in OTHERS:
        if environments.find_python(environment.python) is None:
            print(f"--- {environment.name}: Python {environment.python} is not on this machine, left out", flush=True)
            continue
        print(f"--- {environment.name}: {' '.join(environment.pins) or 'newest libraries'}", flush=True)
        _environment(environment)
        for suite, stems, workers in (
            ("unit", environment.unit, _SIDE_BY_SIDE),
            ("integration", environment.integration, _MOSTLY_WAITING),
        ):
            found = {str(path) for stem in stems for path in ROOT.glob(f"tests/{suite}/test_{stem}.py")}
            passed &= _pytest(*sorted(found), *workers, environment=environment)()
    return passed


SUITES = (
    Suite("lint", "ruff, format, mypy and pyright", (_main_environment,), _lint),
    Suite("unit", "one part at a time, in seconds", (_main_environment,), _pytest("tests/unit", *_SIDE_BY_SIDE)),
    Suite(
        "conformance",
        "ours against upstream's, span by span",
        (_main_environment,),
        _pytest("tests/conformance", *_SIDE_BY_SIDE),
    ),
    Suite(
        "integration",
        "parts against real servers",
        (_main_environment, servers.debian_packages),
        _pytest("tests/integration", *_MOSTLY_WAITING),
    ),
    Suite(
        "collector",
        "the collector, Jaeger, Tempo and Prometheus",
        (_main_environment, servers.go_programs),
        _pytest("tests/collector", *_SIDE_BY_SIDE),
    ),
    Suite(
        "e2e",
        "real applications under both launchers",
        (_main_environment, servers.debian_packages, servers.go_programs),
        _pytest("tests/e2e", *_MOSTLY_WAITING),
    ),
    Suite(
        "demo",
        "the demo as a newcomer runs it, embedded and against real servers",
        (_main_environment, servers.debian_packages, servers.go_programs),
        _pytest("tests/demo"),
    ),
    Suite(
        "matrix",
        "unit and integration on other Pythons and older libraries",
        (_main_environment, servers.debian_packages),
        _matrix,
    ),
)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
