"""Sets the bridge up in one process: spans, errors, links, forks and the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from otel_distro import settings
from otel_distro.guard import Guard
from otel_distro.otlp.endpoint import parse_proxies
from otel_distro.otlp.exporters import build_encoder
from otel_distro.otlp.span_exporter import OtlpSpanExporter
from otel_distro.sampling import FlatSampler
from otel_distro.tracing import BatchQueue

from .spans import Marks, SentrySender

if TYPE_CHECKING:
    from otel_distro.pipeline import Pipeline
    from otel_distro.session import Session

    from .options import Identity

_MEMORY = 8_000_000
"""Most bytes of spans that wait for Sentry; `OTEL_DISTRO_SPOOL_SIZE` where that is less."""
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
    from .bridge import Bridge

    who = identity(sentry, resource)
    provider = pipeline.tracer_provider
    rate, decide = sampling_of(provider)
    bridge = Bridge(sentry, who, guard, decide=decide, profiles=session.serves)
    bridge.begin(session.hooks)
    bridge.observe(provider)
    pipeline.flushes.append(("Sentry", bridge.flush))
    pipeline.endings.append(("Sentry", bridge.flush))
    marks = Marks(who.environment, who.release, rate)
    guard.call("spans to Sentry", None, _send_spans, session, pipeline, marks, bridge.send_transaction)


def identity(sentry: settings.Sentry, resource: Mapping[str, Any]) -> Identity:
    """Environment, release and host, as errors and spans have them."""
    from sentry_sdk.utils import get_default_release

    from .options import Identity

    release = sentry.release
    if release is None:
        version = resource.get("service.version")
        found = f"{resource.get('service.name')}@{version}" if version else get_default_release()
        release = settings.usable_release(found) if found else None
    host = resource.get("host.name") or resource.get("service.instance.id") or ""
    return Identity(sentry.environment or settings.DEFAULT_ENVIRONMENT, release, str(host))


def sampling_of(provider: Any) -> tuple[float, Callable[[int], bool]]:
    """The part of new traces that is recorded, and whether one trace is, by its id."""
    sampler = getattr(provider, "sampler", None)
    if type(sampler) is FlatSampler:
        flat = sampler
        return flat.bound / _EVERY_TRACE, lambda trace_id: flat.decide(None, trace_id)
    return 1.0, lambda trace_id: True


def _send_spans(
    session: Session, pipeline: Pipeline, marks: Marks, send: Callable[[Mapping[str, Any]], object]
) -> None:
    way = session.settings.sentry.spans
    provider: Any = pipeline.tracer_provider
    if way in {"off", "collector"} or provider is None:
        return
    traces, guard = session.settings.traces, session.guard
    if way == "envelope":
        from .envelopes import EnvelopeExporter

        personal = session.settings.sentry.send_default_pii
        exporter = EnvelopeExporter(send, marks, personal=personal, guard=guard)
        provider.add_span_processor(BatchQueue(exporter, batch=traces.batch, guard=guard, name="sentry"))
        return
    sender = _sender(session, marks, guard)
    for exporting in pipeline.exporting:
        # the bytes that are made for the collector serve Sentry as well
        if isinstance(exporting.exporter, OtlpSpanExporter) and exporting.exporter.also(sender):
            return
    encoder = build_encoder("traces", "http/protobuf")
    timeout = session.settings.distro.shutdown_timeout
    own = OtlpSpanExporter(encoder, (sender,), guard, shutdown_timeout=timeout)
    provider.add_span_processor(BatchQueue(own, batch=traces.batch, guard=guard, name="sentry"))


def _sender(session: Session, marks: Marks, guard: Guard) -> SentrySender:
    sentry, distro = session.settings.sentry, session.settings.distro
    if sentry.dsn is None:
        raise ValueError("no DSN")
    return SentrySender(
        sentry.dsn,
        marks,
        guard,
        proxies=parse_proxies(session.environ),
        memory=min(_MEMORY, distro.spool_size),
        most_items=session.settings.traces.batch.max_export_batch_size,
        personal=sentry.send_default_pii,
    )


__all__ = ["begin", "identity", "sampling_of"]
