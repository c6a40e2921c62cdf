"""The numbers of one sender; a module of its own, for most processes never ask."""

from __future__ import annotations

from collections.abc import Mapping

from otel_distro.records import dataclass


@dataclass(frozen=True, slots=True)
class SenderStats:
    """What one sender has done in this process; numbers are spans, points or records unless said otherwise.

    Attributes:
        signal: `traces`, `metrics` or `logs`.
        endpoint: where to, without credentials.
        sent: delivered.
        dropped: lost, by reason.
        queued: waiting, in memory and files.
        queued_bytes: their size.
        requests: attempts that came to an end; one under way is no success that would be taken back.
        failures: attempts that failed.
        latency: seconds the last delivered request took; 0.0 before the first.
        away_for: seconds since the collector went away; None while it answers.
        off: why nothing is sent at all; empty while it is.
    """

    signal: str
    endpoint: str
    sent: int
    dropped: Mapping[str, int]
    queued: int
    queued_bytes: int
    requests: int
    failures: int
    latency: float
    away_for: float | None
    off: str
