"""How the gauges of several workers become one number; everything else here is a sum, which the group adds up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from otel_distro.metrics.identity import Merge

MERGES: Final[Mapping[str, Merge]] = {
    "process.uptime": Merge.MAX,
    "asyncio.event_loop.overdue": Merge.MAX,
}
"""The oldest worker's age, and the worst blocked loop."""
