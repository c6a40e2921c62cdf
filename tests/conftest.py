"""What every suite stands on."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

# a shell without job control starts commands with SIGINT ignored, which the programs under test would inherit
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Hypothesis would import trio for its plug-in, in tests that are not trio's, and warn of what `gc.freeze` hides from it
os.environ.setdefault("HYPOTHESIS_NO_PLUGINS", "1")


def pytest_collection_finish() -> None:
    """What was imported until now lives to the end: the many collections of the tests need not visit it each time."""
    gc.collect()
    gc.freeze()


IN_MAIN = Path(sys.prefix).name == "main"
"""The suites' environment that has everything; the others leave out what their libraries do not have."""

MACHINE = re.compile(
    r"no right to mount|no namespace can be made|only root can make|no IPv6|no systemd-analyze|"
    r"Python [\d.]+ is not installed|reads /proc|"
    # two drivers' instrumentations that only the environment "middle" has
    r"could not import 'opentelemetry\.instrumentation\.(asyncpg|psycopg)'"
)
"""Why a test may be left out there: what the machine does not allow or have, and what another environment runs."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that is skipped for any other reason where everything is there has failed: nobody reads skips."""
    report = yield
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    if IN_MAIN and report.skipped and not hasattr(report, "wasxfail") and not MACHINE.search(reason):
        report.outcome = "failed"
        report.longrepr = f"left out, and nothing here says that it may be: {reason}"
    return report
