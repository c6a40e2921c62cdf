"""What is measured: each role, and each overlay on the gateway."""

from __future__ import annotations

from benchmarks.collector.rig import Setup
from scripts.collectorgen.choices import Choice

_GATEWAY = Choice("gateway")

#: Cost at a fixed rate. The first is what the others are compared with.
STEADY: tuple[Setup, ...] = (
    Setup("gateway", _GATEWAY),
    Setup("gateway, no span metrics", _GATEWAY, red=False),
    Setup("gateway, OTLP/gRPC", _GATEWAY, grpc=True),
    Setup("gateway, senders use gzip", _GATEWAY, gzip=True),
    Setup("gateway, gzip to the backends", _GATEWAY, env=(("OTELCOL_BACKEND_COMPRESSION", "gzip"),)),
    Setup("gateway, fsync", _GATEWAY, env=(("OTELCOL_STORAGE_FSYNC", "true"),)),
    Setup("gateway, `--tls=tls`", Choice("gateway", tls="tls")),
    Setup("gateway, `--tls=mtls --token`", Choice("gateway", tls="mtls", token=True)),
    Setup("gateway, `--redaction`", Choice("gateway", redaction=True)),
    Setup("gateway, `--sentry`", Choice("gateway", sentry=True)),
    Setup(
        "gateway, `--tls=mtls --token --redaction`, senders use gzip",
        Choice("gateway", tls="mtls", token=True, redaction=True),
        gzip=True,
    ),
    Setup("agent", Choice("agent")),
    Setup(
        "agent, `--tls=mtls --token --redaction`, senders use gzip",
        Choice("agent", tls="mtls", token=True, redaction=True),
        gzip=True,
    ),
    Setup("sampling", Choice("sampling")),
)

#: As fast as one core takes it, with the spans a second that are asked of it.
FLAT_OUT: tuple[tuple[Setup, int], ...] = (
    (Setup("gateway, no span metrics", _GATEWAY, red=False), 40_000),
    (Setup("gateway, span metrics, senders use gzip", _GATEWAY, gzip=True), 25_000),
)

#: Both backends away, then back while spans keep coming.
BACKLOG = Setup("gateway", _GATEWAY)
