"""Messages without the values in them: plain words stay, everything that may be a value goes."""

from __future__ import annotations

import re
from typing import Any

from otel_distro.redaction import PLACEHOLDER, redact_exception, redact_message

_LONGEST = 2_000
# what stands in quotes is a value, whatever it looks like
_QUOTED = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`")
_EMPTIED = ("'?'", '"?"', "`?`")
_MASKED = re.compile(f"({'|'.join(map(re.escape, _EMPTIED))})")
_URL = re.compile(r"[A-Za-z][\w+.-]{0,30}://\S+")
_TOKEN = re.compile(r"[^\s,;:()\[\]{}<>?!]+")
_PLAIN = re.compile(r"(?:[A-Z]?[a-z]{1,19}|[A-Z]{1,5})(?:'(?:s|t|re|ve|ll))?\.?")
_TYPE = re.compile(r"[A-Za-z_][\w.]{0,100}(?:Error|Exception|Warning|Exit|Interrupt|Timeout|Group)")
_APOSTROPHE = re.compile(r"(?<=[a-z])'(?=(?:s|t|re|ve|ll)\b)")
_LITERAL = re.compile(r"(?P<quote>'''|\"\"\"|'|\")(?P<text>(?:\\.|(?!(?P=quote)).)*)(?P<end>(?P=quote)|\Z)")


TRACE = "Traceback (most recent call last):"
_INDENT = " " * 4
# the margin of a group's part, then a place in the code, or the type of an exception
_TRACE_LINE = re.compile(r"(?P<margin>(?: *[|+])?[ -]*)(?:(?P<file>File \")|(?P<kind>[\w.]+:(?= )))?")


def words(text: str) -> str:
    """`text` with `?` for each quoted part, number, address and identifier; words and names of exceptions stay.

    `invalid literal for int() with base 10: '4x'` gives `invalid literal for int() with base ?: '?'`.
    """
    text = _APOSTROPHE.sub("\N{RIGHT SINGLE QUOTATION MARK}", redact_exception(text[:_LONGEST]))
    text = _QUOTED.sub(_masked, _URL.sub(PLACEHOLDER, text))
    text = "".join([part if part in _EMPTIED else redact_message(part) for part in _MASKED.split(text)])
    text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return _TOKEN.sub(_word, text)


def without_literals(line: str) -> str:
    """A line of source code with the words only of its string literals."""
    return _LITERAL.sub(lambda m: f"{m['quote']}{_TOKEN.sub(_word, m['text'])}{m['end']}", line)


def without_messages(text: str) -> str:
    """A log message with the words only of exceptions whose stack trace is in it: uvicorn's about a failed start."""
    head, mark, trace = text.partition(TRACE)
    return head + mark + "\n".join(map(_trace_line, trace.split("\n"))) if mark else text


def shortened(found: Any, most: int) -> Any:
    """What JSON has, with so many characters of each text at most."""
    if isinstance(found, str):
        return found[:most]
    if isinstance(found, dict):
        return {name: shortened(value, most) for name, value in found.items()}
    if isinstance(found, list):
        return [shortened(value, most) for value in found]
    return found


def _trace_line(line: str) -> str:
    found = _TRACE_LINE.match(line)
    if found is None or found["file"]:
        return line
    margin, kind, rest = found["margin"], found["kind"] or "", line[found.end() :]
    return margin + (without_literals(kind + rest) if margin.endswith(_INDENT) else kind + words(rest))


def _masked(match: re.Match[str]) -> str:
    quoted = match.group()
    return f"{quoted[0]}{PLACEHOLDER}{quoted[-1]}" if len(quoted) > 2 else quoted


def _word(match: re.Match[str]) -> str:
    token = match.group()
    if _PLAIN.fullmatch(token) or _TYPE.fullmatch(token) or not any(c.isalnum() for c in token):
        return token
    return PLACEHOLDER


__all__ = ["TRACE", "shortened", "without_literals", "without_messages", "words"]
