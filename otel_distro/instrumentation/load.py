"""Loads the instrumentations of a process: ours with contrib's by the arbiter, or contrib's alone as upstream does."""

from __future__ import annotations

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider

from otel_distro.session import Session

from . import contrib
from .arbiter import Arbiter
from .base import Toolbox
from .table import OURS


def load(session: Session) -> None:
    """Load every instrumentation that the settings leave on, each in its own guard.

    Args:
        session: with its pipeline built; `session.decisions` tells afterwards who instruments what.
    """
    chosen = session.settings.instrumentation
    if session.settings.distro.pipeline == "upstream":
        decided = contrib.load(disabled=chosen.disabled, guard=session.guard)
        session.decisions = lambda: decided
        return
    if session.pipeline is None:
        return
    toolbox = Toolbox(
        tracer_provider=session.pipeline.tracer_provider or NoOpTracerProvider(),
        meter_provider=session.pipeline.meter_provider or NoOpMeterProvider(),
        settings=chosen,
        guard=session.guard,
        answers=session.answers,
    )
    arbiter = Arbiter(OURS, toolbox, session.hooks)
    session.decisions = lambda: arbiter.decisions
    arbiter.begin()
