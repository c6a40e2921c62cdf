"""A drawn trace as an SVG, for a README: the same lines and colours as on a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape

from otel_distro.console import SpanLike, Style, TraceTree

_WIDTH = 110  # columns
_CELL, _LINE, _MARGIN = 8.0, 19, 16  # pixels
_SEQUENCE = re.compile(r"\x1b\[([\d;]*)m")
_COLOURS = {
    "31": "#f47067",
    "32": "#8ddb8c",
    "33": "#daaa3f",
    "34": "#6cb6ff",
    "35": "#dcbdfb",
    "36": "#76e3ea",
    "92": "#b4f1b4",
    "94": "#96d0ff",
    "95": "#eedcff",
    "96": "#a5f0f5",
}


def svg(spans: Iterable[SpanLike]) -> str:
    """The picture of a trace."""
    lines = list(TraceTree(spans).lines(_WIDTH, Style(colour=True)))
    width, height = _WIDTH * _CELL + 2 * _MARGIN, len(lines) * _LINE + 2 * _MARGIN
    body = "\n".join(_line(number, line) for number, line in enumerate(lines))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" width="{width:g}" height="{height}">'
        "\n"
        '<rect width="100%" height="100%" rx="8" fill="#1c2128"/>\n'
        '<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="13.3" fill="#cdd9e5">\n'
        f"{body}\n</g>\n</svg>\n"
    )


def _line(number: int, line: str) -> str:
    """One line; every run of text has its own place, so that fonts of any width keep the columns."""
    runs = "".join(
        f'<tspan x="{_MARGIN + column * _CELL:g}" textLength="{len(text) * _CELL:g}"'
        f' lengthAdjust="spacingAndGlyphs"{_look(codes)}>{escape(text)}</tspan>'
        for column, text, codes in _runs(line)
    )
    return f'<text y="{_MARGIN + number * _LINE + 13}" xml:space="preserve">{runs}</text>'


def _runs(line: str) -> Iterator[tuple[int, str, list[str]]]:
    """Column, text and SGR codes of each run that is not only space."""
    column, codes = 0, list[str]()
    parts = _SEQUENCE.split(line)
    for position, part in enumerate(parts):
        if position % 2:
            codes = [code for code in part.split(";") if code not in {"", "0"}]
            continue
        if text := part.strip(" "):
            yield column + len(part) - len(part.lstrip(" ")), text, codes
        column += len(part)


def _look(codes: Iterable[str]) -> str:
    looks = [f' fill="{_COLOURS[code]}"' for code in codes if code in _COLOURS]
    looks += [' font-weight="bold"'] * ("1" in codes) + [' fill-opacity="0.55"'] * ("2" in codes)
    return "".join(looks)
