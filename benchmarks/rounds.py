"""Rounds against applications in their own processes, without a server: CPU time of each case, peer beside peer.

Each round has processes of its own. How a process happens to lie in memory makes it up to a tenth or two faster or
slower for as long as it lives, which would be taken for what a peer costs if its rounds shared one; so every round
draws that anew for each peer, and the median over the rounds is one over as many processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.peers import Peer
from benchmarks.processes import Child, Failed
from benchmarks.results import BASE
from benchmarks.servers import Sink
from benchmarks.site import Site
from benchmarks.stats import order
from benchmarks.workload.cases import SILENT, Case

_FEW = 20
"""Requests that tell the spans of one: so few that no queue can overflow and hide a part of them."""
_WARM, _WARM_SECONDS = 2000, 0.5
"""Requests of a case before its process is measured, or as many as fit in the time: the interpreter has specialised
what they run, caches and connection pools are filled."""
_PAIRED = frozenset({"bare", "ours"})
OFTEN = 4
"""So many times the rounds of others have the peers of a case that is measured often."""
_SLICES = 4  # short enough to share the machine's mood, long enough for exports to fall into them


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: Rounds of everything, each in processes of its own.
        seconds: How long a peer works in one round of a case, all its slices together; at least ten export intervals.
    """

    rounds: int
    seconds: float


def takes_part(peer: Peer, case: Case) -> bool:
    """Whether this peer measures this case."""
    return (peer.cases is None or case.name in peer.cases) and (case.peers is None or peer.name in case.peers)


def run(site: Site, sink: Sink, peers: Sequence[Peer], cases: Sequence[Case], plan: Plan) -> list[dict[str, Any]]:
    """In each round, starts every peer, warms it for all of its cases, measures case by case, and ends it.

    Cases that are measured often have rounds of their own, with fewer peers, after those of all cases.

    In a round of a case the peers take turns, a slice each. A peer that fails at a case is named once and does it no
    more in later rounds.

    Returns:
        One row a round, case and peer: `requests`, `cpu_us` (microseconds of a request, its export included), `spans`
        a request, `sent` and `arrived` spans, `metric_exports`, maybe `gaps_ms`, maybe `paired_us` and `pairs` of
        `workload/pairs.py`; of further rounds of calls no `requests` and `cpu_us`; or `failed`, the reason for none.
    """
    known = _Known(peers, cases)
    often = [case for case in cases if case.often]
    for turn in range(plan.rounds * (OFTEN if often else 1)):
        if turn == plan.rounds:
            known.narrow()
        now = cases if turn < plan.rounds else often
        with ExitStack() as stack:
            running = _Round(site, sink, known, stack)
            for case in now:
                running.warm(case)
            for case in now:
                if turn < plan.rounds or BASE in case.often:
                    running.measure(case, turn, plan.seconds)
                else:
                    running.compare(case, turn, plan.seconds)
    return known.rows


class _Known:
    """What outlives a round: the rows, spans of one request of each peer and case, and who can do what.

    Attributes:
        peers: Peers by name.
        rows: All rows so far.
        spans: Spans of one request, by peer and case; learnt in the first round.
    """

    def __init__(self, peers: Sequence[Peer], cases: Sequence[Case]) -> None:
        self.peers = {peer.name: peer for peer in peers}
        self.rows: list[dict[str, Any]] = []
        self.spans: dict[tuple[str, str], float] = {}
        self._able = {case.name: [peer.name for peer in peers if takes_part(peer, case)] for case in cases}
        self._often = {case.name: case.often for case in cases}

    def narrow(self) -> None:
        """From now on there are only the peers, and the cases, that are measured often."""
        self._able = {case: [name for name in able if name in self._often[case]] for case, able in self._able.items()}

    def able(self, case: Case) -> list[str]:
        """Peers that take part in this case and have not failed at it."""
        return list(self._able[case.name])

    def needed(self) -> list[Peer]:
        """Peers that any case is left for."""
        return [peer for name, peer in self.peers.items() if any(name in able for able in self._able.values())]

    def fail(self, case: str, peer: str, reason: str) -> None:
        """This peer does this case no more."""
        print(f"  {peer} cannot do {case}: {reason}", flush=True)
        self._able[case].remove(peer)
        self.rows.append({"round": None, "case": case, "peer": peer, "failed": reason})

    def fail_all(self, peer: str, reason: str) -> None:
        """This peer does nothing more."""
        for case, able in self._able.items():
            if peer in able:
                self.fail(case, peer, reason)


