"""scripts/collector-config: print one configuration, or write the files of collector/configs/."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

from scripts.collectorgen.choices import COMMITTED, PURPOSES, ROLES, Choice, Detect, Logs, Metrics, Tls, Unfit
from scripts.collectorgen.roles import configuration_text

FOLDER = Path(__file__).resolve().parents[2] / "collector" / "configs"


def write() -> None:
    """Write every committed file, and remove those that are no longer made."""
    FOLDER.mkdir(exist_ok=True)
    wanted = {FOLDER / f"{choice.name}.yaml": choice for choice in COMMITTED}
    for path in set(FOLDER.glob("*.yaml")) - set(wanted):
        path.unlink()
    for path, choice in wanted.items():
        path.write_text(configuration_text(choice))


def main(arguments: list[str]) -> int:
    """Exit status 0; 2 and one line for a combination that does not fit."""
    roles = "\n".join(f"  {role:10} {purpose}" for role, purpose in PURPOSES.items())
    parser = argparse.ArgumentParser(
        prog="scripts/collector-config",
        description=f"A complete collector configuration on standard output.\n\nroles:\n{roles}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("role", choices=(*ROLES, "write"), help="`write` renews collector/configs/")
    parser.add_argument("--tls", choices=get_args(Tls), default="none")
    parser.add_argument("--token", action="store_true", help="senders need a bearer token")
    parser.add_argument("--redaction", action="store_true", help="personal data is removed before it is queued")
    parser.add_argument("--sentry", action="store_true", help="spans go to Sentry as well")
    parser.add_argument("--metrics", choices=get_args(Metrics), default="otlp")
    parser.add_argument("--logs", choices=get_args(Logs), default="none")
    parser.add_argument("--detect", choices=get_args(Detect), default="none", help="needs `build-collector agent`")
    chosen = vars(parser.parse_args(arguments))
    if chosen["role"] == "write":
        write()
        return 0
    try:
        sys.stdout.write(configuration_text(Choice(**chosen)))
    except Unfit as unfit:
        print(f"collector-config: {unfit}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
