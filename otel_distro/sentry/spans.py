"""Spans to Sentry by OTLP: the batch that the collector gets, stamped, with a client and a spool of its own."""

from __future__ import annotations

from typing import NamedTuple

from otel_distro._version import __version__
from otel_distro.guard import Guard
from otel_distro.otlp._batch import Encoded, breathe
from otel_distro.otlp.endpoint import Proxies, parse_endpoint
from otel_distro.otlp.sender import Sender
from otel_distro.otlp.spool import Spool
from otel_distro.otlp.voice import Later
from otel_distro.settings.dsn import Dsn

from .limits import Limits, SentryClient, SentryVoice
from .stamp import stamped, suffix

CLIENT = f"otel-distro/{__version__}"
"""How we name ourselves to Sentry."""


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

    What waits does so in memory only: a backlog on disk is the collector's, and one copy is enough.

    Args:
        dsn: of the project.
        marks: put on each span.
        guard: gets what a person has to know.
        proxies: of the process.
        memory: most bytes that wait.
        most_items: most spans in one request.
        personal: whether query strings, addresses, names and messages of exceptions may leave.

    Raises:
        ValueError: the proxy's URL is unusable.
    """

    def __init__(
        self,
        dsn: Dsn,
        marks: Marks,
        guard: Guard,
        *,
        proxies: Proxies,
        memory: int,
        most_items: int,
        personal: bool,
    ) -> None:
        endpoint = parse_endpoint(dsn.otlp_traces)
        last = suffix(marks.attributes())
        client = SentryClient(
            endpoint,
            auth=dsn.auth(CLIENT),
            proxies=proxies,
            limits=Limits(),
            fit=lambda body: stamped(body, last, personal=personal, breathe=breathe),
        )
        later = Later(guard)
        spool = Spool(memory_limit=memory, directory=None, directory_limit=0, later=later)
        super().__init__("traces", client, spool, later, most_items=most_items, voice=SentryVoice(later, endpoint))

    def accept(self, batch: Encoded, *, stay: bool) -> None:
        """Take a batch that was encoded for the collector; what could not be encoded is counted there."""
        if batch.items:
            super().accept(batch._replace(lost=0), stay=stay)


__all__ = ["CLIENT", "Marks", "SentrySender"]
