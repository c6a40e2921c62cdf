"""One environment variable, described where its value will live: a field of a frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ._values import Kind

SPEC = "OpenTelemetry specification"
CONTRIB = "opentelemetry-python-contrib"
UPSTREAM = "opentelemetry-python"
OURS = "otel-distro"


@dataclass(frozen=True, slots=True)
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

    name: str
    kind: Kind
    default: Any
    meaning: str
    source: str
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A nested group of variables; `prefix` is put before their names, `fallback` is tried when that is unset."""

    type: type
    prefix: str = ""
    fallback: str = ""


def variable(name: str, kind: Kind, default: Any, meaning: str, *, source: str = SPEC, secret: bool = False) -> Any:
    """A dataclass field read from the environment variable `name`."""
    described = Variable(name, kind, default, meaning, source, secret)
    if isinstance(default, dict):
        return field(default_factory=dict, metadata={"variable": described})
    return field(default=default, metadata={"variable": described})


def group(type_: type, *, prefix: str = "", fallback: str = "") -> Any:
    """A dataclass field that holds a nested group of variables."""
    return field(default_factory=type_, metadata={"group": Group(type_, prefix, fallback)})
