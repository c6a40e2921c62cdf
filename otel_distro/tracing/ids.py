"""Random trace and span ids.

The generator is ours, so an application that seeds Python's `random` does not make every process draw the same ids.
"""

from __future__ import annotations

import random

from opentelemetry.sdk.trace.id_generator import IdGenerator


class RandomIds(IdGenerator):
    """Draws ids from a Mersenne Twister seeded by the system; `after_fork` must be called in a forked child.

    Attributes:
        bits: `bits(n)` gives `n` random bits; one C call, so safe between threads under the GIL and in free-threaded
            builds, where CPython locks the generator for the call.
    """

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311 - ids are no secrets
        self.bits = self._random.getrandbits

    def generate_span_id(self) -> int:
        """64 random bits, never zero."""
        return self.bits(64) or 1

    def generate_trace_id(self) -> int:
        """128 random bits, never zero."""
        return self.bits(128) or 1

    def is_trace_id_random(self) -> bool:
        """True: roots carry the random-trace-id flag (W3C Trace Context Level 2, section 3.2.2.5.2)."""
        return True

    def after_fork(self) -> None:
        """Seed anew: parent and child would draw the same ids."""
        self._random.seed()


__all__ = ["RandomIds"]
