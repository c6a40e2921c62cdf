"""Sets the bridge up in one process: spans, errors, links, forks and the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from otel_distro.components import Component
from otel_distro.metrics import LeanMeterProvider
from otel_distro.otlp.encode_traces import SpanEncoder
from otel_distro.otlp.endpoint import parse_proxies
from otel_distro.otlp.queue import SpanQueue
from otel_distro.otlp.span_exporter import OtlpSpanExporter
from otel_distro.pipeline import Exporting
from otel_distro.sampling import FlatSampler
from otel_distro.tracing.batch import BatchQueue

from .identity import Identity, identity
from .spans import Marks, SentrySender
from .stamp import Stamp, suffix

if TYPE_CHECKING:
    from otel_distro.pipeline import Pipeline
    from otel_distro.session import Session

    from .bridge import Bridge

TESTED = "2.55 to 3.0.0b2"
"""Versions of sentry-sdk that the suites run with."""
_MEMORY = 8_000_000
"""Most bytes of spans that wait for Sentry; `OTEL_DISTRO_SPOOL_SIZE` where that is less."""
_COMPONENT = Component("traces", "otlp_http_span_exporter", "sentry")
_EVERY_TRACE = 1 << 64


def begin(session: Session, pipeline: Pipeline, resource: Mapping[str, Any]) -> None:
    """Set the bridge up for a process whose settings have a DSN; nothing is imported where they have none.

    Args:
        session: with its settings, guard and import hooks.
        pipeline: whose spans go to Sentry as well, and whose end is Sentry's, too.
        resource: attributes of the resource.
    """
    sentry, guard = session.settings.sentry, session.guard
    if sentry.dsn is None:
        return
    if find_spec("sentry_sdk") is None:
        remedy = "pip install 'otel-distro[sentry]'"
        guard.failed("Sentry", "SENTRY_DSN is set and sentry-sdk is not installed", remedy=remedy)
        return
    provider = pipeline.tracer_provider
    rate, decide = sampling_of(provider)
    who = identity(sentry, resource)
    bridge: Bridge | None = None
    try:
        bridge = _bridge(session, pipeline, who, decide)
    except Exception as error:  # noqa: BLE001 - a sentry-sdk that is not as we know it must not cost more than itself
        guard.failed("Sentry", error, remedy=f"errors are not sent; sentry-sdk {TESTED} is known to work")
    marks = Marks(who.environment, who.release, rate)
    # spans need nothing of sentry-sdk, unless they go in its envelopes
    guard.call("spans to Sentry", None, _send_spans, session, pipeline, marks, bridge)


def _bridge(session: Session, pipeline: Pipeline, who: Identity, decide: Callable[[int], bool]) -> Bridge:
    from .bridge import Bridge

    bridge = Bridge(session.settings.sentry, who, session.guard, decide=decide, profiles=session.serves)
    bridge.begin(session.hooks)
    queues = [exporting.queue for exporting in pipeline.exporting if isinstance(exporting.queue, SpanQueue)]
    bridge.observe(pipeline.tracer_provider, queues[0].keep() if queues else None)
    pipeline.flushes.append(("Sentry", bridge.end))
    pipeline.endings.append(("Sentry", bridge.end))
    return bridge


def sampling_of(provider: Any) -> tuple[float, Callable[[int], bool]]:
    """The part of new traces that is recorded, and whether one trace is, by its id."""
    sampler = getattr(provider, "sampler", None)
    if type(sampler) is FlatSampler:
        flat = sampler
        return flat.bound / _EVERY_TRACE, lambda trace_id: flat.decide(None, trace_id)
    return 1.0, lambda trace_id: True


def _send_spans(session: Session, pipeline: Pipeline, marks: Marks, bridge: Bridge | None) -> None:
    way = session.settings.sentry.spans
    provider: Any = pipeline.tracer_provider
    if way in {"off", "collector"} or provider is None:
        return
    traces, guard = session.settings.traces, session.guard
    if way == "envelope":
        if bridge is None:
            return
        from .envelopes import EnvelopeExporter

        personal = session.settings.sentry.send_default_pii
        exporter = EnvelopeExporter(
            bridge.send_transaction, bridge.flush, bridge.lose_spans, marks, personal=personal, guard=guard
        )
        provider.add_span_processor(BatchQueue(exporter, batch=traces.batch, guard=guard, name="sentry"))
        return
    for exporting in pipeline.exporting:
        # the bytes that are made for the collector serve Sentry as well
        if isinstance(exporting.exporter, OtlpSpanExporter) and isinstance(exporting.queue, SpanQueue):
            exporting.exporter.also(_sender(session, marks, exporting.queue.span_encoder))
            return
    encoder = SpanEncoder()
    sender = _sender(session, marks, encoder)
    timeout = session.settings.distro.shutdown_timeout
    own = OtlpSpanExporter(encoder, sender, guard, shutdown_timeout=timeout)
    queue = SpanQueue(own, encoder, batch=traces.batch, guard=guard)
    if isinstance(pipeline.meter_provider, LeanMeterProvider):
        pipeline.meter_provider.settle_before_reading(queue.settle)
    provider.add_span_processor(queue)
    pipeline.exporting.append(Exporting("traces", "sentry", own, queue))
    pipeline.further.append((_COMPONENT, own.stats))


def _sender(session: Session, marks: Marks, encoder: SpanEncoder) -> SentrySender:
    sentry, distro = session.settings.sentry, session.settings.distro
    if sentry.dsn is None:
        raise ValueError("no DSN")
    return SentrySender(
        sentry.dsn,
        Stamp(suffix(marks.attributes()), personal=sentry.send_default_pii, names=encoder.names),
        session.guard,
        proxies=parse_proxies(session.environ),
        memory=min(_MEMORY, distro.spool_size),
        most_items=session.settings.traces.batch.max_export_batch_size,
    )


__all__ = ["begin", "sampling_of"]
