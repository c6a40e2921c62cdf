"""What leaves the process without its secrets: SQL text, URLs, log messages, attributes and Redis keys.

Every function takes text and gives text, never raises on any string, and takes time linear in its length.
"""

from .keys import KeyPatterns, key_pattern
from .messages import redact_message
from .policy import PLACEHOLDER, REDACTED, is_secret_attribute, is_secret_field
from .sql import MAX_SQL, sanitize_sql
from .urls import redact_exception, redact_query, redact_text, redact_url

__all__ = [
    "MAX_SQL",
    "PLACEHOLDER",
    "REDACTED",
    "KeyPatterns",
    "is_secret_attribute",
    "is_secret_field",
    "key_pattern",
    "redact_exception",
    "redact_message",
    "redact_query",
    "redact_text",
    "redact_url",
    "sanitize_sql",
]
