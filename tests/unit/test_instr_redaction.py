"""Secrets in SQL, URLs and Redis keys do not leave, and what describes the call does."""

from __future__ import annotations

from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_distro.bounded import BoundedCache
from otel_distro.redaction import (
    MAX_SQL,
    KeyPatterns,
    key_pattern,
    redact_exception,
    redact_query,
    redact_text,
    redact_url,
    sanitize_sql,
)
from tests.recording import Recording

DIALECTS = ("postgresql", "mysql", "sqlite", "oracle", "mssql", "bigquery", "unheard-of")


@pytest.mark.parametrize(
    ("statement", "dialect", "expected"),
    [
        ("SELECT * FROM t WHERE a = 'it''s' AND b = 5", "postgresql", "SELECT * FROM t WHERE a = ? AND b = ?"),
        ("SELECT E'it\\'s', $$a'b$$, $q$x$q$ FROM t", "postgresql", "SELECT E?, ?, ? FROM t"),
        ("SELECT E'a' -- it's\n--\n 'it\\'s', E'b', 'c'\n'\\', 'd'", "postgresql", "SELECT E?, E?, ?\n?, ?"),
        ("SELECT 'C:\\', 'next'", "sqlite", "SELECT ?, ?"),
        ("SELECT 'it\\'s', \"text\", `a 1` FROM t", "mysql", "SELECT ?, ?, `a 1` FROM t"),
        ("SELECT q'[it's]', 'x' FROM dual", "oracle", "SELECT q?, ? FROM dual"),
        ("SELECT [a 1], N'x' FROM t", "mssql", "SELECT [a 1], N? FROM t"),
        ('SELECT "Name", "not a@name" FROM t', "sqlite", 'SELECT "Name", ? FROM t'),
        ("SELECT t1.c2, 0xFF, 1e-5, .5, 1_000 FROM t1", "postgresql", "SELECT t1.c2, ?, ?, ?, ? FROM t1"),
        ("SELECT $1, :p1, %(p_1)s, %s, a[2:3]", "postgresql", "SELECT $1, :p1, %(p_1)s, %s, a[?:?]"),
        ("SELECT 1 -- for joe\n/* joe */ FROM t", "postgresql", "SELECT ?  \n  FROM t"),
        ("SELECT a # joe", "mysql", "SELECT a"),
        ("SELECT 5--'a\nsecret', b -- it's\n, 'c'", "mysql", "SELECT ?--?, b  \n, ?"),
        ("SELECT 5--'a\n', b", "postgresql", "SELECT ? \n?"),
        ("SELECT /*!50000 SQL_NO_CACHE -1 */ a FROM t", "mysql", "SELECT   a FROM t"),
        ("SELECT /*! 'a*/secret' */ FROM t", "mysql", "SELECT"),
        ("SELECT /*M!99999 it's */ 'secret'", "mariadb", "SELECT"),
        ("SELECT 0b1010, 0xDE_AD, 0o17, x'41'", "mysql", "SELECT ?, ?, ?, x?"),
        ("SELECT a FROM t WHERE a = 'unterminated AND b = 3", "postgresql", "SELECT a FROM t WHERE a = ?"),
        (
            "SELECT a WHERE b IN (1, 2, 3) AND c IN ($4::INT, $5::INT)",
            "postgresql",
            "SELECT a WHERE b IN (?) AND c IN (?)",
        ),
        ("SELECT a WHERE b = 'x\\' OR c = 'y'", "unheard-of", "SELECT a WHERE b ="),
    ],
)
def test_literals_become_placeholders(statement: str, dialect: str, expected: str) -> None:
    """Every literal of the dialect is replaced; parameters and identifiers stay."""
    assert sanitize_sql(statement, dialect) == expected


