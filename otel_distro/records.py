"""Dataclasses for what is imported at every start: the same to readers and type checkers, a tenth of the time to make.

`dataclasses` compiles up to eight methods of each class one by one, and its import brings `inspect` along. Here one
constructor is compiled, and comparing, hashing and showing are shared by all classes. `frozen` is what type checkers
hold the code to; nothing looks at run time.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - the name is this module's own, too
    from dataclasses import field as field  # noqa: PLC0414
    from dataclasses import replace as replace  # noqa: PLC0414
else:

    def dataclass(cls=None, /, *, frozen=False, slots=True, eq=True, kw_only=False):
        """Make a class with slots of the annotations of `cls`; bare, or with the arguments of the standard one."""
        if cls is None:
            return lambda cls: _record(cls, frozen, eq, kw_only)
        return _record(cls, frozen, eq, kw_only)

    def field(*, default=None, default_factory=None, repr=True):  # noqa: A002 - the standard one's names
        """A default that is made for each object, or that is not shown."""
        return _Field(default, default_factory, repr)

    def replace(record, **changes):
        """The same with other values."""
        return type(record)(**{name: getattr(record, name) for name in record.__slots__} | changes)


class _Field:
    """What was said of a field beside its type."""

    def __init__(self, default: Any, factory: Callable[[], Any] | None, shown: bool) -> None:
        self.default = default
        self.factory = factory
        self.shown = shown


def _record(cls: Any, frozen: bool, eq: bool, kw_only: bool) -> Any:
    names = [name for name, kind in cls.__annotations__.items() if "ClassVar" not in str(kind)]
    own = {name: value for name, value in cls.__dict__.items() if name not in {"__dict__", "__weakref__"}}
    told = {name: own.pop(name) for name in names if name in own}
    fields = {name: value for name, value in told.items() if type(value) is _Field}
    own["__qualname__"] = cls.__qualname__
    own["__slots__"] = tuple(names)
    own["__init__"] = _constructor(names, told, kw_only)
    own["__match_args__"] = tuple(names)
    own["_shown"] = tuple(name for name in names if name not in fields or fields[name].shown)
    own.setdefault("__repr__", _repr)
    if eq:
        own["_values"] = attrgetter(*names, names[0])
        own.setdefault("__eq__", _equal)
        own.setdefault("__hash__", _hash if frozen else None)
    return type(cls)(cls.__name__, cls.__bases__, own)


def _constructor(names: list[str], told: dict[str, Any], kw_only: bool) -> Any:
    """`__init__`, compiled: objects are made as fast as by hand."""
    arguments: list[str] = []
    body: list[str] = []
    space: dict[str, Any] = {}
    for name in names:
        value = told.get(name)
        if type(value) is _Field and value.factory is not None:
            space[f"_make_{name}"], space["_NONE"] = value.factory, _NONE
            arguments.append(f"{name}=_NONE")
            body.append(f" self.{name} = _make_{name}() if {name} is _NONE else {name}")
            continue
        if name in told:
            space[f"_of_{name}"] = value.default if type(value) is _Field else value
        arguments.append(f"{name}=_of_{name}" if name in told else name)
        body.append(f" self.{name} = {name}")
    head = ", ".join(["self", *(["*"] if kw_only else ()), *arguments])
    exec(f"def __init__({head}):\n" + "\n".join(body), space)  # noqa: S102 - of names in this package's own source
    return space["__init__"]


_NONE = object()


def _equal(self: Any, other: object) -> Any:
    values: Callable[[Any], object] = self._values
    if type(other) is type(self):
        return values(self) == values(other)
    return NotImplemented


def _hash(self: Any) -> int:
    values: Callable[[Any], object] = self._values
    return hash(values(self))


def _repr(self: Any) -> str:
    return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._shown)})"
