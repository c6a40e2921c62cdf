"""How the tree is drawn: with colour or without, with line-drawing characters or in ASCII."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

RED, YELLOW, BOLD, DIM = "31", "33", "1", "2"
SERVICE_COLOURS = ("36", "35", "34", "32", "96", "95", "94", "92")
DEFAULT_WIDTH = 120  # of a file or a pipe
_NARROWEST = 20
_EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


@dataclass(frozen=True, slots=True)
class Style:
    """Colour and characters; the default suits a file that is read as UTF-8."""

    colour: bool = False
    ascii: bool = False

    def paint(self, text: str, *codes: str) -> str:
        """The text in these SGR codes, when there is colour at all."""
        if not (self.colour and codes and text):
            return text
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m"

    @property
    def more(self) -> str:
        """What stands where a text was cut."""
        return "~" if self.ascii else "…"

    @property
    def dot(self) -> str:
        """What stands between a name and its details."""
        return "-" if self.ascii else "·"

    def bar(self, start: float, length: float, width: int) -> str:
        """`width` cells with a bar from `start`, both as parts of the whole between 0 and 1; at least a sliver."""
        if width <= 0:
            return ""
        first = min(int(start * width), width - 1)
        eighths = max(1, min(round(length * width * 8), (width - first) * 8))
        whole, rest = divmod(eighths, 8)
        drawn = "#" * (whole + (rest > 0)) if self.ascii else "█" * whole + _EIGHTHS[rest]
        return (" " * first + drawn).ljust(width)


def choose_style(stream: TextIO, environment: Mapping[str, str]) -> Style:
    """What the stream can show.

    Args:
        stream: where the tree will be written.
        environment: looked at for `NO_COLOR` (no-color.org), `FORCE_COLOR` and `TERM=dumb`.
    """
    dumb = environment.get("TERM") == "dumb"
    if environment.get("NO_COLOR"):
        colour = False
    elif environment.get("FORCE_COLOR"):
        colour = True
    else:
        colour = not dumb and _is_terminal(stream)
    return Style(colour=colour, ascii=not _shows(stream, "└─█…·"))


def width_of(stream: TextIO) -> int:
    """Columns of the terminal behind the stream, 120 where there is none."""
    if not _is_terminal(stream):
        return DEFAULT_WIDTH
    return max(_NARROWEST, shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns)


def showable(text: str, stream: TextIO) -> str:
    """The text with what the stream's encoding lacks replaced, so that writing it cannot fail."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # no file at all, or closed
        return False


def _shows(stream: TextIO, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeError, LookupError):
        return False
    return True
