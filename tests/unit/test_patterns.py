"""Regular expressions of users, compiled."""

from __future__ import annotations

import pytest

from otel_distro.guard import Guard
from otel_distro.patterns import usable


def _usable(*patterns: str) -> tuple[list[str], list[str]]:
    lines: list[str] = []
    found = usable(patterns, "test", Guard(output=lambda _, line: lines.append(line)))
    return [each.pattern for each in found], lines


def test_expressions_are_joined() -> None:
    """Several expressions become one, which is searched once."""
    assert _usable("/health$", "/(live|ready)") == (["(?:/health$)|(?:/(live|ready))"], [])


@pytest.mark.parametrize(
    "patterns",
    [("a", "(?i)b"), ("(?P<n>a)", "(?P<n>b)"), ("(a)", r"(b)\1"), ("(a)", "(b)?c(?(1)d|e)"), ("(?x)a # one", "b")],
)
def test_expressions_that_would_mean_something_else_stay_apart(patterns: tuple[str, ...]) -> None:
    """Flags and groups are an expression's own."""
    assert _usable(*patterns) == (list(patterns), [])


@pytest.mark.parametrize("broken", ["(", "a{99999999999999999999}", "(" * 5_000 + ")" * 5_000])
def test_one_that_does_not_compile_is_left_out(broken: str) -> None:
    """Whatever `re` raises for an expression, the others are used and it is said."""
    found, lines = _usable("a", broken, "b")
    assert found == ["(?:a)|(?:b)"]
    assert len(lines) == 1


def test_nothing_is_nothing() -> None:
    """Of no expressions none are compiled."""
    assert _usable() == ([], [])
