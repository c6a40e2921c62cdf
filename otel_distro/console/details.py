"""The few attributes that explain a span beside its name: stable semantic conventions first, then the old names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind, StatusCode

from .spans import SpanLike
from .text import clean

_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE|JOIN|TABLE)\s+[\"'`\[]?([\w.]+)", re.IGNORECASE)
_LOOKED_AT = 2_000  # characters of a statement that are searched for its table

Attributes = Mapping[str, Any]


def details(span: SpanLike) -> str:
    """A few words, already clean; empty when the name says it all."""
    attributes = span.attributes or {}
    if _first(attributes, "http.request.method", "http.method"):
        words = _http(span, attributes)
    elif _first(attributes, "db.system.name", "db.system"):
        words = _database(span, attributes)
    else:
        words = _other(attributes)
    return " ".join(clean(word) for word in words if word)


def problem(span: SpanLike) -> str:
    """Type and message of the exception a span recorded, else what its status says; empty when all is well."""
    for event in reversed(span.events):
        if event.name == "exception":
            found = event.attributes or {}
            kind = str(found.get("exception.type", "exception"))
            message = str(found.get("exception.message", ""))
            return clean(f"{kind}: {message}" if message else kind)
    if span.status.status_code is not StatusCode.ERROR:
        return ""
    kind = str((span.attributes or {}).get("error.type", ""))
    description = span.status.description or ""
    if kind and not description.startswith(kind):
        return clean(f"{kind}: {description}" if description else kind)
    return clean(description or "error")


def _http(span: SpanLike, attributes: Attributes) -> Iterator[str]:
    method = str(_first(attributes, "http.request.method", "http.method"))
    if method not in span.name:
        yield method
    if span.kind is SpanKind.CLIENT:
        yield _target(attributes)
    else:
        route = str(_first(attributes, "http.route", "url.path", "http.target") or "").partition("?")[0]
        if route and route not in span.name:
            yield route
    yield str(_first(attributes, "http.response.status_code", "http.status_code") or "")


def _target(attributes: Attributes) -> str:
    """Host, port and path of a call; the query is left out, being long and often private."""
    url = str(_first(attributes, "url.full", "http.url") or "")
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parts.netloc.rpartition("@")[2] + parts.path


def _database(span: SpanLike, attributes: Attributes) -> Iterator[str]:
    system = str(_first(attributes, "db.system.name", "db.system"))
    yield system
    statement = str(_first(attributes, "db.query.text", "db.statement") or "")[:_LOOKED_AT]
    operation = str(_first(attributes, "db.operation.name", "db.operation") or statement.partition(" ")[0])
    if operation and not span.name.upper().startswith(operation.upper()):
        yield operation
    table = str(_first(attributes, "db.collection.name", "db.sql.table") or "")
    if not table and system != "redis" and (found := _TABLE.search(statement)):
        table = found[1]
    if table and table not in span.name.split():
        yield table


def _other(attributes: Attributes) -> Iterator[str]:
    for names in (
        ("messaging.system",),
        ("messaging.operation.name", "messaging.operation"),
        ("messaging.destination.name",),
        ("rpc.system.name", "rpc.system"),
        ("rpc.service",),
        ("rpc.method",),
    ):
        yield str(_first(attributes, *names) or "")


def _first(attributes: Attributes, *names: str) -> Any:
    for name in names:
        value = attributes.get(name)
        if value not in (None, ""):
            return value
    return None
