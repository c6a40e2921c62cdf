"""Spans as Sentry transactions, in envelopes of sentry-sdk: for backends that take no OTLP.

A transaction is a local root with everything below it that has ended. A span that ends after its root, or whose root
is in another process, becomes a transaction of its own that names its parent. Sentry takes a thousand spans and a
megabyte for a transaction, and a root that lives for days must not fill memory: what is beyond is lost and counted.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, format_span_id, format_trace_id
from opentelemetry.trace.status import StatusCode

from otel_distro.guard import Guard
from otel_distro.process import in_forked_child

from .limits import MOST_BYTES
from .spans import Marks
from .words import shortened, words

_MOST_TRACES = 500
"""Traces whose root has not ended; of more the oldest is sent as it is."""
_MOST_SPANS = 1_000
"""Spans of one transaction, Sentry's own limit; more of one trace do not wait for a root either."""
_MOST_WAITING = 20_000
"""Spans that wait for their roots, some 16 MB; of more the oldest trace is sent as it is."""
_CUT = 200
"""Characters of each text of a transaction that would be too large."""
_REMEMBERED = 10_000
"""Spans that have been sent, so that one that ends after its parent is known as late."""

_STATUSES = {
    400: "invalid_argument", 401: "unauthenticated", 403: "permission_denied", 404: "not_found", 409: "already_exists",
    429: "resource_exhausted", 499: "cancelled", 501: "unimplemented", 503: "unavailable", 504: "deadline_exceeded",
}  # fmt: skip
_QUEUES = {SpanKind.PRODUCER: "queue.publish", SpanKind.CONSUMER: "queue.process"}
_HIDDEN = ("user.email", "user.name", "url.query", "client.address", "network.peer.address")

Send = Callable[[str, bytes], object]
Json = dict[str, Any]


class EnvelopeExporter(SpanExporter):
    """Builds transactions of finished spans.

    Args:
        send: takes a transaction: its id, and itself as JSON.
        flush: sends what was taken, within so many seconds.
        lose: is told how many spans are not sent.
        marks: environment and release.
        personal: whether query strings, addresses, names and messages of exceptions may leave.
        guard: gets what fails.
    """

    def __init__(
        self,
        send: Send,
        flush: Callable[[float], object],
        lose: Callable[[int], object],
        marks: Marks,
        *,
        personal: bool,
        guard: Guard,
    ) -> None:
        self._send = send
        self._flush = flush
        self._lose = lose
        self._marks = marks
        self._personal = personal
        self._guard = guard
        self._waiting: OrderedDict[int, list[ReadableSpan]] = OrderedDict()
        self._count = 0
        self._sent: OrderedDict[int, None] = OrderedDict()
        in_forked_child(self._after_fork, guard.failed)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take ended spans; those whose root is among them, or has been sent before them, leave now."""
        for span in spans:
            context = span.context
            if context is None:
                continue
            if _is_root(span) or (span.parent is not None and span.parent.span_id in self._sent):
                waiting = self._waiting.pop(context.trace_id, [])
                rest = self._emit(span, waiting)
                self._count -= len(waiting) - len(rest)
                if rest:
                    self._waiting[context.trace_id] = rest
            else:
                self._wait(context.trace_id, span)
        while len(self._waiting) > _MOST_TRACES or self._count > _MOST_WAITING:
            self._emit_oldest()
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 30_000) -> bool:
        """Send what is complete."""
        self._flush(timeout_millis / 1000)
        return True

    def shutdown(self, timeout_millis: float = 2_000) -> None:
        """Send everything, also what waits for a root that will not come any more."""
        while self._waiting:
            self._emit_oldest()
        self._flush(timeout_millis / 1000)

    def _after_fork(self) -> None:
        # what waits is the parent's to send
        self._waiting.clear()
        self._count = 0

    def _wait(self, trace_id: int, span: ReadableSpan) -> None:
        waiting = self._waiting.setdefault(trace_id, [])
        if len(waiting) < _MOST_SPANS:
            waiting.append(span)
            self._count += 1
        else:
            self._lost(1)

    def _lost(self, count: int) -> None:
        self._guard.warn(
            f"a transaction is larger than Sentry takes: {_MOST_SPANS:,} spans or a megabyte; what is beyond is lost"
            " (OTEL_DISTRO_SENTRY_SPANS=otlp has no such limit)",
            once="sentry transaction",
        )
        self._guard.call("Sentry, lost spans", None, self._lose, count)

    def _emit_oldest(self) -> None:
        spans = self._waiting.popitem(last=False)[1]
        self._count -= len(spans)
        self._emit_orphans(spans)

    def _emit_orphans(self, spans: Sequence[ReadableSpan]) -> None:
        """Spans without their root: each topmost one with those below it."""
        known = {span.context.span_id for span in spans if span.context is not None}
        rest = [span for span in spans if span.parent is not None and span.parent.span_id in known]
        for top in [span for span in spans if span not in rest]:
            rest = self._emit(top, rest)

    def _emit(self, root: ReadableSpan, waiting: Sequence[ReadableSpan]) -> list[ReadableSpan]:
        """Send `root` with what is below it of `waiting`, and give back the others."""
        below, rest = _below(root, waiting)
        for span in (root, *below):
            if span.context is not None:
                self._sent[span.context.span_id] = None
        while len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
        if len(below) > _MOST_SPANS:
            self._lost(len(below) - _MOST_SPANS)
        self._guard.call("Sentry, transaction", None, self._build, root, below[:_MOST_SPANS])
        return rest

    def _build(self, root: ReadableSpan, below: Sequence[ReadableSpan]) -> None:
        attributes = root.attributes or {}
        transaction: Json = {
            "type": "transaction",
            "event_id": uuid4().hex,
            "transaction": root.name,
            "transaction_info": {"source": "route" if "http.route" in attributes else "custom"},
            "platform": "python",
            "environment": self._marks.environment,
            "start_timestamp": _time(root.start_time),
            "timestamp": _time(root.end_time),
            "contexts": {"trace": self._span(root), "otel": {"resource": _resource(root)}},
            "spans": [{**self._span(span), "timestamp": _time(span.end_time)} for span in below],
        }
        if self._marks.release:
            transaction["release"] = self._marks.release
        self._send(transaction["event_id"], self._fitting(transaction))

    def _fitting(self, transaction: Json) -> bytes:
        """`transaction` with shorter texts where it is too large, and with fewer spans where that is not enough."""
        encoded = _encoded(transaction)
        if len(encoded) > MOST_BYTES:
            transaction = shortened(transaction, _CUT)
            encoded = _encoded(transaction)
        while len(encoded) > MOST_BYTES and transaction["spans"]:
            kept = len(transaction["spans"]) // 2
            self._lost(len(transaction["spans"]) - kept)
            transaction["spans"] = transaction["spans"][:kept]
            encoded = _encoded(transaction)
        return encoded

    def _span(self, span: ReadableSpan) -> dict[str, Any]:
        attributes = dict(span.attributes or {})
        op, description = operation(span)
        found: Json = {
            **_ids(span.context, span.parent),
            "op": op,
            "description": description,
            "origin": "auto.otel",
            "status": status(span),
            "start_timestamp": _time(span.start_time),
            "data": self._data(attributes),
        }
        if span.links:
            found["links"] = [_ids(link.context, None) for link in span.links]
        if span.status.description:
            text = span.status.description
            found["data"]["sentry.status.message"] = text if self._personal else words(text)
        return found

    def _data(self, attributes: dict[str, Any]) -> dict[str, Any]:
        if not self._personal:
            for name in _HIDDEN:
                attributes.pop(name, None)
            if isinstance(attributes.get("url.full"), str):
                attributes["url.full"] = attributes["url.full"].partition("?")[0].partition("#")[0]
        return {key: _plain(value) for key, value in attributes.items()}


def _below(root: ReadableSpan, spans: Sequence[ReadableSpan]) -> tuple[list[ReadableSpan], list[ReadableSpan]]:
    """Those of `spans` that descend from `root`, and the others."""
    children: dict[int, list[ReadableSpan]] = {}
    for span in spans:
        children.setdefault(span.parent.span_id if span.parent is not None else 0, []).append(span)
    found: list[ReadableSpan] = []
    open_ids = [root.context.span_id] if root.context is not None else []
    while open_ids:
        below = children.pop(open_ids.pop(), [])
        found += below
        open_ids += [span.context.span_id for span in below if span.context is not None]
    return found, [span for group in children.values() for span in group]


def _plain(value: Any) -> Any:
    """A value of an attribute as JSON has it: sentry-sdk loses a transaction with anything else."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value


