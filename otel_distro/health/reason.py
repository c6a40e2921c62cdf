"""The text of what went wrong, fit to be shown: bounded, on one line, without secrets."""

from __future__ import annotations

import re

from otel_distro.guard import one_line
from otel_distro.redaction import REDACTED, redact_exception, redact_message

_LONGEST = 10_000
_BARE = re.compile(r"\b[Bb](?:earer|asic) [\w.~+/=-]{6,}|\b(?:sk|pk|rk|gh[opsu]|xox[abp])[-_][\w-]{8,}")
"""Credentials that say what they are, wherever they stand."""


def safe(error: object) -> str:
    """An exception, or anything that says why, as one line of at most 300 characters.

    URLs lose their credentials, SQLAlchemy's errors their statement and parameters, and what is named or shaped like a
    secret (`password=...`, `Bearer ...`, `sk-...`) its value.

    Args:
        error: for an exception, type and message are told; one whose text raises is told by its type.
    """
    name = f"{type(error).__name__}: " if isinstance(error, BaseException) else ""
    try:
        text = redact_message(redact_exception(str(error)[:_LONGEST]))
    except Exception:  # noqa: BLE001 - somebody else's __str__
        return one_line(type(error).__name__)
    return one_line((name + _BARE.sub(REDACTED, text)).rstrip(": "))
