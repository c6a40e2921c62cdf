"""Kills workers of a running server at random, and never anything else."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self


def children(pid: int) -> list[int]:
    """The direct children of a process, without Python's resource tracker."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes()
        except (OSError, IndexError):
            continue
        if parent == pid and b"resource_tracker" not in command and command:
            found.append(int(entry.name))
    return found


class Killer:
    """Sends one of `signals` to one worker now and then, only while another one lives.

    Args:
        supervisor: whose children are the workers.
        signals: chosen from at random.
        pause: seconds between two, at random between half and one and a half of it.
        seed: of the random choices.

    Attributes:
        sent: how often each signal was sent.
    """

    def __init__(self, supervisor: int, signals: Sequence[signal.Signals], *, pause: float, seed: int = 0) -> None:
        self.sent: dict[signal.Signals, int] = dict.fromkeys(signals, 0)
        self._supervisor = supervisor
        self._signals = signals
        self._pause = pause
        self._random = random.Random(seed)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="killer")

    @property
    def hard(self) -> int:
        """How many workers ended without a chance to finish."""
        return self.sent.get(signal.SIGKILL, 0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill no more."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._pause * self._random.uniform(0.5, 1.5)):
            workers = children(self._supervisor)
            if len(workers) < 2:
                continue
            chosen = self._random.choice(self._signals)
            try:
                os.kill(self._random.choice(workers), chosen)
            except ProcessLookupError:
                continue
            self.sent[chosen] += 1
