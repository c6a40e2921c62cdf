"""What leaves the process without its secrets: SQL text, URLs, log messages and Redis keys.

Every function takes text and gives text, never raises on any string, and takes time linear in its length.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus

from .bounded import BoundedCache

REDACTED = "REDACTED"
PLACEHOLDER = "?"

MAX_SQL = 8192
"""Longest SQL text that is looked at, in characters; what follows is cut off."""

# --- SQL -------------------------------------------------------------------------------------------------------------

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


def _literals(*alternatives: str) -> re.Pattern[str]:
    # nothing below starts with another character, and nearly all characters of a statement are others
    first = r"(?=[-'\"`/#$\[.\d])"
    return re.compile(first + "(?:" + "|".join((*alternatives, _NUMBERS, _IDENTIFIERS, _COMMENTS)) + ")", re.DOTALL)


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
_IN_LIST = re.compile(rf"(\bIN\s*\()\s*{_PARAMETER}(?:\s*,\s*{_PARAMETER})+\s*\)", re.IGNORECASE)
_PLAIN_IDENTIFIER = re.compile(r'"[^\W\d][\w .$-]{0,62}"')


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
    return _IN_LIST.sub(r"\1?)", pattern.sub(_masked, text)).strip()


def _masked(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if kind in {"identifier", "bracketed"}:
        return match.group()
    if kind in {"comment", "hash"}:
        return " "
    # a double-quoted text that cannot be a name is a string to SQLite and to MySQL in its default mode
    if kind == "double" and _PLAIN_IDENTIFIER.fullmatch(match.group()):
        return match.group()
    return PLACEHOLDER


def _first_quote(text: str) -> int:
    return min((at for quote in "'\"$" if (at := text.find(quote)) >= 0), default=len(text))


# --- URLs ------------------------------------------------------------------------------------------------------------

_SENSITIVE_NAME = re.compile(
    r"token|secret|passw|pwd|credential|signature|^sig$|api[-_.]?key|access[-_.]?key|private[-_.]?key|^key$|auth|"
    r"session|^sid$|jwt|^code$|^otp$|^pin$|^pass$|cookie|^awsaccesskeyid$",
    re.IGNORECASE,
)


def redact_url(url: str) -> str:
    """A URL without userinfo and without the values of sensitive query parameters (also in its fragment).

    `https://joe:pw@host/a?token=x&page=2` gives `https://REDACTED:REDACTED@host/a?token=REDACTED&page=2`.
    Source: semantic conventions, `url.full`, and wider: any name that speaks of a secret.
    """
    if "@" in url:
        url = _without_userinfo(url)
    if "#" in url:
        url, _, fragment = url.partition("#")
        tail = "#" + (redact_query(fragment) if "=" in fragment else fragment)
    else:
        tail = ""
    head, mark, query = url.partition("?")
    return head + mark + redact_query(query) + tail if query else url + tail


def redact_query(query: str) -> str:
    """A query string whose sensitive parameters have the value `REDACTED`; order and the rest stay as they are."""
    pairs = query.split("&")
    hidden = False
    for index, pair in enumerate(pairs):
        name, _, value = pair.partition("=")
        if value and _is_sensitive(name):
            pairs[index] = f"{name}={REDACTED}"
            hidden = True
    return "&".join(pairs) if hidden else query


# an application has few names of parameters, and each is asked for with every request
@lru_cache(maxsize=1024)
def _is_sensitive(name: str) -> bool:
    plain = unquote_plus(name[:256]) if "%" in name else name[:256]
    return _SENSITIVE_NAME.search(plain) is not None


def _without_userinfo(url: str) -> str:
    start = url.find("//") + 2
    if start < 2:
        return url
    ends = [at for mark in "/?#" if (at := url.find(mark, start)) >= 0]
    end = min(ends, default=len(url))
    at = url.rfind("@", start, end)
    return url if at < 0 else f"{url[:start]}{REDACTED}:{REDACTED}{url[at:]}"


_URL_IN_TEXT = re.compile(r"(?:\b[a-zA-Z][\w+.-]*://|(?<=url: )/)[^\s'\"<>)\]]+")


_STATEMENT_IN_TEXT = re.compile(
    r"\n\[(?:SQL|parameters): .*?(?=\n\(Background on this error|\n\nThe above exception|\n\nDuring handling|\Z)",
    re.DOTALL,
)
_KEY_IN_TEXT = re.compile(r"(Key \([^)\n]{0,200}\)=)\([^\n]{0,1000}?\)(?= (?:already exists|is not present|is still))")


def redact_exception(text: str) -> str:
    """An exception's message or stack trace without what the spans below it do not tell either.

    SQLAlchemy appends the statement and its parameters to the message, PostgreSQL the key that was violated, HTTP
    clients the whole URL.
    """
    if "\n[" in text:
        text = _STATEMENT_IN_TEXT.sub("", text)
    if "Key (" in text:
        text = _KEY_IN_TEXT.sub(rf"\1({PLACEHOLDER})", text)
    return redact_text(text)


def redact_text(text: str) -> str:
    """Free text (an exception's message) in which every URL is redacted, also the bare path urllib3 quotes."""
    return _URL_IN_TEXT.sub(lambda match: redact_url(match.group()), text) if "/" in text else text


# --- log messages ----------------------------------------------------------------------------------------------------

# narrower than for URLs: a message says "code=404" and "tokens: 512", which hide nothing
_SECRET_FIELD = re.compile(
    r"passw|passphrase|secret|credential|api[-_. ]?key|private[-_. ]?key|access[-_. ]?key|authori[sz]ation|cookie|jwt|"
    r"token$|(?:^|[-_.])(?:pass|pwd|pw|auth|dsn|otp|pin|sid|signature|session[-_.]?(?:id|key))$|session[-_.]?id$",
    re.IGNORECASE,
)
_PAIR = re.compile(
    r"(?<![\w.-])(?P<name>[A-Za-z][\w.-]{1,48}+)(?P<mark>[\"']?\s?(?:=>|[=:])\s{0,2})"
    r"(?P<value>[bu]?\"[^\"\n]*\"?|[bu]?'[^'\n]*'?|(?:(?:Bearer|Basic|Digest|Token)\s+)?[^\s,;&\"'()\[\]{}]+)"
)
_SCHEME = re.compile(r"\b([Bb]earer|[Bb]asic)\s+(?=[\w.~+/-]*[A-Z\d=])[\w.~+/=-]{6,}")
_COOKIES = re.compile(r"(?P<head>cookie[\"']?\s?[=:]\s{0,2})[^\n]*", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[\w-]{6,}\.[\w-]+(?:\.[\w-]*)?")


# an application has few names of fields, and each comes with every line
@lru_cache(maxsize=1024)
def is_secret_field(name: str) -> bool:
    """Whether the name of a field speaks of a secret: `password` and `access_token` do, `tokens` and `code` do not."""
    return _SECRET_FIELD.search(name[:256]) is not None


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
            "passw" in low
            or "token" in low
            or "secret" in low
            or "key" in low
            or "auth" in low
            or "cookie" in low
            or "credent" in low
            or "pwd" in low
            or "pass" in low
            or "jwt" in low
            or "sess" in low
            or "dsn" in low
            or "sid" in low
            or "pin" in low
            or "otp" in low
            or "pw" in low
            or "signature" in low
        ):
            if "cookie" in low:
                text = _COOKIES.sub(rf"\g<head>{REDACTED}", text)
            text = _PAIR.sub(_without_value, text)
        if "\n[" in text or "key (" in low:
            text = redact_exception(text)
    if "earer " in text or "asic " in text:
        text = _SCHEME.sub(rf"\1 {REDACTED}", text)
    if "eyJ" in text:
        text = _JWT.sub(REDACTED, text)
    return text


def _without_value(match: re.Match[str]) -> str:
    name = match["name"]
    return f"{name}{match['mark']}{REDACTED}" if is_secret_field(name) else match.group()


# --- Redis keys ------------------------------------------------------------------------------------------------------

_WORD = re.compile(r"[A-Za-z][A-Za-z_-]{0,23}")
_SEPARATORS = re.compile(r"[:/|.]")
_VERSION = re.compile(r"v\d{1,2}")
_MAX_SEGMENTS = 8
_MAX_KEY = 256
_MAX_REMEMBERED = 200_000  # characters of keys and of their first segments
# Nouns that name a kind of data and never a person or a thing: only these are shown behind the first segment.
_NOUNS = """
account accounts address api app auth balance basket blob body book cache cart carts catalog category channel chat
comment comments config count counter cursor customer customers dashboard data day detail details device devices doc
document documents event events feature features feed file flag flags followers friends group groups hash hour html
id ids image index info inventory invoice item items job jobs json key keys last latest leaderboard limit list
location lock locks login map member members message messages meta metadata metrics minute month name notification
notifications online order orders page pages payment payments permissions post posts prefs presence price prices
product products profile profiles progress queue quota rate ratelimit rates ref report request requests response
result results role roles room rooms schedule score scores search sequence session sessions set settings shop state
stats status stock store stream summary tag tags task tasks tenant tenants thread throttle time timeline token
tokens topic total tx unread url user users version view views visits week worker year
"""
_VOCABULARY = frozenset(_NOUNS.split())


def key_pattern(key: str | bytes | memoryview | float) -> str:
    """The pattern of a Redis key: its structure without identifiers, such as `user:?` for `user:42`.

    The first segment stays when it is a plain word, later ones only when they are words of a fixed vocabulary,
    everything else becomes `?`: a name or token in a key is as private as a value. A key of one segment stays only
    when the vocabulary has it.

    Args:
        key: as redis-py takes it; anything that is not text becomes `?`.
    """
    if isinstance(key, bytes):
        key = key.decode("utf-8", "replace")
    if not isinstance(key, str):
        return PLACEHOLDER
    text = key if len(key) <= _MAX_KEY else key[:_MAX_KEY]
    segments = _SEPARATORS.split(text, _MAX_SEGMENTS)
    if len(segments) == 1:
        return text if text in _VOCABULARY else PLACEHOLDER
    shown: list[str] = []
    at = 0
    for index, segment in enumerate(segments):
        if index:
            shown.append(text[at])
            at += 1
        at += len(segment)
        last = index == len(segments) - 1
        shown.append(segment if index < _MAX_SEGMENTS and _shown(segment, index, last) else PLACEHOLDER)
    return "".join(shown)


def _shown(segment: str, index: int, last: bool) -> bool:
    if index == 0:
        return _WORD.fullmatch(segment) is not None
    return segment in _VOCABULARY or (not last and _VERSION.fullmatch(segment) is not None)


class KeyPatterns:
    """`key_pattern` for the hot path, with a limit on how many patterns are told apart.

    Args:
        limit: of different patterns; the keys of all further ones are `?`.
    """

    __slots__ = ("_by_head", "_by_key", "_distinct", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._distinct: set[str] = set()
        self._by_head: BoundedCache[str, str] = BoundedCache(_MAX_REMEMBERED)
        self._by_key: BoundedCache[str, str] = BoundedCache(_MAX_REMEMBERED)

    def of(self, key: Any) -> str:
        """The pattern of a key; anything that is not text is `?`."""
        if key.__class__ is str:
            text = key
        elif key.__class__ is bytes:
            text = key.decode("utf-8", "replace")
        else:
            return PLACEHOLDER
        head, _, tail = text.partition(":")
        # `user:42` and `session:a1b2` are nearly all keys there are: they need no look at each segment
        if tail.isalnum() and tail not in _VOCABULARY:
            return self._by_head.get(head) or self._learn(self._by_head, head, f"{head}:0")
        return self._by_key.get(text) or self._learn(self._by_key, text, text)

    def _learn(self, cache: BoundedCache[str, str], known_as: str, key: str) -> str:
        pattern = key_pattern(key)
        if pattern not in self._distinct:
            if len(self._distinct) >= self._limit:
                pattern = PLACEHOLDER
            else:
                self._distinct.add(pattern)
        return cache.keep(known_as, pattern, len(known_as) + 32)