class _Round:
    """The processes of one round; each stands still unless it is asked something.

    Args:
        site: Where they are started.
        sink: Where their spans arrive.
        known: What was learnt before, and is learnt here.
        stack: Ends them.
    """

    def __init__(self, site: Site, sink: Sink, known: _Known, stack: ExitStack) -> None:
        self._sink = sink
        self._known = known
        self._children: dict[str, Child] = {}
        for peer in known.needed():
            command = site.workload(peer, "drive", "--wrap", peer.wrap)
            self._children[peer.name] = stack.enter_context(Child(command, site.environment(peer), peer.name))
        for name, child in self._children.items():  # all start at once; none is warmed beside one that still does
            try:
                with child.awake():
                    child.line()
            except Failed as failure:
                known.fail_all(name, str(failure))

    def warm(self, case: Case) -> None:
        """Warms each process for the case; the spans of that are forgotten."""
        for name in self._known.able(case):
            child = self._children[name]
            try:
                with child.awake():
                    if (name, case.name) not in self._known.spans:
                        self._known.spans[name, case.name] = self._learn(child, case)
                    child.ask({"do": "warm", "case": case.name, "requests": _WARM, "seconds": _WARM_SECONDS})
            except Failed as failure:
                self._known.fail(case.name, name, str(failure))
        self._sink.forget()

    def measure(self, case: Case, turn: int, seconds: float) -> None:
        """One round of one case: all of its peers are awake, and take turns of a slice each."""
        with ExitStack() as awake:
            for name in self._known.able(case):
                awake.enter_context(self._children[name].awake())
            for name in self._known.able(case):
                self._ask(case, name, {"do": "begin"})
            self._sink.forget()
            for part in range(_SLICES):
                for name in order(self._known.able(case), turn * _SLICES + part):
                    self._ask(case, name, {"do": "slice", "seconds": seconds / _SLICES})
            for name in self._known.able(case):
                answer = self._ask(case, name, {"do": "end"})
                if answer is not None:
                    row = self._row(case, name, answer)
                    self._add(case, name, turn, _sum(row, self._pairs(case, name, seconds)))

    def compare(self, case: Case, turn: int, seconds: float) -> None:
        """One round of what peers compare inside their own processes, and nothing else."""
        self._sink.forget()
        for name in self._known.able(case):
            with self._children[name].awake():
                self._add(case, name, turn, self._pairs(case, name, seconds))

    def _add(self, case: Case, name: str, turn: int, found: dict[str, Any]) -> None:
        if found:
            self._known.rows.append({"round": turn, "case": case.name, "peer": name, **found})

    def _pairs(self, case: Case, name: str, seconds: float) -> dict[str, Any]:
        """What the peer itself compares, alone and after everybody's turn; of calls, with the spans of that."""
        calls = case.against == SILENT
        if not case.against or name not in (case.often if calls else _PAIRED):
            return {}
        if not calls:
            return self._ask(case, name, {"do": "pair", "seconds": seconds}) or {}
        silent = self._ask(case, name, {"do": "silent", "requests": _FEW})
        if silent is None:
            return {}
        others = self._settled(name) / silent["requests"]
        found = self._ask(case, name, {"do": "pair", "seconds": seconds})
        if found is None:
            return {}
        peer, spans = self._known.peers[name], self._known.spans[name, case.name]
        sent = round(spans * found.pop("one") + others * found.pop("other"))
        arrived, metrics = self._sink.spans(peer.far_end, sent)
        return {**found, "spans": spans, "sent": sent, "arrived": arrived, "metric_exports": metrics}

    def _ask(self, case: Case, name: str, command: dict[str, object]) -> dict[str, Any] | None:
        """The answer; None if there is none, and then this peer does this case no more."""
        try:
            return self._children[name].ask({**command, "case": case.name})
        except Failed as failure:
            self._known.fail(case.name, name, str(failure))
            return None

    def _learn(self, child: Child, case: Case) -> float:
        """Spans of one request."""
        command = {"do": "warm", "case": case.name, "requests": _FEW}
        child.ask(command)  # the first time: imports, connections
        self._settled(child.name)
        sent: int = child.ask(command)["requests"]
        return self._settled(child.name) / sent

    def _row(self, case: Case, name: str, answer: dict[str, Any]) -> dict[str, Any]:
        peer, spans = self._known.peers[name], self._known.spans[name, case.name]
        sent = round(spans * answer["requests"])
        arrived, metrics = self._sink.spans(peer.far_end, sent if peer.exact else 0)
        row = {
            "requests": answer["requests"],
            "cpu_us": 1e6 * answer["cpu_s"] / answer["requests"],
            "wall_s": answer["wall_s"],
            "spans": spans,
            "sent": sent if peer.exact else None,
            "arrived": arrived,
            "metric_exports": metrics,
        }
        return row | ({"gaps_ms": answer["gaps_ms"]} if "gaps_ms" in answer else {})

    def _settled(self, name: str) -> int:
        """Spans that arrive until none does for a fifth of a second: what was flushed has arrived already."""
        total = 0
        while True:
            arrived, _ = self._sink.spans(self._known.peers[name].far_end, 1, seconds=0.2)
            if not arrived:
                return total
            total += arrived


def _sum(row: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """A row with what was compared besides: what was sent and arrived is that of both."""
    both = {name: row[name] + found[name] for name in ("sent", "arrived", "metric_exports") if name in found}
    return {**row, **found, **both}
