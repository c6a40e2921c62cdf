"""Untrusted text on a terminal: control characters out, widths counted in cells, one line each."""

from __future__ import annotations

import unicodedata

LONGEST = 1_000  # characters of one value that are looked at; no terminal line shows more
_REPLACED = {"Cc": " ", "Zl": " ", "Zp": " "}
_DROPPED = frozenset({"Cf", "Cs", "Co", "Cn"})  # bidirectional overrides, lone surrogates, private use, unassigned


def clean(value: object) -> str:
    """One printable line: line breaks and control characters become a space, invisible characters vanish.

    Without it a span's name could move the cursor, rewrite the title or reorder the line (terminal escape injection).
    """
    text = value if isinstance(value, str) else str(value)
    text = text[:LONGEST]
    if text.isascii() and text.isprintable():
        return text
    kept = []
    for character in text:
        category = unicodedata.category(character)
        if category not in _DROPPED:
            kept.append(_REPLACED.get(category, character))
    return "".join(kept)


def cells(text: str) -> int:
    """How many columns of a terminal the text takes: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(_cells(character) for character in text)


def fit(text: str, width: int, *, more: str = "…") -> str:
    """Exactly `width` columns: padded with spaces, or cut with `more` at the end."""
    taken = cells(text)
    if taken <= width:
        return text + " " * (width - taken)
    room = width - len(more)
    if room < 0:
        return " " * width
    kept, used = [], 0
    for character in text:
        used += _cells(character)
        if used > room:
            used -= _cells(character)
            break
        kept.append(character)
    return "".join(kept) + more + " " * (room - used)


def duration(nanoseconds: int | None) -> str:
    """At most eight characters: `850 us`, `12.3 ms`, `1.20 s`, `12 min`."""
    if nanoseconds is None:
        return "?"
    for limit, unit, size in ((1_000_000, "us", 1_000), (1_000_000_000, "ms", 1_000_000)):
        if nanoseconds < limit * 0.9995:
            return f"{_three(nanoseconds / size)} {unit}"
    seconds = nanoseconds / 1_000_000_000
    return f"{_three(seconds)} s" if seconds < 600 else f"{seconds / 60:,.0f} min"


def _three(number: float) -> str:
    """Three digits that count, where there are fewer before the point."""
    if number >= 99.95:
        return f"{number:.0f}"
    return f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
