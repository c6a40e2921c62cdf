"""scripts/drills: every drill, or those whose name holds a word given; a whole run makes docs/collector-drills.md."""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.collector.drills.catalogue import DRILLS
from tests.collector.drills.run import run_drill, table
from tests.otlp_servers import Certificates

if TYPE_CHECKING:
    from tests.collector.drills.senders import Sdk

_ROOT = Path(__file__).resolve().parents[3]
_PAGE = _ROOT / "docs" / "collector-drills.md"


def main(words: list[str]) -> int:
    """Exit status 1 when a drill was not as expected."""
    chosen = [drill for drill in DRILLS if not words or any(word.lower() in drill.name.lower() for word in words)]
    certificates = Certificates(Path(tempfile.mkdtemp(prefix="drills-")))
    outcomes = []
    began = time.monotonic()
    senders: tuple[Sdk | None, ...] = (None, "upstream", "ours")
    cases = [(drill, sender) for drill in chosen for sender in (senders if drill.sdks else senders[:1])]
    with ThreadPoolExecutor(2) as running:
        logs = _ROOT / "test-logs" / "drills"
        for outcome in running.map(lambda case: run_drill(case[0], logs, certificates, case[1]), cases):
            outcomes.append(outcome)
            print(f"{outcome.drill} ({outcome.sender}): {'; '.join(outcome.problems) or 'as expected'}", flush=True)
    print("\n" + table(outcomes))
    if not words:
        _PAGE.write_text(page(table(outcomes), time.monotonic() - began))
    return 1 if any(outcome.problems for outcome in outcomes) else 0


def page(rows: str, seconds: float) -> str:
    """The page of the documentation, made of a run."""
    made = f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()}, {seconds:.0f} s"
    return (_ROOT / "tests" / "collector" / "drills" / "page.md").read_text().format(made=made, table=rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
