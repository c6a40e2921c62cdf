"""From the phase and the results to a status code and a JSON object; the table is in `docs/health.md`."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from .check import Check
from .lifecycle import Lifecycle, Phase
from .result import Result, Status

Outcome = tuple[Check, Result]
OK, UNAVAILABLE = 200, 503


class Kind(Enum):
    """Which question a path answers."""

    LIVE = "live"
    BASIC = "health"
    READY = "ready"
    DETAILED = "detailed"

    @property
    def checks(self) -> bool:
        """Whether dependencies are asked."""
        return self in {Kind.READY, Kind.DETAILED}


@dataclass(frozen=True, slots=True)
class Identity:
    """Which service answers: what the resource says.

    Attributes:
        service: `service.name`.
        version: `service.version`.
        environment: `deployment.environment.name`.
    """

    service: str | None = None
    version: str | None = None
    environment: str | None = None

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Identity:
        """From resource attributes."""
        environment = attributes.get("deployment.environment.name") or attributes.get("deployment.environment")
        return cls(_text(attributes.get("service.name")), _text(attributes.get("service.version")), _text(environment))


def verdict(phase: Phase, outcomes: Sequence[Outcome]) -> tuple[int, Status]:
    """The status code of a readiness probe, and how the dependencies are together."""
    overall = Status.UP
    for check, result in outcomes:
        if result.status is Status.DOWN and check.critical:
            overall = Status.DOWN
        elif result.status is not Status.UP and overall is Status.UP:
            overall = Status.DEGRADED
    ready = phase is Phase.RUNNING and overall is not Status.DOWN
    return (OK if ready else UNAVAILABLE), overall


def answer(
    kind: Kind, lifecycle: Lifecycle, outcomes: Sequence[Outcome], identity: Identity, *, details: bool
) -> tuple[int, bytes]:
    """Status code and body.

    Args:
        kind: of the path.
        lifecycle: of the process.
        outcomes: of the checks, empty where the path asks none.
        identity: of the service.
        details: whether the caller may see more than the status.
    """
    code, overall = verdict(lifecycle.phase, outcomes) if kind.checks else (OK, Status.UP)
    body: dict[str, Any] = {"status": _word(kind, lifecycle.phase, code, overall)}
    if details:
        body["timestamp"] = _moment(datetime.now(UTC))
        body["uptime_seconds"] = round(lifecycle.uptime, 3)
        body["phase"] = lifecycle.phase.value
        body["service"] = identity.service
        body["version"] = identity.version
        body["environment"] = identity.environment
        body["python"] = platform.python_version()
        if lifecycle.phase is Phase.STARTING:
            body["waiting_for"] = lifecycle.reasons
        if kind.checks:
            body["checks"] = {check.name: _shown(check, result) for check, result in outcomes}
    return code, json.dumps(body, separators=(",", ":")).encode()


_HEALTHY = {Status.UP: "healthy", Status.DEGRADED: "degraded", Status.DOWN: "unhealthy"}


def _word(kind: Kind, phase: Phase, code: int, overall: Status) -> str:
    if kind is Kind.LIVE:
        return "alive"
    if kind is Kind.BASIC:
        return "healthy"
    if phase is not Phase.RUNNING:
        return str(phase.value)
    if kind is Kind.READY:
        return "ready" if code == OK else "not ready"
    return _HEALTHY[overall]


def _shown(check: Check, result: Result) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "status": result.status.value,
        "critical": check.critical,
        "latency_ms": None if result.seconds is None else round(result.seconds * 1000, 2),
        "timestamp": _moment(datetime.fromtimestamp(result.at, UTC)),
    }
    if result.reason is not None:
        shown["error"] = result.reason
    if result.details:
        shown["details"] = dict(result.details)
    return shown


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(value: object) -> str | None:
    return None if value is None else str(value)
