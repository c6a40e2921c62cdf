"""A bench for health: one process's health without a process, its routes driven by hand."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from otel_distro import settings
from otel_distro.guard import Guard
from otel_distro.health.process import Health
from tests.asgi_rig import drive, scope_of

HERE: dict[str, Any] = {"client": ("127.0.0.1", 40_000), "headers": {"host": "localhost:8000"}}
"""What a request from this machine looks like."""

_PATIENT = {"OTEL_DISTRO_HEALTH_TIMEOUT": "60000"}
"""A busy machine may need longer than by default until a check's thread has a processor."""


class HealthRig:
    """Health with its lines kept.

    Args:
        environ: settings, as environment variables.
        attributes: of the resource.

    Attributes:
        lines: the guard's warnings.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, attributes: Mapping[str, str] | None = None) -> None:
        self.lines: list[str] = []
        guard = Guard(level=logging.WARNING, output=lambda _, text: self.lines.append(text))
        options = settings.parse({**_PATIENT, **(environ or {})})[0].health
        self.health = Health(options, guard)
        self.health.configure(options, guard, attributes or {})

    def check(self, name: str, function: Any, *, critical: bool | None = True, **more: Any) -> None:
        """Declare a check."""
        times = {"timeout": None, "cache": None, **more}
        self.health.registry.declare(self.health.check(name, function, critical=critical, **times))

    def runs(self, name: str) -> int:
        """How often a check has run."""
        return next(probe.runs for probe in self.health.registry.probes() if probe.check.name == name)

    async def ask(self, path: str, method: str = "GET", **more: Any) -> tuple[int, Any]:
        """Status and decoded body of one request; None for an empty body."""
        start, body = await drive(self.health.routes()[path], scope_of(path, method, **more))
        return start["status"], json.loads(body["body"]) if body["body"] else None
