"""docs/robustness.md names tests; each of them exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "robustness.md").read_text()


def test_every_test_that_the_page_names_exists() -> None:
    """A case without its test would be a claim."""
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`", PAGE)
    missing = [
        f"{path}::{test}"
        for path, test in named
        if not (ROOT / path).exists() or (test and f"def {test}(" not in (ROOT / path).read_text())
    ]
    assert len(named) > 50
    assert missing == []


def test_every_known_case_has_a_test() -> None:
    """Each row of the table of cases ends in at least one."""
    rows = PAGE.split("## Known cases")[1].split("## ")[0].splitlines()
    cases = [row for row in rows if row.startswith("| ") and not row.startswith("| case")]
    assert len(cases) >= 45
    assert [row for row in cases if "`tests/" not in row.split("|")[3]] == []
