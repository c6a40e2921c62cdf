"""`python -m benchmarks.sentry`: the CPU of spans that go to Sentry as well, beside that of the collector alone.

Applications without telemetry, with the collector alone and with both are a process each, in the environment this is
started in. They take turns of a short slice; a slice ends with a flush, counts the CPU of all threads, and is compared
with its neighbours of the same round only. The far ends are the counting sink, which says whether every span arrived.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

from benchmarks.peers import ROOT
from benchmarks.processes import Child
from benchmarks.servers import Sink
from benchmarks.stats import order

LIMIT = 1.3
_WARM = 300
_COLD = 5
"""Requests with which a round begins, before it is measured."""
_TELEMETRY = {
    "OTEL_SERVICE_NAME": "bench",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_BSP_MAX_QUEUE_SIZE": "65536",
    "OTEL_METRIC_EXPORT_INTERVAL": "10000",
}
_WORKLOAD = str(ROOT / "benchmarks" / "workload")


@dataclass(frozen=True, slots=True)
class Peer:
    """One of those that take turns.

    Attributes:
        name: of its row.
        telemetry: whether it has any.
        sentry: of `OTEL_DISTRO_SENTRY_SPANS`; empty where there is no Sentry at all.
    """

    name: str
    telemetry: bool = True
    sentry: str = ""

    def command(self) -> list[str]:
        """What starts it."""
        launcher = [sys.executable, "-m", "otel_distro", "run"] if self.telemetry else []
        setup = "opentelemetry" if self.telemetry else "nothing"
        return [*launcher, sys.executable, _WORKLOAD, "drive", "--setup", setup]

    def environment(self, sink: Sink, delay: int) -> dict[str, str]:
        """All of its variables beside those of this process."""
        variables = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "BENCH_HTTP_URL": f"{sink.url}/ok"}
        if self.telemetry:
            variables |= _TELEMETRY
            variables["OTEL_BSP_SCHEDULE_DELAY"] = str(delay)
            variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"{sink.url}/{self.name}"
        if self.sentry:
            variables["SENTRY_DSN"] = f"http://key@127.0.0.1:{sink.port}/{self.project}"
            variables["OTEL_DISTRO_SENTRY_SPANS"] = self.sentry
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SENTRY_"))}
        return kept | variables

    @property
    def project(self) -> int:
        """Its number at Sentry."""
        return 1 + PEERS.index(self)

    def ends(self) -> list[str]:
        """Paths at the sink where each of its spans must arrive."""
        collector = [f"/{self.name}/v1/traces"] if self.telemetry else []
        return collector + [f"/api/{self.project}/integration/"] * (self.sentry == "otlp")


PEERS = (Peer("bare", telemetry=False), Peer("collector"), Peer("both", sentry="otlp"), Peer("errors", sentry="off"))
CASES = {"plain": 1, "spans-9": 10}
"""A request that makes one span, and one that makes ten."""


@dataclass
class Series:
    """What was measured in one case: microseconds of a request by peer, a value a round; spans sent and arrived."""

    cpu: dict[str, list[float]] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)

    def added(self, name: str) -> list[float]:
        """Over the bare application, round by round."""
        return [a - b for a, b in zip(self.cpu[name], self.cpu["bare"], strict=True)]

    def ratios(self, name: str) -> list[float]:
        """Added CPU of a peer over that of the collector alone, round by round."""
        return [a / b for a, b in zip(self.added(name), self.added("collector"), strict=True) if b > 0]

    def ratio_of_least(self, name: str) -> float:
        """The same from the tenth part of each peer's rounds that were least disturbed."""
        least = {peer: tenth(values) for peer, values in self.cpu.items()}
        return (least[name] - least["bare"]) / (least["collector"] - least["bare"])


def tenth(values: Sequence[float]) -> float:
    """The value below which a tenth of them are."""
    return sorted(values)[len(values) // 10]


def main() -> int:
    """Run the rounds and print the table; 1 where the limit was missed or a span did not arrive."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sentry", description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a slice")
    parser.add_argument("--delay", type=int, default=200, help="OTEL_BSP_SCHEDULE_DELAY, milliseconds")
    parser.add_argument("--json", action="store_true", help="print every single round, too")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        sink = stack.enter_context(Sink())
        children = {}
        for peer in PEERS:
            child = Child(peer.command(), peer.environment(sink, chosen.delay), peer.name)
            children[peer.name] = stack.enter_context(child)
        for child in children.values():
            child.line()
        for child in children.values():
            for case in CASES:
                child.ask({"do": "warm", "case": case, "requests": _WARM})
        sink.forget()
        measured = {case: _measure(case, children, chosen.rounds, chosen.seconds) for case in CASES}
        arrived = _arrived(sink, measured)
    for case, series in measured.items():
        print(_table(case, series))
    print(_delivery(arrived))
    if chosen.json:
        print(json.dumps({case: series.cpu for case, series in measured.items()}))
    reached = all(median(series.ratios("both")) <= LIMIT for series in measured.values())
    return 0 if reached and all(sent == came for sent, came in arrived.values()) else 1


def _measure(case: str, children: Mapping[str, Child], rounds: int, seconds: float) -> Series:
    series = Series({name: [] for name in children}, dict.fromkeys(children, 0))
    for turn in range(rounds):
        for name in order(list(children), turn):
            child = children[name]
            child.ask({"do": "begin", "case": case})
            child.ask({"do": "slice", "case": case, "seconds": seconds})
            answer = child.ask({"do": "end", "case": case})
            series.cpu[name].append(1e6 * answer["cpu_s"] / answer["requests"])
            series.sent[name] += answer["requests"] + _COLD
    return series


def _arrived(sink: Sink, measured: Mapping[str, Series]) -> dict[str, tuple[int, int]]:
    """Spans sent and spans arrived, by path at the sink."""
    found = {}
    for peer in PEERS:
        sent = sum(series.sent[peer.name] * CASES[case] for case, series in measured.items())
        for path in peer.ends():
            found[path] = (sent, sink.spans(path, sent)[0])
    return found


def _table(case: str, series: Series) -> str:
    lines = [f"\n{case}: CPU of a request, us (bare {median(series.cpu['bare']):.1f})"]
    for peer in PEERS[1:]:
        ratios = sorted(series.ratios(peer.name))
        spread = f"[{ratios[len(ratios) // 4]:.2f}, {ratios[len(ratios) * 3 // 4]:.2f}]"
        lines.append(
            f"  {peer.name:<10} +{median(series.added(peer.name)):6.1f}"
            f"   of the collector alone: median {median(ratios):.2f} {spread}, least tenth"
            f" {series.ratio_of_least(peer.name):.2f}"
        )
    return "\n".join(lines)


def _delivery(arrived: Mapping[str, tuple[int, int]]) -> str:
    return "\n".join(["", *[f"{path}: {sent} spans sent, {came} arrived" for path, (sent, came) in arrived.items()]])


if __name__ == "__main__":
    sys.exit(main())
