"""Spans to Sentry by OTLP: what was encoded for the collector, stamped, with a client and a spool of its own."""

from __future__ import annotations

from typing import NamedTuple

from otel_distro._version import __version__
from otel_distro.guard import Guard
from otel_distro.otlp._batch import PROTOBUF, Encoded
from otel_distro.otlp.client import OtlpClient
from otel_distro.otlp.endpoint import Proxies, parse_endpoint
from otel_distro.otlp.later import Later
from otel_distro.otlp.sender import GATHER, Sender
from otel_distro.otlp.spool import Spool
from otel_distro.settings.dsn import Dsn

from .limits import Limits, SentryWords
from .stamp import Stamp

CLIENT = f"otel-distro/{__version__}"
"""How we name ourselves to Sentry."""
_PACKED = 2048
"""Spans in a packed request; it is made of less than a megabyte in any case."""
_GATHER = 1.0
"""Seconds for which a packed request waits to be full: a thread that wakes up costs more than all else it does."""


class Marks(NamedTuple):
    """What Sentry reads from each span, for it maps nothing of the kind from the resource.

    Attributes:
        environment: as errors have it.
        release: as errors have it, None where nobody knows one.
        sample_rate: the part of traces that is recorded here; Sentry extrapolates its counts by it.
    """

    environment: str
    release: str | None
    sample_rate: float = 1.0

    def attributes(self) -> dict[str, str | float]:
        """As span attributes (sentry-conventions)."""
        found: dict[str, str | float] = {"sentry.environment": self.environment}
        if self.release:
            found["sentry.release"] = self.release
        if 0.0 < self.sample_rate < 1.0:
            found["sentry.client_sample_rate"] = self.sample_rate
        return found


class SentrySender(Sender):
    """Sends encoded spans to a Sentry project.

    What waits does so in memory only: a backlog on disk is the collector's, and one copy is enough. Requests are packed
    where they are encrypted, for who has plain HTTP has a Relay of his own next door. Those are made by this sender's
    thread, which is woken the less often: they are larger, and wait for each other.

    Args:
        dsn: of the project.
        stamp: makes spans of the collector's Sentry's.
        guard: gets what a person has to know.
        proxies: of the process.
        memory: most bytes that wait.
        most_items: most spans in one request; more where they are packed.

    Raises:
        ValueError: the proxy's URL is unusable.
    """

    def __init__(self, dsn: Dsn, stamp: Stamp, guard: Guard, *, proxies: Proxies, memory: int, most_items: int) -> None:
        self._stamp = stamp
        endpoint, limits, later = parse_endpoint(dsn.otlp_traces), Limits(), Later(guard)
        client = OtlpClient(
            endpoint,
            content_type=PROTOBUF,
            headers={"x-sentry-auth": dsn.auth(CLIENT)},
            gzip=endpoint.secure,
            proxies=proxies,
            read=limits.read,
        )
        super().__init__(
            "traces",
            client,
            Spool(memory_limit=memory, directory=None, directory_limit=0, later=later),
            later,
            most_items=max(most_items, _PACKED) if endpoint.secure else most_items,
            words=SentryWords("traces", str(endpoint)),
            held=limits.left,
            gather=_GATHER if endpoint.secure else GATHER,
        )

    def accept(self, batch: Encoded, *, stay: bool) -> None:
        """Take a batch that was encoded for the collector; what could not be encoded is counted there."""
        if not batch.items:
            return
        if self.is_taking:
            batch = self._stamp(batch.groups)
        super().accept(batch._replace(lost=0), stay=stay)


__all__ = ["CLIENT", "Marks", "SentrySender"]
