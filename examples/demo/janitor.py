"""`janitor.py DIRECTORY`: ends the demo's processes and removes its directory when the demo itself was killed.

It reads the processes' ids, a line each, until its input ends.

The input ends with the demo, however that ends. Unless its last line is `done`, the processes are then sent SIGTERM,
and SIGKILL after ten seconds. Standard library only, because it is started for every run.
"""

import os
import shutil
import signal
import sys
import time

_PATIENCE = 10.0


def main() -> None:
    """Listen, then clean up."""
    lines = sys.stdin.read().split()
    if lines[-1:] == ["done"]:
        return
    alive = {pid for pid in map(int, lines) if _signal(pid, signal.SIGTERM)}
    end = time.monotonic() + _PATIENCE
    while alive and time.monotonic() < end:
        time.sleep(0.05)
        alive = {pid for pid in alive if _signal(pid, 0)}
    for pid in alive:
        _signal(pid, signal.SIGKILL)
    shutil.rmtree(sys.argv[1], ignore_errors=True)


def _signal(pid: int, number: int) -> bool:
    """Whether the process was there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
