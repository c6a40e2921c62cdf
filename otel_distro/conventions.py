"""What OpenTelemetry's semantic conventions 1.44 lay down for more than one of our rooms."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
"""Of the conventions that our tracers, meters and loggers follow."""

HTTP_DURATION_BOUNDARIES: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds; the advisory bucket boundaries of `http.server.request.duration` and `http.client.request.duration`."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


def exception_type(error: BaseException) -> str:
    """`exception.type`: the class with its module, unless that is built in (semantic conventions, "Exceptions")."""
    kind = type(error)
    module = kind.__module__
    return f"{module}.{kind.__qualname__}" if module and module != "builtins" else kind.__qualname__


def server_of(url: str) -> dict[str, str | int]:
    """`server.address` and `server.port` of a URL; nothing where it has no host."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return {}
    if not host:
        return {}
    # required by the conventions also where it is the scheme's own
    return {"server.address": host} if port is None else {"server.address": host, "server.port": port}
