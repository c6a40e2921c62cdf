"""Groups of metrics that are switched together, by the names of instruments; an application's own are in none."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

_OURS: Final = ("otel_distro.instrumentation.", "otel_distro.runtime", "otel_distro.own", "opentelemetry.")
_BY_PREFIX: Final = (
    ("http.server.request.body.", "http-sizes"),
    ("http.server.response.body.", "http-sizes"),
    ("http.client.request.body.", "http-sizes"),
    ("http.client.response.body.", "http-sizes"),
    ("sse.", "streams"),
    ("websocket.", "streams"),
    ("http.server.", "http-server"),
    ("http.client.", "http-client"),
    ("db.client.connection", "pools"),
    ("db.client.", "database"),
    ("cache.", "cache"),
    ("process.", "runtime"),
    ("cpython.", "runtime"),
    ("asyncio.event_loop.", "runtime"),
    ("otel_distro.process.", "runtime"),
    ("otel.sdk.", "own"),
    ("otel_distro.", "own"),
)
"""The first that fits tells the group."""
_SYSTEM_METRICS: Final = "opentelemetry.instrumentation.system_metrics"


def group_of(scope: str, name: str) -> str | None:
    """The group of an instrument; None for one that no group has.

    Args:
        scope: the name of its instrumentation scope: only the distro's and OpenTelemetry's own are in groups.
        name: of the instrument, in lower case.
    """
    if not scope.startswith(_OURS):
        return None
    group = next((group for prefix, group in _BY_PREFIX if name.startswith(prefix)), None)
    return "redis" if group == "database" and scope.endswith(".redis") else group


class Groups:
    """Tells which instruments are made.

    Args:
        enabled: the names of the groups that are.
    """

    def __init__(self, enabled: Collection[str]) -> None:
        self._enabled = frozenset(enabled)

    def __contains__(self, group: str) -> bool:
        """Whether the group is made."""
        return group in self._enabled

    def wants(self, scope: str, name: str) -> bool:
        """Whether an instrument is made; contrib's of the process are not beside ours, which have the same names.

        Args:
            scope: as of `group_of`.
            name: as of `group_of`.
        """
        group = group_of(scope, name)
        if scope == _SYSTEM_METRICS:
            return group != "runtime" or "runtime" not in self._enabled
        return group is None or group in self._enabled
