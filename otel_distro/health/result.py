"""What a check found, and the words for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from .reason import safe

_MOST_DETAILS = 32


class Degraded(Exception):
    """Raised by a check whose dependency works, but not as it should; its text is the reason."""


class Status(Enum):
    """How a dependency is."""

    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one run.

    Attributes:
        status: how the dependency is.
        seconds: that the run took; None for one that has not ended.
        at: when it began, seconds since the epoch.
        reason: why it is not up, without secrets.
        details: what the check tells about itself, without secrets.
        nonsense: what the check returned is no answer.
    """

    status: Status
    seconds: float | None
    at: float
    reason: str | None = None
    details: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    nonsense: bool = False


def returned(value: object, seconds: float, at: float) -> Result:
    """The result of a check that returned: None, True or a mapping is up, False is down, anything else is nonsense.

    Args:
        value: what it returned.
        seconds: that it took.
        at: when it began, seconds since the epoch.
    """
    if value is None or value is True:
        return Result(Status.UP, seconds, at)
    if value is False:
        return Result(Status.DOWN, seconds, at, "the check says no")
    if isinstance(value, Mapping):
        return Result(Status.UP, seconds, at, details=_plain(value))
    reason = f"the check returned {type(value).__name__[:100]}, not None, a boolean or a mapping"
    return Result(Status.DOWN, seconds, at, reason, nonsense=True)


def raised(error: BaseException, seconds: float, at: float) -> Result:
    """The result of a check that raised."""
    status = Status.DEGRADED if isinstance(error, Degraded) else Status.DOWN
    return Result(status, seconds, at, safe(error))


def _plain(value: Mapping[object, object]) -> Mapping[str, str | int | float | bool | None]:
    plain: dict[str, str | int | float | bool | None] = {}
    for key, item in value.items():
        if len(plain) >= _MOST_DETAILS:
            break
        # NaN and infinities are no JSON
        number = isinstance(item, (int, float)) and item == item and abs(item) < 1e300  # noqa: PLR0124
        plain[safe(str(key))[:100]] = item if item is None or number else safe(item)  # type: ignore[assignment]
    return plain
