"""What leaves the process without its secrets: SQL text, URLs, log messages, attributes and Redis keys.

Every function takes text and gives text, never raises on any string, and takes time linear in its length. The names
below are imported when they are first used: who has no SQL does not pay for its expressions.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it; checkers know the name
if TYPE_CHECKING:
    from .keys import KeyPatterns, key_pattern
    from .messages import redact_error, redact_message
    from .policy import PLACEHOLDER, REDACTED, is_secret_attribute, is_secret_field, is_secret_option
    from .sql import MAX_SQL, sanitize_sql
    from .urls import redact_exception, redact_path, redact_query, redact_target, redact_text, redact_url

_WHERE = {
    "MAX_SQL": "sql",
    "PLACEHOLDER": "policy",
    "REDACTED": "policy",
    "KeyPatterns": "keys",
    "is_secret_attribute": "policy",
    "is_secret_field": "policy",
    "is_secret_option": "policy",
    "key_pattern": "keys",
    "redact_error": "messages",
    "redact_exception": "urls",
    "redact_message": "messages",
    "redact_path": "urls",
    "redact_query": "urls",
    "redact_target": "urls",
    "redact_text": "urls",
    "redact_url": "urls",
    "sanitize_sql": "sql",
}


def __getattr__(name: str) -> object:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = found
    return found


__all__ = [
    "MAX_SQL",
    "PLACEHOLDER",
    "REDACTED",
    "KeyPatterns",
    "is_secret_attribute",
    "is_secret_field",
    "is_secret_option",
    "key_pattern",
    "redact_error",
    "redact_exception",
    "redact_message",
    "redact_path",
    "redact_query",
    "redact_target",
    "redact_text",
    "redact_url",
    "sanitize_sql",
]
