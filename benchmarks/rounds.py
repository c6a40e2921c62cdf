"""Rounds against applications in their own processes, without a server: CPU time of each case, peer beside peer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.peers import Peer
from benchmarks.processes import Child, Failed
from benchmarks.servers import Sink
from benchmarks.site import Site
from benchmarks.stats import order
from benchmarks.workload.cases import Case

_WARM = 20
_PAIRED = ("bare", "ours")
_SLICES = 4  # short enough to share the machine's mood, long enough for exports to fall into them


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: Rounds of everything.
        seconds: How long a peer works in one round of a case, all its slices together; at least ten export intervals.
    """

    rounds: int
    seconds: float


def takes_part(peer: Peer, case: Case) -> bool:
    """Whether this peer measures this case."""
    return (peer.cases is None or case.name in peer.cases) and (case.peers is None or peer.name in case.peers)


def run(site: Site, sink: Sink, peers: Sequence[Peer], cases: Sequence[Case], plan: Plan) -> list[dict[str, Any]]:
    """Starts every peer once, then measures case by case; in a round of a case the peers take turns, a slice each.

    Returns:
        One row a round, case and peer: `requests`, `cpu_us` (microseconds of a request, its export included), `spans`
        a request, `sent` and `arrived` spans, `metric_exports`, maybe `gaps_ms`, maybe `paired_us` and `pairs` of
        `workload/pairs.py`; or `failed`, the reason for none.
    """
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        children = {}
        for peer in peers:
            if any(takes_part(peer, case) for case in cases):
                command = site.workload(peer, "drive", "--wrap", peer.wrap)
                children[peer.name] = stack.enter_context(Child(command, site.environment(peer), peer.name))
        running = _Running({peer.name: peer for peer in peers}, children, sink, rows)
        for case in cases:
            running.warm(case)
        for turn in range(plan.rounds):
            for case in cases:
                running.measure(case, turn, plan.seconds)
    return rows


class _Running:
    """The started peers, and what is known of each: spans of one request of each case, and who failed at what."""

    def __init__(
        self, peers: dict[str, Peer], children: dict[str, Child], sink: Sink, rows: list[dict[str, Any]]
    ) -> None:
        self._peers = peers
        self._children = children
        self._sink = sink
        self._rows = rows
        self._spans: dict[tuple[str, str], float] = {}
        self._ready: set[str] = set()

    def names(self, case: Case) -> list[str]:
        """Peers that can still do this case."""
        return [name for name in self._children if (name, case.name) in self._spans]

    def warm(self, case: Case) -> None:
        """Sends a few requests of each peer and learns how many spans one of them makes."""
        for name, child in self._children.items():
            if not takes_part(self._peers[name], case):
                continue
            try:
                if name not in self._ready:
                    child.line()
                    self._ready.add(name)
                with child.awake():
                    self._spans[name, case.name] = self._learn(child, case)
            except Failed as failure:
                self._fail(case.name, name, str(failure))

    def measure(self, case: Case, turn: int, seconds: float) -> None:
        """One round of one case: all of its peers are awake, and take turns of a slice each."""
        with ExitStack() as awake:
            for name in self.names(case):
                awake.enter_context(self._children[name].awake())
            for name in self.names(case):
                self._ask(case, name, {"do": "begin"})
            self._sink.forget()
            for part in range(_SLICES):
                for name in order(self.names(case), turn * _SLICES + part):
                    self._ask(case, name, {"do": "slice", "seconds": seconds / _SLICES})
            for name in self.names(case):
                answer = self._ask(case, name, {"do": "end"})
                if answer is not None:
                    row = {"round": turn, "case": case.name, "peer": name, **self._row(case, name, answer)}
                    self._rows.append(row | self._pairs(case, name, seconds))

    def _pairs(self, case: Case, name: str, seconds: float) -> dict[str, Any]:
        """What the peer itself compares, alone and after everybody's turn."""
        if not case.against or name not in _PAIRED:
            return {}
        return self._ask(case, name, {"do": "pair", "seconds": seconds}) or {}

    def _ask(self, case: Case, name: str, command: dict[str, object]) -> dict[str, Any] | None:
        """The answer; None if there is none, and then this peer does this case no more."""
        try:
            return self._children[name].ask({**command, "case": case.name})
        except Failed as failure:
            self._fail(case.name, name, str(failure))
            del self._spans[name, case.name]
            return None

    def _learn(self, child: Child, case: Case) -> float:
        """Spans of one request."""
        command = {"do": "warm", "case": case.name, "requests": _WARM}
        child.ask(command)  # the first time: imports, connections
        self._settled(child.name)
        sent: int = child.ask(command)["requests"]
        return self._settled(child.name) / sent

    def _row(self, case: Case, name: str, answer: dict[str, Any]) -> dict[str, Any]:
        exact = self._peers[name].exact
        sent = round(self._spans[name, case.name] * answer["requests"])
        arrived, metrics = self._sink.spans(self._peers[name].far_end, sent if exact else 0)
        row = {
            "requests": answer["requests"],
            "cpu_us": 1e6 * answer["cpu_s"] / answer["requests"],
            "wall_s": answer["wall_s"],
            "spans": self._spans[name, case.name],
            "sent": sent if exact else None,
            "arrived": arrived,
            "metric_exports": metrics,
        }
        return row | ({"gaps_ms": answer["gaps_ms"]} if "gaps_ms" in answer else {})

    def _settled(self, name: str) -> int:
        """Spans that arrive until none does for a fifth of a second: what was flushed has arrived already."""
        total = 0
        while True:
            arrived, _ = self._sink.spans(self._peers[name].far_end, 1, seconds=0.2)
            if not arrived:
                return total
            total += arrived

    def _fail(self, case: str, peer: str, reason: str) -> None:
        print(f"  {peer} cannot do {case}: {reason}", flush=True)
        self._rows.append({"round": None, "case": case, "peer": peer, "failed": reason})
