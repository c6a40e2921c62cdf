"""Servers that die: a backend, both backends, the collector itself. Nothing accepted is lost, nobody else suffers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.collector.traffic import SPANS, send_traces
from tests.servers import tempo_name

if TYPE_CHECKING:
    from tests.servers import Stack, TraceBackend

TRACES = 20
BACKENDS = ("jaeger", tempo_name())


def expect_all(backend: TraceBackend, sent: list[str]) -> None:
    """Wait until the backend shows every trace with all its spans."""
    for trace_id in sent:
        found = backend.wait_for_trace(trace_id, spans=SPANS, seconds=40)
        assert len(found) == SPANS


@pytest.mark.parametrize("dead", [0, 1], ids=BACKENDS)
def test_dead_backend_harms_nobody_and_catches_up(mortal_stack: Stack, dead: int) -> None:
    """One backend killed: the other is complete, the counts are right, and the first is complete after its return."""
    lost, alive = mortal_stack.backends[dead], mortal_stack.backends[1 - dead]
    before = send_traces(mortal_stack.collector.url, "outage", 3)
    expect_all(lost, before)
    lost.kill()
    sent = send_traces(mortal_stack.collector.url, "outage", TRACES)
    expect_all(alive, sent)
    calls = 'sum(traces_span_metrics_calls_total{service_name="outage", span_kind="SPAN_KIND_SERVER"})'
    mortal_stack.prometheus.wait_for_value(calls, len(before) + TRACES)
    lost.start()
    expect_all(lost, before + sent)


def test_both_backends_dead_and_returned(mortal_stack: Stack) -> None:
    """The collector accepts while both backends are dead, and both are complete after their return."""
    for backend in mortal_stack.backends:
        backend.kill()
    sent = send_traces(mortal_stack.collector.url, "both", TRACES)
    for backend in mortal_stack.backends:
        backend.start()
    for backend in mortal_stack.backends:
        expect_all(backend, sent)


def test_killed_collector_loses_no_accepted_span(mortal_stack: Stack) -> None:
    """Spans that wait for dead backends survive kill -9 of the collector and arrive in both."""
    for backend in mortal_stack.backends:
        backend.kill()
    sent = send_traces(mortal_stack.collector.url, "killed", TRACES)
    mortal_stack.collector.wait_for_metric("otelcol_exporter_queue_size", 1, exporter="otlp_grpc/tempo")
    mortal_stack.collector.kill()
    for backend in mortal_stack.backends:
        backend.start()
    mortal_stack.collector.start()
    for backend in mortal_stack.backends:
        expect_all(backend, sent)


def test_collector_starts_and_accepts_before_its_backends(mortal_stack: Stack) -> None:
    """An orderly restart with every server behind it gone is no reason not to accept."""
    for server in (*mortal_stack.backends, mortal_stack.prometheus):
        server.stop()
    mortal_stack.collector.restart()
    sent = send_traces(mortal_stack.collector.url, "early", 3)
    mortal_stack.jaeger.start()
    expect_all(mortal_stack.jaeger, sent)
