"""Log messages without credentials."""

from __future__ import annotations

import re

from .policy import REDACTED, InForce, further, is_secret_field, is_secret_parameter
from .urls import redact_exception, redact_text

# a run of the characters of names is looked at once, from its beginning, however long it is; behind it may stand the
# end of `config["pw"] = ` or of JSON within JSON (`\"pw\": `)
_NAME = re.compile(
    r"(?<![\w.-])[-.]*+(?P<name>[^\W\d][\w.-]*+)(?:\\{0,8}+[\"'`])?+\]?+\s{0,2}+(?:=>|:=|[=:])"
    r"(?:[ \t]{3,64}+|\s{0,2}+)"
)
_OPTION = re.compile(r"(?<![\w.-])--(?P<name>[^\W\d][\w.-]*+)(?:[\"'],\s?| )(?!-)")
"""A name and its value as two arguments of a command: `--pw x`, `'--pw', 'x'`."""
_PAIR = re.compile(r"\(b?(?P<quote>[\"'])(?P<name>[\w.-]++)(?P=quote),\s?(?=b?[\"'])")
"""A name and its value as a tuple: ASGI's headers, items of a mapping."""
# a quote behind a backslash closes nothing: how many there are depends on how often the text was quoted
_VALUE = re.compile(
    r"[a-zA-Z]{0,2}(?:\"\"\"[^\n]*?(?:\"\"\"|$)|'''[^\n]*?(?:'''|$)"
    r"|\"(?:[^\"\\\n]|\\++.?)*+\"?|'(?:[^'\\\n]|\\++.?)*+'?"
    r"|(?P<open>\\{1,8}[\"'])[^\n]*?(?:(?<!\\)(?P=open)|$))"
    r"|`[^`\n]*`?[^\s,;&\"'()\[\]{}]*+"
    r"|(?:(?:Bearer|Basic|Digest|Token)\s+)?[^\s,;&\"'()\[\]{}]++"
    r"|(?<!\n)(?=[(\[{])",  # SQLAlchemy's `[SQL: ` begins a line
    re.MULTILINE,
)
_BRACKETS = re.compile(r"\"(?:[^\"\\\n]|\\++.?)*+\"?|'(?:[^'\\\n]|\\++.?)*+'?|(?P<opens>[(\[{])|(?P<closes>[)\]}])|\n")
_NAME_LOOKED_AT = 128
"""Characters of a name, the last: `...settings.password` tells by its end."""
_SCHEME = re.compile(r"\b([Bb]earer|[Bb]asic)\s+(?=[\w.~+/-]*[A-Z\d=])[\w.~+/=-]{6,}")
_COOKIES = re.compile(r"(?P<head>cookie[\"']?\s?[=:]\s{0,2})[^\n]*", re.IGNORECASE)
# what begins like one and has no second part is taken too, or the same text would be searched from each of its dashes
_JWT = re.compile(rf"(?:\b|(?<={REDACTED}))eyJ[\w-]{{6,}}+(?P<rest>\.[\w-]+(?:\.[\w-]*)?)?")
# a path as uvicorn's access lines have it, quoted: its parameters, and a user in its place
_QUOTED = re.compile(
    r"%3B(?P<name>[\w.-]{2,49}+)%3D(?:(?!%3B)[^\s/?&;\"'])+|(?<=%3A//)[^\s/?&;\"']+%40",
    re.IGNORECASE,
)


def redact_message(text: str, *, ours: bool = False) -> str:
    """A log message without URLs' secrets, credentials by name (`password=...`, `Authorization: ...`), JWTs and what
    `redact_exception` hides.

    Most messages are only looked at with a few substring searches.

    Args:
        text: the message.
        ours: the distro says it; see `further`.
    """
    text = _redacted(text)
    return text if InForce.policy.hook is None else further("body", text, ours=ours)


def _redacted(text: str) -> str:
    if "=" in text or ":" in text or "--" in text or "', " in text:
        if "://" in text:
            text = redact_text(text)
        if "%" in text:
            text = _QUOTED.sub(_quoted, text)
        text = _without_credentials(text)
        # words and line breaks that messages of databases and drivers have
        if "\n" in text or "nput" in text or "ncorrect " in text or " pipeline " in text:
            text = _without_values_of_drivers(text)
    if "earer " in text or "asic " in text:
        text = _SCHEME.sub(rf"\1 {REDACTED}", text)
    if "eyJ" in text:
        text = _JWT.sub(lambda found: REDACTED if found["rest"] else found[0], text)
    return text


def _without_credentials(text: str) -> str:
    """Without what a name says is a secret."""
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
        or InForce.policy.hide
    ):
        if "cookie" in low:
            text = _COOKIES.sub(rf"\g<head>{REDACTED}", text)
        text = _without_values(_NAME, text)
        if "--" in text:
            text = _without_values(_OPTION, text)
        if "', " in text or '", ' in text:
            text = _without_values(_PAIR, text)
    if "\n[" in text or ("key" in low and ("key (" in low or " for key" in low or "key value is (" in low)):
        text = redact_exception(text)
    return text


def _without_values_of_drivers(text: str) -> str:
    from .drivers import without_values  # late: hardly a message has them

    return without_values(text)


def redact_error(text: str) -> str:
    """The message of an exception for a span, whose encoder calls the user's function."""
    return _redacted(redact_exception(text))


def _quoted(found: re.Match[str]) -> str:
    name = found["name"]
    if name is None:
        return f"{REDACTED}%3A{REDACTED}%40"
    return f"%3B{name}%3D{REDACTED}" if is_secret_parameter(name) else found[0]


def _without_values(names: re.Pattern[str], text: str) -> str:
    parts: list[str] = []
    at = 0
    for match in names.finditer(text):
        # one that is in the value of another still names what follows
        if match.end() < at or not is_secret_field(match["name"][-_NAME_LOOKED_AT:]):
            continue
        value = _VALUE.match(text, match.end())
        if value is not None:
            parts += text[at : match.end()], REDACTED
            at = _behind_brackets(text, value.end())
    return "".join([*parts, text[at:]]) if parts else text


def _behind_brackets(text: str, at: int) -> int:
    """Where what opens at `at` is closed, a list or the arguments of a `SecretStr(...)`; `at` if nothing opens.

    At the latest the end of the line: a line of source code in a stack trace may open what it does not close.
    """
    if text[at : at + 1] not in {"(", "[", "{"}:
        return at
    depth = 0
    for part in _BRACKETS.finditer(text, at):
        if part["opens"]:
            depth += 1
        elif part["closes"]:
            depth -= 1
            if depth == 0:
                return part.end()
        elif part[0] == "\n":
            return part.start()
    return len(text)


__all__ = ["redact_error", "redact_message"]
