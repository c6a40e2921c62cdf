"""Workers die under load and every count stays right; `scripts/chaos` is the long form of this, for every launch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.rounds import LAUNCHES, Round
from tests.servers import Stack


@pytest.mark.parametrize("launch", ["uvicorn --workers 4, TERM", "gunicorn --preload, TERM and -9"])
def test_totals_are_right_while_workers_are_killed(launch: str, stack: Stack, logs: Path) -> None:
    """/metrics, a real Prometheus and a real collector count what the client counted; every scrape parses strictly."""
    outcome = Round(LAUNCHES[launch], logs, stack=stack).run(4, pause=0.8)
    assert not outcome.wrong, outcome.line()
    assert outcome.killed, outcome.line()
