"""scripts/drills: every drill, or those whose name holds a word given; a whole run makes docs/collector-drills.md."""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.collector.drills.catalogue import DRILLS
from tests.collector.drills.run import run_drill, table
from tests.otlp_servers import Certificates

_ROOT = Path(__file__).resolve().parents[3]
_PAGE = _ROOT / "docs" / "collector-drills.md"


def main(words: list[str]) -> int:
    """Exit status 1 when a drill was not as expected."""
    chosen = [drill for drill in DRILLS if not words or any(word.lower() in drill.name.lower() for word in words)]
    certificates = Certificates(Path(tempfile.mkdtemp(prefix="drills-")))
    outcomes = []
    began = time.monotonic()
    for drill in chosen:
        for sdk in (None, "upstream", "ours") if drill.sdks else (None,):
            outcome = run_drill(drill, _ROOT / "test-logs" / "drills", certificates, sdk)
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
