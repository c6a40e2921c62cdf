"""Texts of strangers that are made to be searched for long: each would take minutes with a search that starts again."""

from __future__ import annotations

import pytest

from otel_distro.instrumentation.sql_summary import summarize
from otel_distro.propagation import parse_traceparent
from otel_distro.redaction import redact_exception, redact_message, redact_text, sanitize_sql

_LONG = 400_000
_PARENT = b"-".join((b"cc", b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7", b"01"))


@pytest.mark.parametrize(
    "unit",
    ["a.", "a-", "a+", "a", "eyJ-", "-eyJ", "x=", "a:", "url: ", "'", "\\", "-.", "--a ", "x://:", "x://u:p", "pw=[\n",
     "pw=\\\"\n", "(b'pw', ", "%3Btoken%3D", "%3A//a"],
)  # fmt: skip
def test_a_message_is_searched_once(unit: str) -> None:
    """Whatever a stranger's text repeats, the URL behind it is redacted and the rest stays."""
    text = unit * (_LONG // len(unit))
    for redacted in (redact_text, redact_exception, redact_message):
        assert redacted(f"{text} https://joe:pw@host/?token=x").endswith("REDACTED@host/?token=REDACTED")


@pytest.mark.parametrize("head", [b"", _PARENT, _PARENT + b"-"])
@pytest.mark.parametrize("unit", [b" ", b"\t", b"a", b"-"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"x"])
def test_a_long_parent_is_nobody_s(head: bytes, unit: bytes, end: bytes) -> None:
    """A `traceparent` of more than 512 bytes starts a trace of its own (upstream since 1.45.2)."""
    assert parse_traceparent(head + unit * _LONG + end) is None


def test_a_later_version_may_say_512_bytes() -> None:
    """What is longer than today's header, and not too long, is read as far as it is known."""
    longest = _PARENT + b"-" + b" " * (511 - len(_PARENT))
    assert len(longest) == 512
    assert parse_traceparent(longest) is not None
    assert parse_traceparent(longest + b" ") is None
    assert parse_traceparent(longest[:-1] + b"\n") is None


@pytest.mark.parametrize("unit", ["a", "_", "a_", "(", "a (", "AS ", "?, ", "x'", " ", "IN ($1::a "])
@pytest.mark.parametrize("head", ["WITH ", "IN ($1::"])
def test_a_statement_is_searched_once(unit: str, head: str) -> None:
    """A statement of one long word, or of many, has a summary and a text without literals."""
    text = f"{head}{unit * (_LONG // 4 // len(unit))}"
    assert summarize(text).operation in {"", "WITH", "IN"}
    assert sanitize_sql(text, "postgresql")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("to 1http://joe:pw@host/", "to 1http://REDACTED:REDACTED@host/"),
        (f"to {'a' * 40}://joe:pw@host/", f"to {'a' * 40}://REDACTED:REDACTED@host/"),
        ("'://https://joe:pw@host/'", "'://https://REDACTED:REDACTED@host/'"),
        ("to 3s://https://joe:pw@host/", "to 3s://https://REDACTED:REDACTED@host/"),
        ("to \u00fc://https://joe:pw@host/", "to \u00fc://https://REDACTED:REDACTED@host/"),
        (f"to {'a' * 40}://b://joe:pw@host/", f"to {'a' * 40}://b://REDACTED:REDACTED@host/"),
        ("mssql+pyodbc_with_a_long_name://joe:pw@host", "mssql+pyodbc_with_a_long_name://REDACTED:REDACTED@host"),
    ],
)
def test_a_url_needs_no_usual_scheme(text: str, expected: str) -> None:
    """What stands behind `://` is redacted whatever its scheme is, also where another URL begins there."""
    assert redact_text(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("got eyJhbGciOiJub25lIn0.e30.", "got REDACTED"),
        ("got x-eyJhbGciOiJub25lIn0.e30.abc", "got x-REDACTED"),
        ("cursor eyJwYWdlIjoyfQ", "cursor eyJwYWdlIjoyfQ"),
        ("cursor eyJwYWdlIjoyfQ-eyJhbGciOiJub25lIn0.e30.abc", "cursor REDACTED"),
    ],
)
def test_only_a_token_of_several_parts_is_one(text: str, expected: str) -> None:
    """A JWT is hidden; encoded JSON without a second part is none."""
    assert redact_message(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET /a%3Btoken%3Dx%20y%3Bv%3D1/b?n=1", "GET /a%3Btoken%3DREDACTED%3Bv%3D1/b?n=1"),
        ("GET http%3A//joe%40corp%3Apw%40host/a%40b", "GET http%3A//REDACTED%3AREDACTED%40host/a%40b"),
        ("at 100%: %3Bauthor%3Dx", "at 100%: %3Bauthor%3Dx"),
    ],
)
def test_a_quoted_path_tells_no_more_than_a_plain_one(text: str, expected: str) -> None:
    """uvicorn's access lines quote the path, its parameters' delimiters included."""
    assert redact_message(f"1.2.3.4:5 - {text}") == f"1.2.3.4:5 - {expected}"
