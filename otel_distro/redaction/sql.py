"""SQL text without its literals."""

from __future__ import annotations

import re
from collections.abc import Callable

from otel_distro.patterns import late

from .policy import PLACEHOLDER

MAX_SQL = 8192
"""Longest SQL text that is looked at, in characters; what follows is cut off."""

_BACKSLASH_DIALECTS = frozenset({"mysql", "mariadb", "clickhouse", "bigquery", "databricks", "hive", "snowflake"})
"""Where a backslash escapes a quote inside a string."""
_STANDARD_DIALECTS = frozenset(
    {"postgresql", "sqlite", "microsoft.sql_server", "mssql", "oracle.db", "oracle", "aws.redshift", "cockroachdb"}
)
"""Where it does not: reading it as an escape there would take the text after a string for the string."""

# A comment inside a comment ends in PostgreSQL where others would not end it: then everything after it is dropped.
_COMMENTS = r"(?P<comment>--[^\n]*|/\*(?:[^*/]|\*(?!/)|/(?!\*))*+(?:\*/|.*))"
_NUMBERS = (
    r"(?P<number>(?<![\w$@?])(?<![^\w\]]:)(?:0[xX][0-9a-fA-F]+|\d[\d_]*(?:\.\d*)?(?:[eE][+-]?\d+)?)"
    r"|(?<![\w.\])])\.\d+(?:[eE][+-]?\d+)?)"
)
_DOLLAR_QUOTED = r"(?<![\w$])\$(?P<tag>[A-Za-z_]\w*|)\$.*?(?:\$(?P=tag)\$|\Z)"
# a prefix letter (E'...', N'...', q'[...]') stays in the text: it says nothing
_STANDARD_QUOTED = r"(?<=(?<!\w)[eE])'(?:[^'\\]|\\.|'')*+(?:'|\\?\Z)|'(?:[^']|'')*+(?:'|\Z)"
_BACKSLASH_QUOTED = r"'(?:[^'\\]|\\.|'')*+(?:'|\\?\Z)"
_ORACLE_QUOTED = (
    r"(?<=[qQ])'(?:\[.*?(?:\]'|\Z)|\{.*?(?:\}'|\Z)|\(.*?(?:\)'|\Z)|<.*?(?:>'|\Z)|(?P<q>.).*?(?:(?P=q)'|\Z))"
)
_DOUBLE_QUOTED = r'(?P<double>"(?:[^"]|"")*+(?:"|\Z))'
_DOUBLE_QUOTED_STRING = r'"(?:[^"\\]|\\.|"")*+(?:"|\\?\Z)'
_IDENTIFIERS = r"(?P<identifier>`(?:[^`]|``)*+(?:`|\Z))"
_BRACKETED = r"(?P<bracketed>\[[^\]\[]*\])"


def _literals(*alternatives: str) -> Callable[[], re.Pattern[str]]:
    # nothing below starts with another character, and nearly all characters of a statement are others
    first = r"(?=[-'\"`/#$\[.\d])"
    return late(first + "(?:" + "|".join((*alternatives, _NUMBERS, _IDENTIFIERS, _COMMENTS)) + ")", re.DOTALL)


_STANDARD = _literals(_STANDARD_QUOTED, _DOLLAR_QUOTED, _DOUBLE_QUOTED)
_ORACLE = _literals(_ORACLE_QUOTED, _STANDARD_QUOTED, _DOUBLE_QUOTED)
_SQL_SERVER = _literals(_STANDARD_QUOTED, _BRACKETED, _DOUBLE_QUOTED)
_BACKSLASH = _literals(r"(?P<hash>#[^\n]*)", _BACKSLASH_QUOTED, _DOUBLE_QUOTED_STRING)
_SPECIAL = {
    "oracle": _ORACLE,
    "oracle.db": _ORACLE,
    "mssql": _SQL_SERVER,
    "microsoft.sql_server": _SQL_SERVER,
    "bigquery": _literals(_BACKSLASH_QUOTED, _DOUBLE_QUOTED_STRING),
}
_PARAMETER = r"(?:\?|%s|%\(\w+\)s|:\w+|\$\d+(?:::[\w ]+(?:\(\?\))?)?)"
_IN_LIST = late(rf"(\bIN\s*\()\s*{_PARAMETER}(?:\s*,\s*{_PARAMETER})+\s*\)", re.IGNORECASE)
_PLAIN_IDENTIFIER = late(r'"[^\W\d][\w .$-]{0,62}"')


def sanitize_sql(statement: str, dialect: str) -> str:
    """SQL text with every literal replaced by `?`, without comments, and with `IN` lists of parameters collapsed.

    Strings in all the quotings of the dialect, numbers, and in MySQL's family double-quoted text go; parameters
    (`$1`, `:id`, `%s`), identifiers and `TRUE`/`FALSE`/`NULL` stay. An unterminated string hides all that follows.
    Source: semantic conventions, "Sanitization of db.query.text".

    Args:
        statement: the text as the driver gets it; the first `MAX_SQL` characters are looked at.
        dialect: SQLAlchemy's dialect name or the `db.system.name`; where it is not known and the text has a backslash,
            everything from the first quote on is hidden, because nobody can tell where that string ends.
    """
    text = statement if len(statement) <= MAX_SQL else statement[:MAX_SQL]
    if dialect in _BACKSLASH_DIALECTS:
        pattern = _SPECIAL.get(dialect, _BACKSLASH)
    else:
        pattern = _SPECIAL.get(dialect, _STANDARD)
        if dialect not in _STANDARD_DIALECTS and "\\" in text:
            text = text[: _first_quote(text)]
    return _IN_LIST().sub(r"\1?)", pattern().sub(_masked, text)).strip()


def _masked(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if kind in {"identifier", "bracketed"}:
        return match.group()
    if kind in {"comment", "hash"}:
        return " "
    # a double-quoted text that cannot be a name is a string to SQLite and to MySQL in its default mode
    if kind == "double" and _PLAIN_IDENTIFIER().fullmatch(match.group()):
        return match.group()
    return PLACEHOLDER


def _first_quote(text: str) -> int:
    return min((at for quote in "'\"$" if (at := text.find(quote)) >= 0), default=len(text))
