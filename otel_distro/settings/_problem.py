"""What is wrong with one variable, and what happens instead."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One value that is not used as it stands.

    Attributes:
        variable: the variable's full name.
        value: its text, or `***` for a secret.
        reason: why, one clause.
        used: what happens instead, one clause.
        repair: the text the environment should hold instead, so that code that reads the variable itself also
            survives; None takes the variable away.
        leave: the environment is left as it is (the value is good, only not for this use).
    """

    variable: str
    value: str
    reason: str
    used: str
    repair: str | None = None
    leave: bool = False

    def __str__(self) -> str:
        return f"{self.variable}={self.value!r}: {self.reason}; {self.used}"
