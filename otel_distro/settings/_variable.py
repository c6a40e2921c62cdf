"""One environment variable, described where its value will live: a field of a frozen record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self, TypeVar

from ._values import Kind

SPEC: Final = "OpenTelemetry specification"
CONTRIB: Final = "opentelemetry-python-contrib"
UPSTREAM: Final = "opentelemetry-python"
OURS: Final = "otel-distro"

R = TypeVar("R", bound="Record")


class Variable:
    """An environment variable the distro reads.

    Attributes:
        name: the full name, or a suffix inside a group with a prefix.
        kind: what its text may be.
        default: the value when it is unset, empty or unusable.
        meaning: one sentence for the reference table, with the unit.
        source: who defined the name.
        secret: its value is never shown.
    """

    __slots__ = ("default", "kind", "meaning", "name", "secret", "source")

    def __init__(self, name: str, kind: Kind, default: Any, meaning: str, *, source: str, secret: bool) -> None:
        self.name = name
        self.kind = kind
        self.default = default
        self.meaning = meaning
        self.source = source
        self.secret = secret


class Group:
    """A nested group of variables; `prefix` is put before their names, `fallback` is tried when that is unset."""

    __slots__ = ("fallback", "prefix", "type")

    def __init__(self, type_: type[Record], prefix: str = "", fallback: str = "") -> None:
        self.type = type_
        self.prefix = prefix
        self.fallback = fallback


def variable(name: str, kind: Kind, default: Any, meaning: str, *, source: str = SPEC, secret: bool = False) -> Any:
    """A field read from the environment variable `name`."""
    return Variable(name, kind, default, meaning, source=source, secret=secret)


def group(type_: type[Record], *, prefix: str = "", fallback: str = "") -> Any:
    """A field that holds a nested group of variables."""
    return Group(type_, prefix, fallback)


class Record:
    """What a frozen dataclass with keywords is, for every group of settings.

    `dataclasses` compiles the methods of each class at each start: for all of these a tenth of what a start costs.

    Attributes:
        described: field by field its `Variable`, its `Group`, or the default of one that the rules conclude.
    """

    described: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        own = cls.__dict__
        cls.described = {**cls.described, **{name: own[name] for name in own["__annotations__"]}}

    def __init__(self, **values: Any) -> None:
        unknown = values.keys() - self.described.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no field {min(unknown)!r}")
        self.__dict__.update(
            (name, values[name] if name in values else _default(described))
            for name, described in self.described.items()
        )

    def replace(self, **changes: Any) -> Self:
        """The same with other values."""
        return type(self)(**{**self.__dict__, **changes})

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"settings are read once: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"settings are read once: {name!r} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # mappings are among the values

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self.__dict__.items() if not _is_secret(self.described[name]))
        return f"{type(self).__name__}({', '.join(shown)})"


def _default(described: Any) -> Any:
    if type(described) is Group:
        return described.type()
    value = described.default if type(described) is Variable else described
    return value.copy() if type(value) is dict else value


def _is_secret(described: Any) -> bool:
    return type(described) is Variable and described.secret
