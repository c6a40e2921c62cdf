"""Durations, and what a stream can show."""

from __future__ import annotations

import io

import pytest

from otel_distro.console import choose_style, width_of
from otel_distro.console.text import duration


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("nanoseconds", "shown"),
    [
        (0, "0.00 us"),
        (1_500, "1.50 us"),
        (999_400, "999 us"),
        (999_999, "1.00 ms"),
        (9_996_000, "10.0 ms"),
        (34_210_000, "34.2 ms"),
        (999_960_000, "1.00 s"),
        (61_000_000_000, "61.0 s"),
        (599_000_000_000, "599 s"),
        (720_000_000_000, "12 min"),
        (None, "?"),
    ],
)
def test_durations_have_three_digits(nanoseconds: int | None, shown: str) -> None:
    """A duration is given in the unit that leaves one to three digits before the point."""
    assert duration(nanoseconds) == shown


@pytest.mark.parametrize(
    ("terminal", "environment", "colour"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (True, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colour_follows_terminal_and_wishes(terminal: bool, environment: dict[str, str], colour: bool) -> None:
    """Colour needs a terminal that is not dumb, and nobody who set NO_COLOR (no-color.org: not empty)."""
    stream = Terminal() if terminal else io.StringIO()
    assert choose_style(stream, environment).colour is colour


@pytest.mark.parametrize(("encoding", "plain"), [("utf-8", False), ("ascii", True), ("latin-1", True)])
def test_lines_are_ascii_where_the_encoding_has_no_others(encoding: str, plain: bool) -> None:
    """A stream in an old encoding gets ASCII lines."""
    assert choose_style(io.TextIOWrapper(io.BytesIO(), encoding=encoding), {}).ascii is plain


def test_a_closed_stream_has_no_colour_and_the_default_width() -> None:
    """Asking about a closed stream raises nothing."""
    stream = io.StringIO()
    stream.close()
    assert choose_style(stream, {}).colour is False
    assert width_of(stream) == 120
