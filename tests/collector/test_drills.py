"""The drills that are short enough for every run; `scripts/drills` runs all, and makes docs/collector-drills.md."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.collector.drills.__main__ import main
from tests.collector.drills.catalogue import DRILLS
from tests.collector.drills.kafka import KAFKA_DRILLS
from tests.collector.drills.run import run_drill, table

if TYPE_CHECKING:
    from tests.collector.drills.catalogue import Drill
    from tests.collector.drills.senders import Sdk
    from tests.otlp_servers import Certificates

_ROOT = Path(__file__).resolve().parents[2]
_LOGS = _ROOT / "test-logs" / "drills-short"
_PAGE = _ROOT / "docs" / "collector-drills.md"


def test_short_drills_go_as_expected(certificates: Certificates) -> None:
    """Backend or collector killed, refusal for good, queue full, oversized span, garbage: nothing goes uncounted.

    While the collector is killed, both SDKs send as well: what they ended is in both backends.
    """
    short: list[tuple[Drill, Sdk | None]] = [(drill, None) for drill in DRILLS if drill.short]
    assert len(short) >= 6
    killed = next(drill for drill, _ in short if drill.name == "collector kill -9 under load")
    short += [(killed, "upstream"), (killed, "ours")]
    with ThreadPoolExecutor(4) as running:
        outcomes = list(running.map(lambda case: run_drill(case[0], _LOGS, certificates, case[1]), short))
    problems = [f"{each.drill}, {each.sender}: {'; '.join(each.problems)}" for each in outcomes if each.problems]
    assert problems == [], table(outcomes)


def test_help_and_a_word_of_no_drill_run_nothing_and_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Help lists what a word may name; a mistyped one is no run in which everything went well."""
    assert main(["--help"]) == 0
    assert "  nothing breaks\n" in capsys.readouterr().out
    assert main(["tempo", "tmepo"]) == 2
    assert "'tmepo'" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["drills", "collector-bench"])
def test_a_python_without_the_dependencies_is_one_line(script: str, tmp_path: Path) -> None:
    """Whoever runs a script outside the environment of the tests reads what is missing, and no traceback."""
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        (tmp_path / name).write_text("#!/bin/sh\necho Traceback >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    command, env = [str(_ROOT / "scripts" / script), "--help"], {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"scripts/{script}: no Python with the test dependencies is on PATH")


def test_the_page_shows_every_drill_and_no_surprise() -> None:
    """docs/collector-drills.md comes from runs in which each drill went as expected."""
    lines = [line for line in _PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [line.split(" | ") for line in lines if not line.startswith("| what breaks")]
    assert {row[0].removeprefix("| ") for row in rows} == {drill.name for drill in DRILLS} | {
        drill.name for drill in KAFKA_DRILLS
    }
    assert [row for row in rows if not row[-1].startswith("yes: ")] == []
