"""The collector's benchmark in its shortest form: what it counts is true. Figures: docs/sizing.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.collector import measure
from benchmarks.collector.report import PAGE, page
from benchmarks.collector.results import FILE, Results
from benchmarks.collector.rig import Setup
from scripts.collectorgen.choices import Choice

if TYPE_CHECKING:
    from pathlib import Path

    from tests.otlp_servers import Certificates

_PRODUCTION = Setup("production", Choice("gateway", tls="mtls", token=True, redaction=True), gzip=True)


def test_every_span_of_a_load_is_in_both_backends_once(certificates: Certificates, logs: Path) -> None:
    """Two seconds of Python's requests through mTLS, token, gzip and redaction: acknowledged, none missing or twice."""
    found = measure.steady(_PRODUCTION, logs, certificates, rate=4000, seconds=2, warm_up=0.5)
    assert list(found.answers) == ["200"]
    assert found.sent >= 3 * 512
    assert (found.missing, found.duplicates) == (0, 0)
    assert found.span_bytes > 600
    assert found.cpu_us > 0
    assert found.anonymous > 0


def test_the_page_is_made_of_the_committed_figures() -> None:
    """docs/sizing.md says what results.json holds, and there nothing that was acknowledged is missing or twice."""
    results = Results.load(FILE)
    assert PAGE.read_text() == page(results)
    rows = [*results.steady(), *results.flat_out()]
    assert [row.title for row in rows if row.missing or row.duplicates] == []
    assert (results.backlog["missing"], results.backlog["duplicates"], results.backlog["refused"]) == (0, 0, 0)
