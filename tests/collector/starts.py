"""python -m tests.collector.starts: start every combination that the description allows with the real binary."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from scripts.collectorgen.choices import every_choice
from tests.collector.test_generated import failures_to_start
from tests.otlp_servers import Certificates

_LOGS = Path(__file__).resolve().parents[2] / "test-logs" / "collector-starts"


def main() -> int:
    """Exit status 1 when one did not start; its name and the end of its log are printed."""
    choices = tuple(every_choice())
    failures = failures_to_start(choices, Certificates(Path(tempfile.mkdtemp(prefix="starts-"))), _LOGS)
    for name, problem in failures.items():
        print(f"{name}: {problem}\n")
    print(f"{len(choices) - len(failures)} of {len(choices)} started")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
