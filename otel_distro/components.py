"""Processors and exporters as the semantic conventions name them.

Source: semantic conventions 1.44, "OpenTelemetry SDK metrics".
"""

from __future__ import annotations

from otel_distro.records import dataclass


@dataclass(frozen=True, slots=True)
class Component:
    """A processor or an exporter.

    Attributes:
        signal: `traces`, `metrics` or `logs`.
        type: `otel.component.type`.
        name: tells it from others of its type: the exporter's, as the settings have it.
    """

    signal: str
    type: str
    name: str

    @property
    def attributes(self) -> dict[str, str | int]:
        """Of all its metrics."""
        return {"otel.component.type": self.type, "otel.component.name": f"{self.type}/{self.name}"}


__all__ = ["Component"]
