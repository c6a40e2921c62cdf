"""The file of results, and what is read from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "results" / "collector" / "results.json"
#: A collector that is to survive a peak and the loss of a replica is planned at this share of its cores.
PLANNED = 0.6


@dataclass(frozen=True, slots=True)
class Row:
    """One setup over all rounds: the least, for whatever else the machine does only adds."""

    title: str
    cpu_us: float  # of a span
    spans_a_second: float  # by the clock, the most
    anonymous: int  # bytes, the most
    missing: int
    duplicates: int
    p99_ms: float
    wanted: int = 0  # spans a second

    @property
    def cores(self) -> float:
        """Cores for 1,000 spans a second."""
        return self.cpu_us / 1000

    @property
    def a_core(self) -> float:
        """Spans a second that one core has time for."""
        return 1e6 / self.cpu_us


class Results:
    """`results.json` of `scripts/collector-bench`."""

    def __init__(self, found: dict[str, Any]) -> None:
        """`found` as the file has it."""
        self.raw = found
        self.meta: dict[str, Any] = found["meta"]
        self.backlog: dict[str, Any] = found["backlog"]

    @classmethod
    def load(cls, path: Path = FILE) -> Results:
        """Read the committed file, or another."""
        return cls(json.loads(path.read_text()))

    def steady(self) -> list[Row]:
        """Each setup at the fixed rate."""
        return [_row(each) for each in (*self.raw["steady"], *self.raw.get("kafka", ()))]

    def flat_out(self) -> list[Row]:
        """Each setup as fast as one core takes it."""
        return [_row(each) for each in self.raw["flat_out"]]

    @property
    def lost(self) -> int:
        """Spans that were acknowledged and are missing somewhere."""
        missing = sum(row.missing for row in (*self.steady(), *self.flat_out()))
        return missing + int(self.backlog["missing"])

    def row(self, title: str) -> Row:
        """The setup of that title at the fixed rate.

        Raises:
            KeyError: it was not measured.
        """
        return {row.title: row for row in self.steady()}[title]

    def moments(self, *phases: str) -> list[dict[str, Any]]:
        """Looks at the backlog during these phases, or all."""
        return [moment for moment in self.backlog["moments"] if not phases or moment["phase"] in phases]

    def most(self, what: str, *phases: str) -> int:
        """The greatest value during these phases."""
        return max(int(moment[what]) for moment in self.moments(*phases))

    def held(self, phase: str, half: int) -> int:
        """Most memory while less (half 0) or more (1) of a phase's change of the backlog was done."""
        moments = self.moments(phase)
        first, last = moments[0]["waiting"], moments[-1]["waiting"]
        done = [abs(moment["waiting"] - first) * 2 >= abs(last - first) for moment in moments]
        return max(int(moment["anonymous"]) for moment, over in zip(moments, done, strict=True) if over == bool(half))

    @property
    def disk_a_span(self) -> float:
        """Bytes that a waiting span takes on the disk, in one queue."""
        full = self.moments("full")[-1]
        return float(full["disk"] / (full["waiting"] / self.queued_a_span))

    @property
    def queued_a_span(self) -> float:
        """Bytes of a span as the senders encode it, which is how it is queued."""
        return float(self.raw["steady"][0]["rounds"][0]["span_bytes"])


def _row(each: dict[str, Any]) -> Row:
    rounds = each["rounds"]
    return Row(
        title=each["title"],
        cpu_us=min(one["cpu_us"] for one in rounds),
        spans_a_second=max(one["spans_a_second"] for one in rounds),
        anonymous=max(one["anonymous"] for one in rounds),
        missing=sum(one["missing"] for one in rounds),
        duplicates=sum(one["duplicates"] for one in rounds),
        p99_ms=min(one["p99_ms"] for one in rounds),
        wanted=each.get("wanted", 0),
    )