@pytest.mark.parametrize(
    ("dialect", "escapes", "statement"),
    [
        ("mysql", False, "SELECT 'C:\\', \"D:\\\", 'secret'"),
        ("mariadb", True, "SELECT 'it\\'s', \"\\\"\", 'secret'"),
        ("postgresql", True, "SELECT 'it\\'s', $$\\$$, 'secret'"),
        ("postgresql", False, "SELECT 'C:\\', E'\\'', 'secret'"),
    ],
)
def test_a_backslash_is_read_as_the_server_reads_it(dialect: str, escapes: bool, statement: str) -> None:
    """Where a server was told to read backslashes in strings the other way round, strings end where it ends them."""
    assert sanitize_sql(statement, dialect, escapes).replace("E", "") == "SLCT ?, ?, ?"


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40), st.sampled_from(("postgresql", "sqlite", "mssql")))
def test_no_standard_string_survives(secret: str, dialect: str) -> None:
    """Whatever a correctly quoted string holds, nothing of it remains in the text."""
    quoted = secret.replace("'", "''")
    assert sanitize_sql(f"SELECT a FROM t WHERE b = '{quoted}' AND c = d", dialect) == (
        "SELECT a FROM t WHERE b = ? AND c = d"
    )


@given(st.text(max_size=300), st.sampled_from(DIALECTS))
def test_any_text_is_accepted(statement: str, dialect: str) -> None:
    """Sanitising never raises and never makes a text longer."""
    assert len(sanitize_sql(statement, dialect)) <= len(statement)


def test_a_long_statement_is_cut() -> None:
    """Text beyond the limit is neither looked at nor sent, and a literal cut in two is hidden."""
    statement = "SELECT a FROM t WHERE b = '" + "s" * (2 * MAX_SQL) + "'"
    assert sanitize_sql(statement, "postgresql") == "SELECT a FROM t WHERE b = ?"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://joe:pw@host/a?page=2", "https://REDACTED:REDACTED@host/a?page=2"),
        ("https://joe@host:1/", "https://REDACTED:REDACTED@host:1/"),
        ("http://host/a@b?x=c@d", "http://host/a@b?x=c@d"),
        (
            "http://host/?access_token=a&X-Amz-Signature=b&n=1",
            "http://host/?access_token=REDACTED&X-Amz-Signature=REDACTED&n=1",
        ),
        ("http://host/?%74oken=a&sign=b", "http://host/?%74oken=REDACTED&sign=b"),
        ("http://host/#id_token=a", "http://host/#id_token=REDACTED"),
        ("http://host/p#top", "http://host/p#top"),
        ("no url at all", "no url at all"),
        ("http://[::1", "http://[::1"),
        ("a@b?token=", "a@b?token="),
    ],
)
def test_urls_lose_userinfo_and_sensitive_parameters(url: str, expected: str) -> None:
    """Userinfo and the values of parameters that speak of a secret are replaced, all else stays as written."""
    assert redact_url(url) == expected


@given(st.text(max_size=200))
def test_any_url_and_query_is_accepted(text: str) -> None:
    """Redacting never raises, and doing it twice changes nothing more."""
    once = redact_url(text)
    assert redact_url(once) == once
    assert redact_query(redact_query(text)) == redact_query(text)


def test_urls_inside_messages_are_redacted() -> None:
    """The messages of HTTP libraries quote URLs; those are redacted too."""
    message = "Max retries exceeded with url: /x?token=abc&n=1 (Caused by http://u:p@h/?sig=9)"
    assert redact_text(message) == (
        "Max retries exceeded with url: /x?token=REDACTED&n=1 (Caused by http://REDACTED:REDACTED@h/?sig=REDACTED)"
    )


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("user:42", "user:?"),
        (b"user:42:profile", "user:?:profile"),
        ("app:v1:user:7:settings", "app:v1:user:?:settings"),
        ("session:a.b@c.org", "session:?.?.?"),
        ("cache/joe/page", "cache/?/page"),
        ("alice", "?"),
        ("leaderboard", "leaderboard"),
        ("user:alice:profile", "user:?:profile"),
        ("42:user", "?:user"),
        ("", "?"),
        (17, "?"),
        ("a:" + "b:" * 50, "a:" + ":".join("?" * 8)),
        ("k" * 5000 + ":x", "?"),
        ("flag:v2", "flag:?"),
        ("k" * 5000, "?"),
    ],
)
def test_key_patterns_show_structure_only(key: str | bytes | int, expected: str) -> None:
    """A pattern keeps the first word and known nouns; identifiers, names and tokens become `?`."""
    assert key_pattern(key) == expected


