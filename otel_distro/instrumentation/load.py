"""Loads the instrumentations of a process: ours with contrib's by the arbiter, or contrib's alone as upstream does."""

from __future__ import annotations

import sys
from importlib import import_module

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider

from otel_distro.session import Session

from . import contrib
from .arbiter import Arbiter
from .base import Toolbox
from .table import OURS


def import_needed(session: Session) -> None:
    """Import our instrumentations of the libraries that are there already; `load` does it for later ones.

    Args:
        session: whose settings and guard.
    """
    disabled = session.settings.instrumentation.disabled
    if session.settings.distro.pipeline == "upstream" or "*" in disabled:
        return
    for own in OURS:
        if own.name not in disabled and any(module in sys.modules for module in own.modules):
            session.guard.call(f"instrumentation {own.name}", None, import_module, own.target.partition(":")[0])


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
