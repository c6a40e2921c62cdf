"""Whatever the settings are, the application starts, serves and ends, and each wrong one is named once a launch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hardships.bad_settings import STOCKS_OWN, fuzzed, said, served, wrong
from tests.programs import OURS, STOCK, run

SERVER = ("uvicorn", "tests.hardships.application:app", "--port", "{port}", "--workers", "2", "--log-level", "warning")


@pytest.mark.parametrize(("launcher", "without"), [(OURS, frozenset()), (STOCK, STOCKS_OWN)], ids=["ours", "stock"])
def test_all_settings_wrong_at_once(launcher: tuple[str, ...], without: frozenset[str], tmp_path: Path) -> None:
    """Some eighty wrong settings: a supervisor and two workers serve and end, and name each once."""
    environ = {name: text for name, text in wrong().items() if name not in without}
    assert len(environ) >= 60
    output = served(environ, (*launcher, *SERVER), tmp_path / "log")
    assert {name: count for name in environ if (count := said(output, name)) != 1} == {}
    assert "Traceback" not in output


@pytest.mark.parametrize("name", sorted(STOCKS_OWN))
def test_what_the_stock_launcher_suffers_from_ours_survives(name: str) -> None:
    """The two settings that upstream's launcher stumbles over before any distro runs are one line under ours."""
    done = run("import opentelemetry.propagate; print('ran')", OURS, **{name: wrong()[name]})
    assert (done.returncode, done.stdout, said(done.stderr, name)) == (0, "ran\n", 1)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("seed", range(3))
def test_any_environment_starts_a_program(seed: int) -> None:
    """Random values of random variables; `scripts/hardships settings` tries hundreds."""
    assert fuzzed(seed) is None
