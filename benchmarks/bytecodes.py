"""`python -m benchmarks.bytecodes`: which functions run how many bytecodes more for a request than without telemetry.

It tells where the time of a request goes, function by function, also in the libraries that have more to do because of
us: a header more, a variable more. Time differs from it where a bytecode calls into C. Whatever runs by the clock is
counted too often, because everything else is a hundred times slower meanwhile.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from benchmarks.environments import prepare
from benchmarks.peers import PEERS, Peer
from benchmarks.processes import whole_run
from benchmarks.servers import Redis, Sink
from benchmarks.site import Site
from benchmarks.workload.cases import CASES, Case

_BASE = "bare"
_NEVER_MS = 3_600_000
"""Exports fall due by their number, as in `benchmarks.instructions`."""


def bytecodes(site: Site, peer: Peer, case: Case, requests: int) -> Counter[str]:
    """Bytecodes of all `requests` by function.

    Raises:
        Failed: the process ended otherwise than it should.
    """
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "bytecodes.json"
        given = ("--case", case.name, "--requests", str(requests), "--output", str(output))
        whole_run(
            site.workload(peer, "bytecodes", *given), site.environment(peer), directory, f"{peer.name}, {case.name}"
        )
        return Counter(json.loads(output.read_text()))


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bytecodes", description=__doc__)
    parser.add_argument("--peer", default="ours", help="a name as of scripts/bench")
    parser.add_argument("--case", default="plain", help="a case of a request")
    parser.add_argument("--requests", type=int, default=1024)
    parser.add_argument("--most", type=int, default=40, help="functions that are shown")
    given = parser.parse_args()
    peers = {peer.name: peer for peer in PEERS if peer.name in {_BASE, given.peer}}
    case = next(case for case in CASES if case.name == given.case)
    of, requests = ("call", case.calls) if case.calls else ("request", 1)
    with ExitStack() as stack:
        sink = stack.enter_context(Sink())
        redis = stack.enter_context(Redis()) if case.needs == "redis" else None
        site = Site(prepare(list(peers.values())), sink, _NEVER_MS, redis)
        number = max(given.requests // requests, 16)
        bare, with_it = (bytecodes(site, peers[name], case, number) for name in (_BASE, given.peer))
    per = number * requests
    more = {name: (with_it[name] - bare[name]) / per for name in {*bare, *with_it}}
    print(f"bytecodes of a {of}: {bare.total() / per:,.0f} without, {sum(more.values()):,.0f} added")
    for name in sorted(more, key=lambda name: -abs(more[name]))[: given.most]:
        print(f"{more[name]:10,.1f} {bare[name] / per:10,.1f}  {name}")


if __name__ == "__main__":
    main()
