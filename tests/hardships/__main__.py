"""What the suites try in seconds, in full length, and what they do not try: ./scripts/hardships [case ...]"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.hardships import applications, bad_settings, ends, forks, outage, published, soak

_HELD = 0.99
"""The part of the wanted rate that a drill must reach to count: the last answers are on their way when it is over."""


_GROWN = 1.05
"""Of the memory in the middle of a soak, at its end."""


def _outage(chosen: argparse.Namespace) -> bool:
    with tempfile.TemporaryDirectory() as directory:
        bare = outage.bare(Path(directory), seconds=min(chosen.seconds, 10), rate=chosen.rate)
        outcome = outage.outage(Path(directory), seconds=chosen.seconds, rate=chosen.rate)
    print(outcome)
    for name, (p50, p99, most) in (("without the distro", bare), ("during the outage", outcome.latency)):
        print(f"a request {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {most:.0f} ms")
    held = outcome.rate >= _HELD * chosen.rate
    unharmed = not outcome.lost and not outcome.doubled and not outcome.failed
    return held and unharmed and outcome.counted == outcome.requests


def _forks(chosen: argparse.Namespace) -> bool:
    outcome = forks.forks(chosen.count or 1000)
    print(outcome)
    return not (outcome.hung or outcome.failed or outcome.doubled or outcome.missing or outcome.miscounted)


def _ends(chosen: argparse.Namespace) -> bool:
    del chosen
    good = True
    for how in ("refuses", "hangs"):
        for spans in (0, 1, 2_000, 100_000):
            outcome = ends.end(spans, how)
            print(outcome, flush=True)
            good &= outcome.code == 0 and outcome.took <= ends.BUDGET + ends.BEYOND
    return good


def _settings(chosen: argparse.Namespace) -> bool:
    wrong = [
        f"{name}: {said}" for name, text in bad_settings.wrong().items() if (said := bad_settings.alone(name, text))
    ]
    wrong += [said for seed in range(chosen.count or 200) if (said := bad_settings.fuzzed(seed))]
    print("\n".join(wrong) or "every program ran")
    return not wrong


def _soak(chosen: argparse.Namespace) -> bool:
    with tempfile.TemporaryDirectory() as directory:
        moments = soak.soak(Path(directory), seconds=5 * chosen.seconds)
    # what has limits is full by the middle
    middle, last = moments[len(moments) // 2], moments[-1]
    more, larger = last.requests - middle.requests, (last.memory - middle.memory) / 1e6
    print(f"from the middle to the end: {more:,} requests, {larger:+.1f} MB")
    return last.memory < middle.memory * _GROWN and last.files <= middle.files + 20


def _published(chosen: argparse.Namespace) -> bool:
    return published.main(Path(chosen.cache).expanduser(), chosen.project)


def _applications(chosen: argparse.Namespace) -> bool:
    return applications.main(Path(chosen.cache).expanduser() / "applications", chosen.project)


CASES: dict[str, Callable[[argparse.Namespace], bool]] = {
    "outage": _outage,
    "forks": _forks,
    "ends": _ends,
    "settings": _settings,
    "soak": _soak,
    "published": _published,
    "applications": _applications,
}


def main() -> int:
    """Exit status 0 when every case went as it should."""
    parser = argparse.ArgumentParser(prog="scripts/hardships", description=__doc__)
    parser.add_argument(
        "case",
        nargs="*",
        choices=[[], *CASES],
        default=[],
        metavar="case",
        help=f"{', '.join(CASES)}; all of them without one",
    )
    parser.add_argument(
        "--seconds", type=float, default=60, help="how long the outage lasts; a soak, five times as long"
    )
    parser.add_argument("--rate", type=float, default=200, help="requests a second during the outage")
    parser.add_argument("--count", type=int, default=0, help="how many forks, or random environments")
    parser.add_argument(
        "--cache", default="~/.cache/otel-distro/published", help="where other projects and their suites are kept"
    )
    parser.add_argument("--project", default="", help="one of the projects or applications that are run")
    chosen = parser.parse_args()
    good = True
    for name in chosen.case or CASES:
        began = time.monotonic()
        passed = CASES[name](chosen)
        print(f"{'passed' if passed else 'FAILED'}  {name}  {time.monotonic() - began:.0f} s", flush=True)
        good &= passed
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
