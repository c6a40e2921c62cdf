"""What every suite stands on."""

from __future__ import annotations

import gc
import signal

# a shell without job control starts commands with SIGINT ignored, which the programs under test would inherit
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What was imported until now lives to the end: the many collections of the tests need not visit it each time."""
    gc.collect()
    gc.freeze()
