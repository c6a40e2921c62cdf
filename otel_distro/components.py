"""Processors and exporters as the semantic conventions name them.

Source: semantic conventions 1.44, "OpenTelemetry SDK metrics".
"""

from __future__ import annotations

from urllib.parse import urlsplit

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


def server_of(endpoint: str) -> dict[str, str | int]:
    """`server.address` and `server.port` of a URL; nothing where it has none."""
    try:
        parts = urlsplit(endpoint)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return {}
    attributes: dict[str, str | int] = {} if not parts.hostname else {"server.address": parts.hostname}
    return attributes if port is None or not attributes else {**attributes, "server.port": port}


__all__ = ["Component", "server_of"]
