"""What a user of each peer writes in code, and how each is told to send what it holds."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from fastapi import FastAPI
from sqlalchemy import Engine


def _nothing() -> None:
    """A peer that holds nothing back, or needs no line of code."""


def _no_wiring(_app: FastAPI, _engine: Engine | None) -> None:
    """A peer that finds applications by itself."""


_INSTRUMENTORS = {
    "sqlalchemy": {"sqlalchemy": "SQLAlchemyInstrumentor"},
    "redis": {"redis": "RedisInstrumentor"},
    "httpx": {"httpx": "HTTPXClientInstrumentor"},
    "requests": {"requests": "RequestsInstrumentor", "urllib3": "URLLib3Instrumentor"},
}
"""Contrib's classes, by which ours is switched too: of a library, and of one below it that would speak in its place."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Wiring of a peer: `before` any application exists, `wire` for each application, `flush` after a round.

    `switch` takes the telemetry of an application away and gives it back, `library` that of a library (which it names,
    with the application's engine), where the peer can do that while it runs.
    """

    before: Callable[[], None] = _nothing
    wire: Callable[[FastAPI, Engine | None], None] = _no_wiring
    flush: Callable[[], None] = _nothing
    switch: Callable[[FastAPI, bool], None] | None = None
    library: Callable[[str, Engine, bool], None] | None = None


def setup(name: str) -> Setup:
    """The wiring a peer names; imports only that peer.

    Raises:
        KeyError: no such wiring.
    """
    return _SETUPS[name]()


def _opentelemetry() -> Setup:
    from opentelemetry import metrics, trace

    def flush() -> None:
        for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
            force_flush = getattr(provider, "force_flush", None)
            if force_flush is not None:
                force_flush(30_000)

    # contrib's own builds the application's middlewares anew each time
    return Setup(flush=flush, switch=_switch if "otel_distro" in sys.modules else None, library=_library)


def _switch(app: FastAPI, on: bool) -> None:
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    (FastAPIInstrumentor.instrument_app if on else FastAPIInstrumentor.uninstrument_app)(app)


def _library(name: str, engine: Engine, on: bool) -> None:
    for below, instrumentor_name in _INSTRUMENTORS[name].items():
        package = f"opentelemetry.instrumentation.{below}"
        if below != name and find_spec(package) is None:
            continue  # contrib is measured without it
        instrumentor = getattr(import_module(package), instrumentor_name)()
        if on:
            # an engine that is there already has to be named; the others know theirs by class
            instrumentor.instrument(**({"engine": engine} if name == "sqlalchemy" else {}))
        else:
            instrumentor.uninstrument()


def _contrib_tuned() -> Setup:
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    def wire(app: FastAPI, _engine: Engine | None) -> None:
        FastAPIInstrumentor.instrument_app(app, exclude_spans=["send", "receive"])

    return Setup(wire=wire, flush=_opentelemetry().flush)


def _ddtrace() -> Setup:
    from ddtrace.trace import tracer

    return Setup(flush=tracer.flush)


def _sentry() -> Setup:
    import sentry_sdk

    def before() -> None:
        sentry_sdk.init(
            traces_sample_rate=float(os.environ["SENTRY_TRACES_SAMPLE_RATE"]),
            transport_queue_size=65_536,
        )

    return Setup(before=before, flush=lambda: sentry_sdk.flush(timeout=60))


def _logfire() -> Setup:
    import logfire

    def before() -> None:
        logfire.configure(send_to_logfire=False, console=False, inspect_arguments=False)
        logfire.instrument_redis()
        logfire.instrument_httpx()
        logfire.instrument_requests()

    def wire(app: FastAPI, engine: Engine | None) -> None:
        logfire.instrument_fastapi(app)
        if engine is not None:
            logfire.instrument_sqlalchemy(engine=engine)

    return Setup(before, wire, lambda: bool(logfire.force_flush()) and None)


def _prometheus() -> Setup:
    import prometheus_client
    from prometheus_fastapi_instrumentator import Instrumentator

    def wire(app: FastAPI, _engine: Engine | None) -> None:
        Instrumentator().instrument(app).expose(app)

    # A scrape is to it what an export is to the others.
    return Setup(wire=wire, flush=lambda: bool(prometheus_client.generate_latest()) and None)


_SETUPS: dict[str, Callable[[], Setup]] = {
    "nothing": Setup,
    "opentelemetry": _opentelemetry,
    "contrib_tuned": _contrib_tuned,
    "ddtrace": _ddtrace,
    "sentry": _sentry,
    "logfire": _logfire,
    "prometheus": _prometheus,
}
