"""What a collector's answer means (OTLP specification, "OTLP/HTTP Response")."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

LONGEST_RETRY_AFTER = 300.0
"""Seconds; a server that asks for more is asked again after this."""

_RETRYABLE = frozenset({429, 502, 503, 504})
_REJECTED_NAMES = ("rejectedSpans", "rejectedDataPoints", "rejectedLogRecords")
_LONGEST_MESSAGE = 200


class NoAnswer(OSError):
    """The other side closed the connection before the first byte of an answer."""


class Result(Enum):
    """What becomes of a batch after one attempt."""

    ACCEPTED = "accepted"
    """Delivered, perhaps not all of it."""
    RETRY = "retry"
    """Not delivered; the same request may succeed later."""
    REFUSED = "refused"
    """Not delivered, and never will be."""


class Answer(NamedTuple):
    """The outcome of one attempt.

    Attributes:
        result: what becomes of the batch.
        status: HTTP status, None where there was no answer.
        message: the server's words or the connection's error, one bounded line; may be empty.
        rejected: items of an accepted batch that the server did not take (partial success).
        retry_after: seconds the server asks to wait, None where it does not.
        tls: there was no connection for a certificate that one side does not trust, or a file of them.
    """

    result: Result
    status: int | None = None
    message: str = ""
    rejected: int = 0
    retry_after: float | None = None
    tls: bool = False

    @property
    def error_type(self) -> str:
        """`error.type` of an export that ended like this; empty when everything was taken."""
        if self.result is Result.ACCEPTED:
            return "rejected" if self.rejected else ""
        return "no_answer" if self.status is None else str(self.status)


def no_answer(reason: str, *, tls: bool = False) -> Answer:
    """The connection failed: worth another attempt."""
    return Answer(Result.RETRY, None, one_line(reason), tls=tls)


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Classify a response.

    Args:
        status: HTTP status.
        headers: response headers, names in lower case.
        body: the first bytes of the response.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if 200 <= status < 300:
        rejected, message = _partial_success(kind, body)
        return Answer(Result.ACCEPTED, status, message, rejected)
    if status in _RETRYABLE:
        return Answer(
            Result.RETRY, status, _message(kind, body), 0, retry_after(headers.get("retry-after"), headers.get("date"))
        )
    if 300 <= status < 400:
        place = one_line(headers.get("location", "").partition("?")[0].rpartition("@")[2])
        return Answer(Result.REFUSED, status, f"redirects are not followed; it points to {place}" if place else "")
    return Answer(Result.REFUSED, status, _message(kind, body))


def retry_after(text: str | None, date: str | None = None) -> float | None:
    """Seconds of a `Retry-After` header, a number or a date (RFC 9110, 10.2.3), at most 300; None if unreadable.

    Args:
        text: of the header.
        date: of the answer's `Date`: a date is one of the server's clock, and ours may be another.
    """
    if text is None:
        return None
    text = text.strip()[:64]
    try:
        seconds = float(int(text))
    except ValueError:
        from email.utils import parsedate_to_datetime

        try:
            moment = parsedate_to_datetime(text).timestamp()
        except (ValueError, TypeError, OverflowError):
            return None
        try:
            seconds = moment - parsedate_to_datetime(date or "").timestamp()
        except (ValueError, TypeError, OverflowError):
            seconds = moment - time.time()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def one_line(text: str) -> str:
    """At most 200 printable characters."""
    text = "".join(c if c.isprintable() else " " for c in text[: 2 * _LONGEST_MESSAGE]).strip()
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"


def _partial_success(kind: str, body: bytes) -> tuple[int, str]:
    """Rejected items and the message of an `Export...ServiceResponse`; an unreadable one is a success."""
    try:
        if kind == "application/json":
            partial = json.loads(body or b"{}").get("partialSuccess") or {}
            rejected = max([int(partial.get(name) or 0) for name in _REJECTED_NAMES])
            return max(rejected, 0), one_line(str(partial.get("errorMessage") or ""))
        inner = _fields(body).get(1, b"") if kind in {"", "application/x-protobuf"} else b""
        fields = _fields(inner) if isinstance(inner, bytes) else {}
        count, message = fields.get(1, 0), fields.get(2, b"")
        if not isinstance(count, int) or not isinstance(message, bytes):
            return 0, ""
        # an int64: what has the highest bit set is negative, and no count
        return count if count < 1 << 63 else 0, one_line(message.decode(errors="replace"))
    except Exception:  # noqa: BLE001 - 2xx means accepted, whatever the body is
        return 0, ""


def _message(kind: str, body: bytes) -> str:
    """The text of a `google.rpc.Status` (binary or JSON), or of a plain answer; an HTML page has nothing to say."""
    try:
        text: Any = ""
        if kind == "application/json":
            text = json.loads(body).get("message") or ""
        elif kind == "application/x-protobuf":
            found = _fields(body).get(2, b"")
            text = found.decode(errors="replace") if isinstance(found, bytes) else ""
        elif kind == "text/plain":
            text = body.decode(errors="replace")
        return one_line(str(text))
    except Exception:  # noqa: BLE001 - an unreadable explanation is no explanation
        return ""


def _fields(message: bytes) -> dict[int, int | bytes]:
    """Varint and length-delimited fields of a message by number.

    Raises:
        IndexError: it ends in the middle of a field.
        ValueError: it has a field of another kind.
    """
    fields: dict[int, int | bytes] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value, at = _varint(message, at)
        if tag & 7 == 2:
            if at + value > len(message):
                raise IndexError(at)
            fields[tag >> 3] = message[at : at + value]
            at += value
        elif tag & 7 == 0:
            fields[tag >> 3] = value
        else:
            raise ValueError(tag)
    return fields


def _varint(message: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & (1 << 64) - 1, at
    raise ValueError("a varint of more than ten bytes")
