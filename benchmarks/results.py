"""The rows of a run, and the figures that are made of them: always against bare, always within a round."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.stats import Series, differences, least, middle_ratio, scaled
from benchmarks.workload.cases import CASES

BASE = "bare"
CPU = "cpu_us"
PAIRED = "paired_us"
"""What a peer has compared inside its own process."""
_CALLS = {case.name: case.calls for case in CASES}
_SPANS = {case.name: case.spans for case in CASES}


class Incomplete(Exception):
    """A peer left out telemetry, so that its cost says nothing."""


class Results:
    """A finished run.

    Args:
        meta: What was run, on what, with what.
        rows: One measurement each, as `rounds`, `wire` and `single` describe them.
    """

    def __init__(self, meta: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
        self.meta = meta
        self.rows = rows
        self._values: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
        for row in rows:
            if "failed" not in row:
                self._values.setdefault((row["case"], row["peer"]), {})[row["round"]] = row
        self._rounds = 1 + max((row["round"] for row in rows if row["round"] is not None), default=-1)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Reads what `save` wrote."""
        held = json.loads(path.read_text())
        return cls(held["meta"], held["rows"])

    def save(self, path: Path) -> None:
        """Writes everything as JSON, a row a line."""
        rows = ",\n  ".join(json.dumps(_rounded(row)) for row in self.rows)
        path.write_text(f'{{\n "meta": {json.dumps(self.meta, indent=2)},\n "rows": [\n  {rows}\n ]\n}}\n')

    def has(self, case: str, peer: str) -> bool:
        """Whether this peer measured this case at least once."""
        return (case, peer) in self._values

    def series(self, case: str, peer: str, field: str = CPU) -> Series:
        """One value a round; `gaps_ms.p99.9` is "p99.9" of "gaps_ms", while `p99.9` alone is a field of that name."""
        rows = self._values.get((case, peer), {})
        return [_field(rows.get(turn, {}), field) for turn in range(self._rounds)]

    def added(self, case: str, peer: str, field: str = CPU) -> Series:
        """What the peer adds to bare, a round."""
        return differences(self.series(case, peer, field), self.series(case, BASE, field))

    def least_added(self, case: str, peer: str, field: str = CPU) -> float | None:
        """What the peer adds to bare, the least of all rounds of each: for processes that run once."""
        own, bare = least(self.series(case, peer, field)), least(self.series(case, BASE, field))
        return None if own is None or bare is None else own - bare

    def added_a_call(self, case: str, peer: str, without: str = "plain") -> Series:
        """What the peer adds to one call of the library that `case` calls several times: the request's own part, as
        `without` shows it, is taken off."""
        whole = differences(self.added(case, peer), self.added(without, peer))
        return scaled(whole, 1 / _CALLS[case])

    def demand_telemetry(self, case: str, peer: str, *, sampled: bool = True) -> None:
        """Makes sure that what was measured was also done.

        Raises:
            Incomplete: too few spans a request (or any, unsampled), or some did not arrive, or no metrics did.
        """
        rows = [row for row in self._values.get((case, peer), {}).values() if "spans" in row]
        wanted = _SPANS.get(case, 1)
        for row in rows:
            if sampled and row["spans"] < wanted:
                raise Incomplete(f"{row['spans']:g} spans a request instead of {wanted}")
            if not sampled and row["arrived"]:
                raise Incomplete(f"{row['arrived']} spans of unsampled requests")
            if sampled and row["arrived"] < row["sent"]:
                raise Incomplete(f"{row['sent'] - row['arrived']} spans of {row['sent']} did not arrive")
            if not row["metric_exports"] and not peer.endswith("-off-bare"):
                raise Incomplete("no metrics arrived")

    def times_bare(self, case: str, peer: str) -> float | None:
        """Median of the ratios to bare."""
        return middle_ratio(self.series(case, peer), self.series(case, BASE))

    def delivery(self, peer: str) -> tuple[int, int, int] | None:
        """Spans sent and arrived, and metric exports, in all rounds of the peer that count them; None where it makes
        none or samples itself."""
        rows = [row for (_, name), held in self._values.items() if name == peer for row in held.values()]
        counted = [row for row in rows if row.get("sent") is not None]
        if not any(row["sent"] for row in counted):
            return None
        return (
            sum(row["sent"] for row in counted),
            sum(row["arrived"] for row in counted),
            sum(row["metric_exports"] for row in counted),
        )


def _field(row: Mapping[str, Any], field: str) -> float | None:
    if field in row:
        return float(row[field])
    outer, _, inner = field.partition(".")
    held = row.get(outer)
    return float(held[inner]) if isinstance(held, Mapping) and inner in held else None


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {name: _rounded(inner) for name, inner in value.items()}
    return value
