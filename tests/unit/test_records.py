"""Records: what the standard dataclasses do, as far as they are used here."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import ClassVar

import pytest

from otel_distro.records import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Point:
    """A frozen one with a default, a class variable and a method."""

    unit: ClassVar[str] = "m"
    x: int
    y: int = 2

    def total(self) -> int:
        return self.x + self.y


@dataclass(slots=True)
class Held:
    """One with a list of its own and a field that is not shown."""

    name: str
    items: list[int] = field(default_factory=list)
    secret: str = field(default="s", repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Standard:
    """The standard counterpart of `Point`."""

    x: int
    y: int = 2


def test_they_are_made_compared_hashed_and_shown_as_dataclasses_are() -> None:
    """Constructor, equality, hash and text are those of the standard ones."""
    assert (Point(1), Point(x=1, y=2), Point(1, 3)) == (Point(1, 2), Point(1), Point(1, y=3))
    assert Point(1) != Point(2)
    assert Point(1) != Standard(1)
    assert len({Point(1), Point(1, 2), Point(5)}) == 2
    assert repr(Point(1)) == repr(Standard(1)).replace("Standard", "Point")
    assert (Point(1).total(), Point.unit) == (3, "m")


def test_wrong_arguments_are_refused() -> None:
    """What is missing, too much or unknown is a `TypeError`, and there are slots only."""
    for arguments, named in (((), {}), ((1, 2, 3), {}), ((1,), {"z": 1})):
        with pytest.raises(TypeError):
            Point(*arguments, **named)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        Held("a").unknown = 1  # type: ignore[attr-defined]


def test_each_object_has_its_own_default() -> None:
    """A factory is called for each object; what is given is taken, also when it is empty or None."""
    given: list[int] = []
    one, other, third = Held("a"), Held("b"), Held("c", given)
    one.items.append(1)
    assert (other.items, third.items is given) == ([], True)
    assert repr(one) == "Held(name='a', items=[1])"
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def test_they_are_copied_replaced_and_pickled() -> None:
    """`replace`, `copy` and `pickle` give equal objects."""
    assert replace(Point(1), y=7) == Point(1, 7)
    assert copy.copy(Point(4)) == pickle.loads(pickle.dumps(Point(4))) == Point(4)  # noqa: S301
