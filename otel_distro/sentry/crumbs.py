"""Breadcrumbs from finished client spans: what a request asked of databases, caches and services before it failed.

Nothing is done for them before there is an event, which looks for the calls of its trace among the spans that wait to
be sent or have just been. Where these are not kept encoded by a queue of ours, the last few hundred are kept here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import StatusCode

from otel_distro._compat import TRACE_ID
from otel_distro.otlp._batch import Piece

from .wire import Call, call_of

_KEPT = 512
MOST = 30
"""Breadcrumbs of one event that come from spans, the newest."""

_CLIENT = SpanKind.CLIENT


class Crumbs(SpanProcessor):
    """Finds finished client spans.

    Args:
        recent: the encoded spans that wait or have just been sent; None where this is to be a span processor.
    """

    def __init__(self, recent: Callable[[], Sequence[Piece]] | None = None) -> None:
        self.recent = recent
        self._spans: deque[ReadableSpan] = deque(maxlen=_KEPT)

    def on_end(self, span: ReadableSpan) -> None:
        """Keep `span`, if it was a call of another service."""
        if span.kind is _CLIENT:
            self._spans.append(span)

    def of(self, trace_id: int) -> list[dict[str, Any]]:
        """Breadcrumbs of one trace, in the order in which its calls ended."""
        found = self._kept(trace_id) if self.recent is None else _read(self.recent(), trace_id)
        return [_crumb(call) for call in found[-MOST:]]

    def _kept(self, trace_id: int) -> list[Call]:
        spans = [s for s in tuple(self._spans) if s.context is not None and s.context[TRACE_ID] == trace_id]
        return [
            Call(s.name, s.attributes or {}, s.end_time or 0, s.status.status_code is StatusCode.ERROR)  # type: ignore[arg-type]  # of all values texts and numbers are read
            for s in spans
        ]

    def clear(self) -> None:
        """Forget all spans: a forked child's are its own."""
        self._spans.clear()


def _read(pieces: Sequence[Piece], trace_id: int) -> list[Call]:
    calls = [call_of(encoded, trace_id) for _, _, encoded in pieces]
    return [call for call in calls if call is not None]


def _crumb(call: Call) -> dict[str, Any]:
    category, message, data = _told(call.name, call.attributes)
    crumb: dict[str, Any] = {
        "type": "http" if category == "http" else "query" if category == "query" else "default",
        "category": category,
        "timestamp": datetime.fromtimestamp(call.ended / 1e9, UTC),
        "level": "error" if call.failed else "info",
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
