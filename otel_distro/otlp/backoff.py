"""How long to wait between attempts."""

from __future__ import annotations

import random

from otel_distro.records import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with full jitter (OTLP specification, "OTLP/HTTP Throttling").

    Attributes:
        first: seconds; the longest wait after the first failure.
        longest: seconds; the longest wait after any.
    """

    first: float = 1.0
    longest: float = 30.0

    def wait(self, failures: int, asked: float | None, chance: random.Random) -> float:
        """Seconds until the next attempt: anything up to the doubled limit, so that a thousand workers spread out.

        Args:
            failures: in a row so far, 1 or more.
            asked: what the server asked for (`Retry-After`), None where it did not; waited in full and a little more.
            chance: a source of randomness that workers do not share.
        """
        limit = min(self.longest, self.first * 2.0 ** min(failures - 1, 30))
        if asked is not None:
            return asked + chance.uniform(0.0, min(limit, 0.1 * asked + self.first))
        return chance.uniform(0.02 * limit, limit)
