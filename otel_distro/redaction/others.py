"""URLs and statements on spans that are not ours: contrib's instrumentations write them as they are given.

Ours have none of their secrets when they are put on a span, and so every exit may have them; these are brought there
when the span ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .policy import REDACTED, stays

_URLS = ("url.full", "http.url", "http.target")
_QUERY = "url.query"
_STATEMENTS = ("db.query.text", "db.statement")
_OURS = "otel_distro."
_OTHER_LANGUAGES = frozenset(
    {
        *("redis", "valkey", "memcached", "mongodb", "couchdb", "dynamodb", "aws.dynamodb", "elasticsearch"),
        *("opensearch", "neo4j", "hbase", "geode", "influxdb", "milvus", "pinecone", "qdrant", "weaviate", "chroma"),
    }
)
"""Databases whose statements are no SQL."""


def texts_of_others(attributes: dict[str, Any], scope: str) -> dict[str, Any]:
    """The attributes of a span without the secrets of URLs and the literals of statements; the same where none go.

    A name that `OTEL_DISTRO_REDACTION_KEEP` finds stays as it is. Where a text cannot be looked at, `REDACTED` stands.

    Args:
        attributes: of a span, one of `policy.LOOKED_AT` among them.
        scope: the name of whose tracer made it; ours are clean.
    """
    if scope.startswith(_OURS):
        return attributes
    from . import redact_query, redact_url, sanitize_sql  # who meets no span of others pays for none

    system = str(attributes.get("db.system.name") or attributes.get("db.system") or "")
    clean: dict[str, Callable[[str], str]] = dict.fromkeys(_URLS, redact_url) | {_QUERY: redact_query}
    if system not in _OTHER_LANGUAGES:
        clean |= dict.fromkeys(_STATEMENTS, lambda text: sanitize_sql(text, system))
    changed = {}
    for name, of in clean.items():
        text = attributes.get(name)
        if isinstance(text, str) and not stays(name):
            changed[name] = _tried(of, text)
    return {**attributes, **changed} if changed else attributes


def _tried(clean: Callable[[str], str], text: str) -> str:
    try:
        return clean(text)
    except Exception:  # noqa: BLE001 - a text that no rule expects
        return REDACTED
