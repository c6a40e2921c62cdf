"""What only this distro has a word for."""

from __future__ import annotations

from otel_distro.settings._values import TEXT, choice, integer
from otel_distro.settings._variable import OURS, Record, variable


class Distro(Record):
    """What only this distro has a word for."""

    pipeline: str = variable(
        "OTEL_DISTRO_PIPELINE",
        choice("lean", "upstream"),
        "lean",
        "`upstream` runs the unmodified SDK and contrib's instrumentations.",
        source=OURS,
    )
    shutdown_timeout: int = variable(
        "OTEL_DISTRO_SHUTDOWN_TIMEOUT",
        integer(0, 600_000),
        2000,
        "Milliseconds all signals together may take to leave at exit.",
        source=OURS,
    )
    spool_size: int = variable(
        "OTEL_DISTRO_SPOOL_SIZE",
        integer(0, 1_000_000_000_000),
        32_000_000,
        "Most bytes of one signal that wait, in memory or in the directory, while the collector is away.",
        source=OURS,
    )
    spool_dir: str | None = variable(
        "OTEL_DISTRO_SPOOL_DIR",
        TEXT,
        None,
        "Directory where waiting batches survive the process.",
        source=OURS,
    )