def _encoded(transaction: Json) -> bytes:
    # half of a surrogate pair, which file names may have, is no JSON to Relay
    return json.dumps(transaction, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _is_root(span: ReadableSpan) -> bool:
    return span.parent is None or span.parent.is_remote


def operation(span: ReadableSpan) -> tuple[str, str]:
    """Sentry's `op` and description of a span, from either generation of semantic conventions."""
    attributes = span.attributes or {}
    if attributes.get("http.request.method") or attributes.get("http.method"):
        return ("http.server" if span.kind is SpanKind.SERVER else "http.client"), span.name
    system = attributes.get("db.system.name") or attributes.get("db.system")
    if system in {"redis", "valkey"}:
        return "db.redis", span.name
    if system:
        return "db", str(attributes.get("db.query.text") or attributes.get("db.statement") or span.name)
    if attributes.get("messaging.system"):
        return _QUEUES.get(span.kind, "message"), span.name
    if attributes.get("rpc.service") or attributes.get("rpc.system"):
        return "rpc", span.name
    return "function" if span.kind is SpanKind.INTERNAL else "default", span.name


def status(span: ReadableSpan) -> str:
    """Sentry's status of a span: of the HTTP response first, else of the span."""
    attributes = span.attributes or {}
    code = attributes.get("http.response.status_code") or attributes.get("http.status_code")
    if isinstance(code, int) and code >= 400:
        return _STATUSES.get(code) or ("internal_error" if code >= 500 else "invalid_argument")
    return "internal_error" if span.status.status_code is StatusCode.ERROR else "ok"


def _ids(own: SpanContext | None, parent: SpanContext | None) -> dict[str, str]:
    found: dict[str, str] = {}
    if own is not None:
        found = {"trace_id": format_trace_id(own.trace_id), "span_id": format_span_id(own.span_id)}
    if parent is not None:
        found["parent_span_id"] = format_span_id(parent.span_id)
    return found


def _resource(span: ReadableSpan) -> dict[str, Any]:
    return {key: value for key, value in span.resource.attributes.items() if key.startswith(("service.", "host."))}


def _time(nanoseconds: int | None) -> str:
    moment = datetime.fromtimestamp((nanoseconds or 0) / 1e9, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


__all__ = ["EnvelopeExporter", "operation", "status"]
