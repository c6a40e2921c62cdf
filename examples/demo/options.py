"""The command line of the demo; standard library only, so that it is read before anything is installed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for; a port that is None is to be a free one."""

    stack: bool
    keep: bool
    orders_port: int | None
    inventory_port: int | None
    rounds: int
    picture: Path | None

    @property
    def ports(self) -> dict[str, int | None]:
        """Ports of both services and of their metrics, by name."""
        named = {"orders": self.orders_port, "inventory": self.inventory_port}
        return named | {"orders-metrics": None, "inventory-metrics": None}


def parse(arguments: Sequence[str] | None) -> Options:
    """Read the command line; ends the process on `--help` and on bad input."""
    parser = argparse.ArgumentParser(
        prog="demo",
        description="Two FastAPI services without a line of telemetry code, traced and measured across both.",
    )
    parser.add_argument(
        "--stack", action="store_true", help="use the collector, Jaeger, Tempo, Prometheus, Redis, PostgreSQL"
    )
    parser.add_argument("--keep", action="store_true", help="leave all running until Ctrl-C")
    parser.add_argument("--orders-port", type=_port, metavar="PORT", help="a port for orders (default: a free one)")
    parser.add_argument("--inventory-port", type=_port, metavar="PORT", help="a port for inventory")
    parser.add_argument(
        "--rounds", type=_positive, default=3, metavar="N", help="how much to send (default: %(default)s)"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="also write the trace as an SVG")
    return Options(**vars(parser.parse_args(arguments)))


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65_536:
        raise argparse.ArgumentTypeError(f"{port} is no port: 1 to 65535")
    return port


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
