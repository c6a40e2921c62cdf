"""Redaction with the real binary: what is private never reaches the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.collectorgen.choices import Choice
from tests.collector.generated import GeneratedCollector
from tests.collector.traffic import SPANS, send_traces

if TYPE_CHECKING:
    from pathlib import Path

    from tests.otlp_servers import Certificates

_PRIVATE = {
    "note": "write to jane.doe@example.com",
    "card": "4111111111111111",
    "header": "Bearer abcdef1234567890",
    "db.password": "hunter2hunter2",
    "api_key": "k-123456-k",
}
_SECRETS = (b"jane.doe", b"4111111111111111", b"abcdef1234567890", b"hunter2hunter2", b"k-123456-k")


def test_nothing_private_is_in_the_queues(certificates: Certificates, logs: Path) -> None:
    """With backends that are away, the queue files hold the spans, the marks of what was masked, and none of it."""
    collector = GeneratedCollector(logs, Choice("gateway", redaction=True), certificates)
    # Packed, a secret would not be found either.
    collector.arguments = tuple(
        f"--config=yaml:exporters::otlp_grpc/{name}::queue_compression: none" for name in ("tempo", "jaeger")
    )
    with collector:
        send_traces(collector.url, "shop", 3, **_PRIVATE)
        collector.wait_for_metric("otelcol_ledger_items_total", 3 * SPANS, backend="tempo", stage="received")
        for backend in ("tempo", "jaeger"):
            (queue,) = (collector.data / "queues" / backend).glob("*traces*")
            written = queue.read_bytes()
            assert b"GET /orders/{id}" in written
            assert written.count(b"redaction.masked.count") >= 3
            assert [secret for secret in _SECRETS if secret in written] == []
