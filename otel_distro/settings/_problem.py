"""What is wrong with one variable, and what happens instead."""

from __future__ import annotations

from enum import Enum

from otel_distro.records import dataclass


class Weight(Enum):
    """How loudly a problem is said."""

    WARNING = "warning"
    """Something is not as its author meant it."""
    NOTE = "note"
    """Nothing is wrong, but somebody who looks for the cause of a value should find it."""
    SILENT = "silent"
    """Said by another problem already; only the environment is repaired."""


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
        weight: how loudly it is said.
    """

    variable: str
    value: str
    reason: str
    used: str
    repair: str | None = None
    leave: bool = False
    weight: Weight = Weight.WARNING

    def __str__(self) -> str:
        text = f"{self.variable}={self.value!r}: {self.reason}; {self.used}"
        # the name of a variable, or of a key in a file, may hold any character
        return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
