"""Log messages without credentials."""

from __future__ import annotations

import re

from .policy import REDACTED, further, is_secret_field
from .urls import redact_exception, redact_text

_NAME = re.compile(r"(?<![\w.-])(?P<name>[A-Za-z][\w.-]{1,48}+)[\"']?\s?(?:=>|[=:])\s{0,2}")
_VALUE = re.compile(r"[bu]?\"[^\"\n]*\"?|[bu]?'[^'\n]*'?|(?:(?:Bearer|Basic|Digest|Token)\s+)?[^\s,;&\"'()\[\]{}]+")
_SCHEME = re.compile(r"\b([Bb]earer|[Bb]asic)\s+(?=[\w.~+/-]*[A-Z\d=])[\w.~+/=-]{6,}")
_COOKIES = re.compile(r"(?P<head>cookie[\"']?\s?[=:]\s{0,2})[^\n]*", re.IGNORECASE)
# what begins like one and has no second part is taken too, or the same text would be searched from each of its dashes
_JWT = re.compile(r"\beyJ[\w-]{6,}+(?P<rest>\.[\w-]+(?:\.[\w-]*)?)?")


def redact_message(text: str) -> str:
    """A log message without URLs' secrets, credentials by name (`password=...`, `Authorization: ...`), JWTs and what
    `redact_exception` hides.

    Most messages are only looked at with a few substring searches.
    """
    if "=" in text or ":" in text:
        if "://" in text:
            text = redact_text(text)
        low = text.lower()
        if (
            "pass" in low
            or "auth" in low
            or "cookie" in low
            # two letters first, where two words share them: each search costs every message
            or ("ke" in low and ("token" in low or "key" in low))
            or ("se" in low and ("secret" in low or "sess" in low))
            or ("si" in low and ("sid" in low or "signature" in low))
            or "credent" in low
            or "jwt" in low
            or "dsn" in low
            or "pin" in low
            or "otp" in low
            or "pw" in low
        ):
            if "cookie" in low:
                text = _COOKIES.sub(rf"\g<head>{REDACTED}", text)
            text = _without_values(text)
        if "\n[" in text or "key (" in low:
            text = redact_exception(text)
    if "earer " in text or "asic " in text:
        text = _SCHEME.sub(rf"\1 {REDACTED}", text)
    if "eyJ" in text:
        text = _JWT.sub(lambda found: REDACTED if found["rest"] else found[0], text)
    return further("body", text)


def _without_values(text: str) -> str:
    parts: list[str] = []
    at = 0
    for match in _NAME.finditer(text):
        if match.start() < at or not is_secret_field(match["name"]):
            continue
        value = _VALUE.match(text, match.end())
        if value is not None:
            parts += text[at : match.end()], REDACTED
            at = value.end()
    return "".join([*parts, text[at:]]) if parts else text
