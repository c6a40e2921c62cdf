"""What every suite stands on."""

from __future__ import annotations

import signal

# a shell without job control starts commands with SIGINT ignored, which the programs under test would inherit
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
