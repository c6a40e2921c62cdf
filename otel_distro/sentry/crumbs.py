"""Breadcrumbs from finished client spans: what a request asked of databases, caches and services before it failed.

Spans are only kept, the last few hundred of the process; an event looks for those of its trace.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import StatusCode

from otel_distro._compat import TRACE_ID

_KEPT = 512
MOST = 30
"""Breadcrumbs of one event that come from spans, the newest."""

_CLIENT = SpanKind.CLIENT


class Crumbs(SpanProcessor):
    """Keeps the last finished client spans."""

    def __init__(self) -> None:
        self._spans: deque[ReadableSpan] = deque(maxlen=_KEPT)

    def on_end(self, span: ReadableSpan) -> None:
        """Keep `span`, if it was a call of another service."""
        if span.kind is _CLIENT:
            self._spans.append(span)

    def of(self, trace_id: int) -> list[dict[str, Any]]:
        """Breadcrumbs of one trace, oldest first."""
        spans = [s for s in tuple(self._spans) if s.context is not None and s.context[TRACE_ID] == trace_id]
        return [_crumb(span) for span in spans[-MOST:]]

    def clear(self) -> None:
        """Forget all spans: a forked child's are its own."""
        self._spans.clear()


def _crumb(span: ReadableSpan) -> dict[str, Any]:
    attributes: Mapping[str, Any] = span.attributes or {}
    category, message, data = _told(span.name, attributes)
    crumb: dict[str, Any] = {
        "type": "http" if category == "http" else "query" if category == "query" else "default",
        "category": category,
        "timestamp": datetime.fromtimestamp((span.end_time or 0) / 1e9, UTC),
        "level": "error" if span.status.status_code is StatusCode.ERROR else "info",
    }
    if message:
        crumb["message"] = message
    if data:
        crumb["data"] = data
    return crumb


def _told(name: str, attributes: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Category, message and data; the attributes have no literals and keys in them already."""
    method = attributes.get("http.request.method") or attributes.get("http.method")
    if method:
        url = str(attributes.get("url.full") or attributes.get("http.url") or "")
        status = attributes.get("http.response.status_code") or attributes.get("http.status_code")
        data = {"url": url.partition("?")[0].partition("#")[0], "method": method, "status_code": status}
        return "http", "", {key: value for key, value in data.items() if value}
    system = attributes.get("db.system.name") or attributes.get("db.system")
    if system in {"redis", "valkey"}:
        return "redis", name, {"db.system": system}
    if system:
        text = attributes.get("db.query.text") or attributes.get("db.statement") or name
        return "query", str(text)[:1000], {"db.system": system}
    return "default", name, {}


__all__ = ["Crumbs"]
