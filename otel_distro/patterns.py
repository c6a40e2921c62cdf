"""Regular expressions: ours, compiled when they are first needed, and those of users, which may not compile."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache

TYPE_CHECKING = False  # as `typing` has it; checkers know the name
if TYPE_CHECKING:
    from .guard import Guard

_UNUSABLE = (re.error, RecursionError, OverflowError)
"""What `re.compile` raises, by what is wrong with an expression."""


def late(pattern: str, flags: int = 0) -> Callable[[], re.Pattern[str]]:
    """What gives the compiled expression; for places whose answers are remembered, a call costs 0.05 us."""
    return cache(lambda: re.compile(pattern, flags))


_REFERS_BY_NUMBER = late(r"\\[1-9]|\(\?\(")


def usable(patterns: Iterable[str], part: str, guard: Guard, flags: int = 0) -> tuple[re.Pattern[str], ...]:
    """Expressions of a user's, compiled: one for all where that means the same, which is the faster to search with.

    Args:
        patterns: one that does not compile is left out and said.
        part: of the distro, which `guard` counts them under.
        guard: gets those that do not compile.
        flags: of `re`, for each of them.
    """
    found: dict[str, re.Pattern[str]] = {}
    for pattern in patterns:
        try:
            found[pattern] = re.compile(pattern, flags)
        except _UNUSABLE as error:
            guard.failed(part, error, remedy=f"{pattern!r} is left out")
    apart = tuple(found.values())
    # a group has another number in the whole than in its own expression
    if len(found) < 2 or any(_REFERS_BY_NUMBER().search(pattern) for pattern in found):
        return apart
    try:
        return (re.compile("|".join(f"(?:{pattern})" for pattern in found), flags),)
    except _UNUSABLE:
        # flags for a whole expression (`(?i)/health`), or groups of one name in two
        return apart