@given(st.one_of(st.text(), st.binary(), st.integers()))
def test_any_key_is_accepted(key: str | bytes | int) -> None:
    """A pattern never raises and never is longer than what is looked at of a key."""
    assert len(key_pattern(key)) <= 256


def test_a_full_cache_starts_again() -> None:
    """The weight of what a cache holds never passes its limit."""
    cache: BoundedCache[int, str] = BoundedCache(100)
    for number in range(1000):
        assert cache.keep(number, "x", weight=10) == "x"
        assert len(cache.known) <= 10
    assert cache.get(999) == "x"


def test_a_heavy_entry_is_not_kept() -> None:
    """One entry of more than an eighth of the limit is returned but does not push the others out."""
    cache: BoundedCache[int, str] = BoundedCache(100)
    cache.keep(1, "small")
    assert cache.keep(2, "large", weight=50) == "large"
    assert cache.known == {1: "small"}


@given(
    st.one_of(st.text(), st.binary(), st.integers(), st.from_regex(r"[a-z]{1,5}[:/.][a-z0-9:]{0,9}", fullmatch=True))
)
def test_remembered_patterns_are_the_patterns(key: str | bytes | int) -> None:
    """What the hot path remembers is what the rule says, however often it is asked."""
    patterns = KeyPatterns(100)
    assert [patterns.of(key), patterns.of(key)] == [key_pattern(key)] * 2


def test_patterns_have_a_limit() -> None:
    """Keys of further patterns are placeholders, those of known ones stay known."""
    patterns = KeyPatterns(2)
    assert [patterns.of(key) for key in ("a:1", "b:1", "c:1", "a:2", "c:2")] == ["a:?", "b:?", "?", "a:?", "?"]


def test_exceptions_tell_no_parameters_keys_or_tokens() -> None:
    """What SQLAlchemy, PostgreSQL and HTTP clients append to a message does not leave with the server span either."""
    message = (
        "(sqlite3.IntegrityError) UNIQUE constraint failed: users.email\n"
        "[SQL: INSERT INTO users (email) VALUES (?)]\n[parameters: ('CANARY@x.com', 's3[c]ret')]\n"
        "(Background on this error at: https://sqlalche.me/e/20/gkpj)"
    )
    kept = redact_exception(f"Traceback (most recent call last):\nsqlalchemy.exc.IntegrityError: {message}\n")
    assert "CANARY" not in kept
    assert "s3" not in kept
    assert "UNIQUE constraint failed: users.email" in kept
    assert "Background on this error" in kept
    detail = redact_exception("duplicate key\nDETAIL:  Key (email)=(CANARY@x.com) already exists.")
    assert detail == "duplicate key\nDETAIL:  Key (email)=(?) already exists."
    url = redact_exception("500 for url 'https://api.x/y?token=CANARY&page=2'")
    assert url == "500 for url 'https://api.x/y?token=REDACTED&page=2'"


def test_a_failed_span_tells_no_credential_of_its_exceptions() -> None:
    """Message, stack trace and status of a span hide by name what log messages do, also of the exception's cause."""
    recording = Recording()

    def fail() -> NoReturn:
        try:
            int("Command '['pg_dump', '--password', 'canary1']' failed, token=canary2")
        except ValueError as error:
            raise RuntimeError(f"cannot dump, password={'canary3'}") from error
        raise AssertionError

    with pytest.raises(RuntimeError), recording.tracer_provider.get_tracer("t").start_as_current_span("s"):
        fail()
    (span,) = recording.take()
    (event,) = span.events
    assert "canary" not in str(span.status.description)
    assert not [name for name, value in (event.attributes or {}).items() if "password=canary" in str(value)]
    stack = str((event.attributes or {})["exception.stacktrace"])
    assert "token=REDACTED" in stack.partition("ValueError: ")[2].partition("\n")[0]
    assert "cannot dump, password=REDACTED" in stack
