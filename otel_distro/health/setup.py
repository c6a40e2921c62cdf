"""Joins the health of this process to the running distro: paths, found dependencies, gauges, the end under uvicorn."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from otel_distro import settings
from otel_distro.guard import Guard

from . import dependencies
from .drain import Drain
from .found import Finder
from .gauges import Gauges
from .process import Health

if TYPE_CHECKING:
    from otel_distro.session import Session


@cache
def this_process() -> Health:
    """The health of the running process; with the default settings until `adopt` or `adopt_environment`."""
    return Health(settings.Health(), Guard())


def adopt(session: Session, attributes: Mapping[str, Any]) -> None:
    """Give the process's health its settings, once.

    Args:
        session: of the running distro, with its pipeline built.
        attributes: of its resource.
    """
    health = this_process()
    if health.adopted:
        return
    options, guard = session.settings.health, session.guard
    health.configure(options, guard, attributes)
    declare_urls(health, options.http)
    Finder(health).watch(session.hooks)
    session.hooks.on_import("uvicorn.server", Drain(health, options.drain / 1000).watch_uvicorn)
    if session.pipeline is not None and session.pipeline.meter_provider is not None:
        guard.call("health gauges", None, Gauges, health, session.pipeline.meter_provider)
    if options.enabled == "on":
        session.answers.update(health.routes())
        _name_what_is_missing(session)


def adopt_environment(environ: Mapping[str, str]) -> None:
    """The same where no distro runs: settings from the variables, nothing found, nothing measured."""
    health = this_process()
    if not health.adopted:
        chosen, _ = settings.parse(environ)
        health.configure(chosen.health, health.guard, chosen.general.resource_attributes)
        declare_urls(health, chosen.health.http)
        uvicorn = sys.modules.get("uvicorn.server")
        if uvicorn is not None:
            Drain(health, chosen.health.drain / 1000).watch_uvicorn(uvicorn)


def declare_urls(health: Health, urls: Mapping[str, str]) -> None:
    """Check what `OTEL_DISTRO_HEALTH_HTTP` names; a text that is no URL is named and left out."""
    for name, address in urls.items():
        seconds = health.options.timeout / 1000
        function = health.guard.call(f"OTEL_DISTRO_HEALTH_HTTP: {name}", None, dependencies.url, address, seconds)
        if function is not None:
            health.registry.declare(health.check(name, function, critical=None, timeout=None, cache=None))


def _name_what_is_missing(session: Session) -> None:
    disabled = session.settings.instrumentation.disabled
    if session.settings.distro.pipeline == "upstream" or {"*", "fastapi"} & set(disabled):
        session.guard.warn(
            "OTEL_DISTRO_HEALTH=on answers nothing without our FastAPI instrumentation;"
            " otel_distro.health.mount(app) works without it",
            once="health without instrumentation",
        )
