"""A collector's configuration as the rules look at it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.collectorlint.located import Document, Path

_DEFAULT = re.compile(r"\$\{(?:env:)?[A-Za-z_][A-Za-z0-9_]*:-([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: where, why, what to do, and who says so."""

    line: int
    rule: str
    why: str
    remedy: str
    source: str


@dataclass(frozen=True)
class Config:
    """One configuration inside a file."""

    document: Document
    ephemeral: tuple[str, ...] = ()  # mount paths that live as long as a pod
    replicas: int | None = None  # collectors that read it at once; None where the file does not say
    nameless: bool = False  # they are told to leave their own id out of span metrics

    def section(self, *path: str) -> dict[str, Any]:
        """The mapping at a path; empty where there is none."""
        node = self.document.value
        for key in path:
            node = node.get(key) if isinstance(node, dict) else None
        return node if isinstance(node, dict) else {}

    def items(self, *path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Names and settings of the components of a section; a component without settings has none."""
        for name, settings in self.section(*path).items():
            yield name, settings if isinstance(settings, dict) else {}

    def pipelines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Names and contents of the pipelines."""
        yield from self.items("service", "pipelines")

    def exporters_in_use(self) -> set[str]:
        """Names of what pipelines export to, connectors among them."""
        return {name for _, pipeline in self.pipelines() for name in listed(pipeline, "exporters")}

    def finding(self, path: Path, rule: str, why: str, *, remedy: str, source: str) -> Finding:
        """A finding at a path."""
        return Finding(self.document.line(*path), rule, why, remedy, source)


def listed(settings: dict[str, Any], key: str) -> list[str]:
    """A list of names; empty where there is none."""
    found = settings.get(key)
    return [str(item) for item in found] if isinstance(found, list) else []


def kind(name: str) -> str:
    """`otlp_grpc` of `otlp_grpc/tempo`."""
    return name.partition("/")[0]


def expanded(value: Any) -> Any:
    """A value with the defaults of its variables."""
    return _DEFAULT.sub(r"\1", value) if isinstance(value, str) else value
