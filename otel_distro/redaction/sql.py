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
_BLOCK_COMMENT = r"/\*(?:[^*/]|\*(?!/)|/(?!\*))*+(?:\*/|.*)"
_COMMENTS = rf"(?P<comment>--[^\n]*|{_BLOCK_COMMENT})"
# In MySQL two hyphens in front of anything but a blank are two minus signs, and the version of the server decides
# whether /*! ... */ is a comment: where a quotation in it would end at another place then, all that follows is dropped.
_MYSQL_COMMENTS = (
    r"(?P<comment>--(?=[\x00-\x20\x7f]|\Z)[^\n]*"
    r"|/\*M?!(?:[^*/'\"`#-]|\*(?!/)|/(?!\*)|-(?!-))*+(?:\*/|.*)"
    rf"|{_BLOCK_COMMENT})"
)
_NUMBERS = (
    r"(?P<number>(?<![\w$@?])(?<![^\w\]]:)(?:0[xXbBoO][0-9a-fA-F_]+|\d[\d_]*(?:\.\d*)?(?:[eE][+-]?\d+)?)"
    r"|(?<![\w.\])])\.\d+(?:[eE][+-]?\d+)?)"
)
_DOLLAR_QUOTED = r"(?<![\w$])\$(?P<tag>[A-Za-z_]\w*|)\$.*?(?:\$(?P=tag)\$|\Z)"
# a prefix letter (E'...', N'...', q'[...]') stays in the text: it says nothing
_QUOTED = r"'(?:[^']|'')*+(?:'|\Z)"
_BACKSLASH_QUOTED = r"'(?:[^'\\]|\\.|'')*+(?:'|\\?\Z)"
# PostgreSQL goes on with a string on a further line, and with E'...' backslashes go on to escape there
_FURTHER_LINE = r"(?:[^\S\n\r]|--[^\n\r]*+)*+[\n\r](?:\s|--[^\n\r]*+[\n\r])*+"
_STANDARD_QUOTED = rf"(?<=(?<!\w)[eE]){_BACKSLASH_QUOTED}(?:{_FURTHER_LINE}{_BACKSLASH_QUOTED})*+|{_QUOTED}"
_ORACLE_QUOTED = (
    r"(?<=[qQ])'(?:\[.*?(?:\]'|\Z)|\{.*?(?:\}'|\Z)|\(.*?(?:\)'|\Z)|<.*?(?:>'|\Z)|(?P<q>.).*?(?:(?P=q)'|\Z))"
)
_DOUBLE_QUOTED = r'(?P<double>"(?:[^"]|"")*+(?:"|\Z))'
_HASH = r"(?P<hash>#[^\n]*)"
_DOUBLE_QUOTED_PLAIN_STRING = r'"(?:[^"]|"")*+(?:"|\Z)'
_DOUBLE_QUOTED_STRING = r'"(?:[^"\\]|\\.|"")*+(?:"|\\?\Z)'
_IDENTIFIERS = r"(?P<identifier>`(?:[^`]|``)*+(?:`|\Z))"
_BRACKETED = r"(?P<bracketed>\[[^\]\[]*\])"


def _literals(*alternatives: str, comments: str = _COMMENTS) -> Callable[[], re.Pattern[str]]:
    # nothing below starts with another character, and nearly all characters of a statement are others
    first = r"(?=[-'\"`/#$\[.\d])"
    return late(first + "(?:" + "|".join((*alternatives, _NUMBERS, _IDENTIFIERS, comments)) + ")", re.DOTALL)


_STANDARD = _literals(_STANDARD_QUOTED, _DOLLAR_QUOTED, _DOUBLE_QUOTED)
_ORACLE = _literals(_ORACLE_QUOTED, _STANDARD_QUOTED, _DOUBLE_QUOTED)
_SQL_SERVER = _literals(_STANDARD_QUOTED, _BRACKETED, _DOUBLE_QUOTED)
_BACKSLASH = _literals(_HASH, _BACKSLASH_QUOTED, _DOUBLE_QUOTED_STRING)
_MYSQL = _literals(_HASH, _BACKSLASH_QUOTED, _DOUBLE_QUOTED_STRING, comments=_MYSQL_COMMENTS)
_MYSQL_PLAIN = _literals(_HASH, _QUOTED, _DOUBLE_QUOTED_PLAIN_STRING, comments=_MYSQL_COMMENTS)
_POSTGRESQL_OLD = _literals(_BACKSLASH_QUOTED, _DOLLAR_QUOTED, _DOUBLE_QUOTED)
_SPECIAL = {
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    "oracle": _ORACLE,
    "oracle.db": _ORACLE,
    "mssql": _SQL_SERVER,
    "microsoft.sql_server": _SQL_SERVER,
    "bigquery": _literals(_BACKSLASH_QUOTED, _DOUBLE_QUOTED_STRING),
}
_BY_ESCAPES: dict[tuple[str, bool | None], Callable[[], re.Pattern[str]]] = {
    ("mysql", False): _MYSQL_PLAIN,
    ("mariadb", False): _MYSQL_PLAIN,
    ("postgresql", True): _POSTGRESQL_OLD,
}
_PARAMETER = r"(?:\?|%s|%\(\w+\)s|:\w+|\$\d+(?:::\w++(?: \w++)*+(?:\(\?\))?)?)"
_IN_LIST = late(rf"(\bIN\s*\()\s*{_PARAMETER}(?:\s*,\s*{_PARAMETER})+\s*\)", re.IGNORECASE)
_PLAIN_IDENTIFIER = late(r'"[^\W\d][\w .$-]{0,62}"')


def sanitize_sql(statement: str, dialect: str, escapes: bool | None = None) -> str:
    """SQL text with every literal replaced by `?`, without comments, and with `IN` lists of parameters collapsed.

    Strings in all the quotings of the dialect, numbers, and in MySQL's family double-quoted text go; parameters
    (`$1`, `:id`, `%s`), identifiers and `TRUE`/`FALSE`/`NULL` stay. An unterminated string hides all that follows.
    Source: semantic conventions, "Sanitization of db.query.text".

    Args:
        statement: the text as the driver gets it; the first `MAX_SQL` characters are looked at.
        dialect: SQLAlchemy's dialect name or the `db.system.name`; where it is not known and the text has a backslash,
            everything from the first quote on is hidden, because nobody can tell where that string ends.
        escapes: whether this server reads a backslash in a string as an escape (MySQL's `NO_BACKSLASH_ESCAPES`,
            PostgreSQL's `standard_conforming_strings`); None for what the dialect does by default.
    """
    text = statement if len(statement) <= MAX_SQL else statement[:MAX_SQL]
    if dialect in _BACKSLASH_DIALECTS:
        pattern = _SPECIAL.get(dialect, _BACKSLASH)
    else:
        pattern = _SPECIAL.get(dialect, _STANDARD)
        if dialect not in _STANDARD_DIALECTS and "\\" in text:
            text = text[: _first_quote(text)]
    pattern = _BY_ESCAPES.get((dialect, escapes), pattern)
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
