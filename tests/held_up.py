"""How long a busy machine has kept threads from running, which no budget of ours can hold (proc(5), schedstat)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping


def delays(
    # bound here: a program's last moments have no modules any more
    listdir: Callable[[str], list[str]] = os.listdir,
    opened: Callable[[str, int], int] = os.open,
    read: Callable[[int, int], bytes] = os.read,
    close: Callable[[int], None] = os.close,
    error: type[OSError] = OSError,
) -> dict[str, int]:
    """Nanoseconds for which each thread of this process has waited for a processor; empty where nobody counts them."""
    found: dict[str, int] = {}
    try:
        for task in listdir("/proc/self/task"):
            try:
                file = opened(f"/proc/self/task/{task}/schedstat", 0)
                found[task] = int(read(file, 200).split()[1])
                close(file)
            except error:
                pass  # it has ended
    except error:
        pass
    return found


def held_up(before: Mapping[str, int], after: Mapping[str, int]) -> float:
    """Seconds for which the threads of `after` have waited for a processor since `before`."""
    return sum(waited - before.get(task, 0) for task, waited in after.items()) / 1e9
