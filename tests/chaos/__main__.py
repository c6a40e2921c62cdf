"""The long form: every launch for a while, with a real Prometheus and a real collector; see `scripts/chaos --help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.chaos.rounds import LAUNCHES, Round
from tests.servers import Stack

LOGS = Path(__file__).resolve().parents[2] / "test-logs" / "chaos"


def main() -> int:
    """Run the rounds that the command line names; exit status 0 when every number was right."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("launches", nargs="*", metavar="LAUNCH", help=f"of {', '.join(map(repr, LAUNCHES))}; else all")
    parser.add_argument("--seconds", type=float, default=60.0, help="of load for each launch (60)")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two signals (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the signals (0)")
    parser.add_argument("--clients", type=int, default=16, help="requests in flight at most (16)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.launches if name not in LAUNCHES]
    if unknown:
        parser.error(f"no such launch: {unknown[0]!r}")
    wrong = 0
    with Stack(LOGS / "stack") as stack:
        for name in arguments.launches or LAUNCHES:
            one = Round(LAUNCHES[name], LOGS, stack=stack, clients=arguments.clients)
            outcome = one.run(arguments.seconds, pause=arguments.pause, seed=arguments.seed)
            wrong += bool(outcome.wrong)
            print(f"{name}: {outcome.line()}", flush=True)
    print("every number was right" if not wrong else f"{wrong} launches had wrong numbers")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
