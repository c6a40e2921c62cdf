"""What the gate says of its suites: nothing that failed is counted as passed."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.suites import environments
from tests.suites.jobs import Job, Result, Runner, closing, counted


@pytest.mark.parametrize(
    ("output", "code", "passed", "failed"),
    [
        ("..\n2 passed in 0.10s\n", 0, 2, 0),
        ("\x1b[32m\x1b[1m2 passed\x1b[0m, \x1b[33m1 skipped\x1b[0m\x1b[32m in 96.24s (0:01:36)\x1b[0m\n", 0, 2, 0),
        ("=== 1 failed, 2 passed, 1 error in 3.00s ===\n", 1, 2, 2),
        ("1 error in 0.50s\n", 2, 0, 1),
        ("2 passed in 0.10s\nSegmentation fault\n", 139, 2, 1),
        ("no tests ran in 0.01s\n", 5, 0, 1),
        ("", -9, 0, 1),
        ("All checks passed!\n", 0, 1, 0),
    ],
)
def test_the_counts_are_pytests_and_an_exit_status_is_a_failure(
    output: str, code: int, passed: int, failed: int
) -> None:
    """The last line of pytest is read; what ends with another status than 0 has failed at least once."""
    counts = counted(output, code)
    assert (counts["passed"], counts["failed"] + counts["errors"]) == (passed, failed)


def test_there_is_a_line_for_each_suite_and_one_for_all() -> None:
    """Jobs of one suite are one line; the last line is `N passed, N failed`."""

    def result(suite: str, **counts: int) -> Result:
        return Result(Job(suite, suite, environments.MAIN, ()), Counter(counts), 2.0, 1.5, "")

    lines = closing([result("lint", passed=1), result("lint", failed=1), result("unit", passed=5, errors=1, skipped=2)])
    assert [line.split()[:6] for line in lines[:2]] == [
        ["FAILED", "lint", "1", "passed,", "1", "failed"],
        ["FAILED", "unit", "5", "passed,", "1", "failed,"],
    ]
    assert lines[2:] == ["", "6 passed, 2 failed, 2 skipped"]


def test_jobs_run_at_once_and_what_each_wrote_stays_together(tmp_path: Path) -> None:
    """Two jobs that wait for each other both end, and the output of each is its own."""
    os.mkfifo(tmp_path / "way")
    codes = {
        "reads": "import sys; print(open(sys.argv[1]).read())",
        "writes": "import sys; open(sys.argv[1], 'w').write('hello'); print('written')",
    }
    jobs = [
        Job(name, name, environments.MAIN, (sys.executable, "-c", code, str(tmp_path / "way")))
        for name, code in codes.items()
    ]
    results = {result.job.suite: result for result in Runner(2).run(jobs, {})}
    assert {name: result.output for name, result in results.items()} == {"reads": "hello\n", "writes": "written\n"}
    assert [result.counts for result in results.values()] == [Counter(passed=1)] * 2


def test_an_environment_is_not_made_from_itself() -> None:
    """Where the first Python on PATH is one of a virtual environment, the one beneath it is taken."""
    python = environments.find_python(f"{sys.version_info.major}.{sys.version_info.minor}")
    assert python is not None
    assert not python.startswith(str(environments.HOME))
    assert python != sys.executable or sys.prefix == sys.base_prefix
