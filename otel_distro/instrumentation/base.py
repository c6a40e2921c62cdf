"""What an instrumentation of ours is given and what it offers; the arbiter knows no more of them than this."""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar, Protocol

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from otel_distro import settings
from otel_distro.answers import Answers
from otel_distro.guard import Guard
from otel_distro.records import dataclass, field


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What every instrumentation is built from.

    Attributes:
        tracer_provider: usually the lean one, but any that implements the API works.
        meter_provider: likewise.
        settings: which libraries, URLs, headers and methods.
        guard: where failures go.
        answers: paths that the distro answers on the application's port.
    """

    tracer_provider: TracerProvider
    meter_provider: MeterProvider
    settings: settings.Instrumentation
    guard: Guard
    answers: Answers = field(default_factory=lambda: Answers(Guard()))


class Instrumentation(Protocol):
    """One library's instrumentation.

    Attributes:
        name: the entry-point name under which users know and disable it (`fastapi`, `sqlalchemy`, `redis`, ...).
    """

    name: ClassVar[str]

    def __init__(self, toolbox: Toolbox) -> None: ...

    def instrument(self, module: ModuleType) -> None:
        """Patch `module`, which has just been imported; called once for each of the table's modules, and idempotent."""

    def uninstrument(self) -> None:
        """Take every patch back."""
