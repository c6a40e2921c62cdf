"""URLs, alone and inside messages, without credentials."""

from __future__ import annotations

import re

from otel_distro.patterns import late

from .policy import PLACEHOLDER, REDACTED, is_secret_parameter


def redact_url(url: str) -> str:
    """A URL without userinfo and without the values of sensitive parameters of its query, fragment and path.

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
    if ";" in head:
        head = redact_path(head)
    return head + mark + redact_query(query) + tail


def redact_path(path: str) -> str:
    """A path whose segments' sensitive parameters have the value `REDACTED`: `/a;token=x/b` is `/a;token=REDACTED/b`.

    Source: RFC 3986 section 3.3, and Java's `;jsessionid=`.
    """
    segments = path.split("/")
    for index, segment in enumerate(segments):
        name, mark, parameters = segment.partition(";")
        if parameters:
            segments[index] = name + mark + redact_query(parameters)
    return "/".join(segments)


def redact_target(path: str) -> str:
    """`redact_path` of what stands in the place of a request's path, which may name a server, and so a user, as well.

    `GET http://joe:pw@host/a` is meant for a proxy, but any server gets it (RFC 9112 section 3.2.2).
    """
    if "@" in path and (path[:1] != "/" or path[:2] == "//"):
        path = _without_userinfo(path)
    return redact_path(path)


_PIECES = re.compile("([&;])")


def redact_query(query: str) -> str:
    """A query string whose sensitive parameters have the value `REDACTED`; order and the rest stay as they are.

    `;` separates parameters too, as HTML 4 had it; what follows a hidden value behind one belongs to that value.
    """
    if ";" in query:
        return _redact_pieces(_PIECES.split(query))
    pairs = query.split("&")
    hidden = False
    for index, pair in enumerate(pairs):
        name, _, value = pair.partition("=")
        if value and is_secret_parameter(name):
            pairs[index] = f"{name}={REDACTED}"
            hidden = True
    return "&".join(pairs) if hidden else query


def _redact_pieces(pieces: list[str]) -> str:
    kept = [_redact_pair(pieces[0])]
    hidden = kept[0] != pieces[0]
    for separator, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        if hidden and separator == ";" and "=" not in piece:
            continue
        shown = _redact_pair(piece)
        hidden = shown.endswith(f"={REDACTED}")
        kept += (separator, shown)
    return "".join(kept)


def _redact_pair(pair: str) -> str:
    name, _, value = pair.partition("=")
    return f"{name}={REDACTED}" if value and is_secret_parameter(name) else pair


def _without_userinfo(url: str) -> str:
    start = url.find("//") + 2
    if start < 2:
        return url
    ends = [at for mark in "/?#" if (at := url.find(mark, start)) >= 0]
    end = min(ends, default=len(url))
    at = url.rfind("@", start, end)
    if at < 0 and end < len(url) and _is_password(url[start:end].rpartition(":")):
        at = url.rfind("@", end)
    return url if at < 0 else f"{url[:start]}{REDACTED}:{REDACTED}{url[at:]}"


def _is_password(authority: tuple[str, str, str]) -> bool:
    """Whether what stands behind the colon of an authority is no port, but the beginning of a password.

    One with `/`, `?` or `#` that nobody has encoded: SQLAlchemy and libpq take it as it is.
    """
    user, colon, port = authority
    return colon != "" and port != "" and not port.isdigit() and not user.startswith("[")


# a password may have what ends a URL elsewhere; a port is none
_USERINFO = r"(?:[^\s/@:?#'\"<>()\[\]{}]{0,128}+:(?!\d*(?:[/?#'\"<>)\],]|\s|\Z))[^\s@]{1,128}@)?"
# a scheme's length is bounded, or a long text of words and dots would be searched to its end from each of them; behind
# one that is longer, or none, another URL may begin
_URL_IN_TEXT = late(
    rf"(?:\b[a-zA-Z][\w+.-]{{0,31}}+://{_USERINFO}|(?<=url: )/)[^\s'\"<>)\]]+"
    r"|(?<=[\w+.-])://(?:(?!://)[^\s'\"<>)\]])+"
)


_STATEMENT_IN_TEXT = late(
    r"\n\[(?:SQL|parameters): .*?(?=\n\(Background on this error|\n\nThe above exception|\n\nDuring handling|\Z)",
    re.DOTALL,
)
_KEY_IN_TEXT = late(r"(Key \([^)\n]{0,200}\)=)\([^\n]{0,1000}?\)(?= (?:already exists|is not present|is still))")


def redact_exception(text: str) -> str:
    """An exception's message or stack trace without what the spans below it do not tell either.

    SQLAlchemy appends the statement and its parameters to the message, PostgreSQL the key that was violated, HTTP
    clients the whole URL; see also `drivers`.
    """
    from .drivers import without_values  # late: a process without errors does not need it

    if "\n[" in text:
        text = _STATEMENT_IN_TEXT().sub("", text)
    if "Key (" in text:
        text = _KEY_IN_TEXT().sub(rf"\1({PLACEHOLDER})", text)
    return redact_text(without_values(text))


def redact_text(text: str) -> str:
    """Free text (an exception's message) in which every URL is redacted, also the bare path urllib3 quotes."""
    if "://" not in text and "url: /" not in text:
        return text  # no search: a stack trace has six thousand characters
    return _URL_IN_TEXT().sub(lambda match: redact_url(match.group()), text)
