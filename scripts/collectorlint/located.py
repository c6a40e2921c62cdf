"""YAML with the line of every key, merge keys and anchors resolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]


@dataclass
class Document:
    """A YAML document as plain values, and where each path of keys stands in the file (lines from 1)."""

    value: Any
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, *path: str | int) -> int:
        """Line of a path, or of the nearest path above it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def documents(text: str, *, first_line: int = 1) -> list[Document]:
    """The documents of a text whose first line is `first_line` of its file.

    Raises:
        yaml.YAMLError: it is not YAML.
    """
    loader = yaml.SafeLoader(text)
    found = []
    try:
        while loader.check_node():
            document = Document(None)
            document.value = _read(loader, loader.get_node(), (), document, first_line)
            found.append(document)
    finally:
        loader.dispose()
    return found


def _read(loader: yaml.SafeLoader, node: yaml.Node, path: Path, document: Document, first: int) -> Any:
    document.lines.setdefault(path, node.start_mark.line + first)
    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)
        result = {}
        for key_node, value_node in node.value:
            key = str(loader.construct_object(key_node))
            document.lines[(*path, key)] = key_node.start_mark.line + first
            result[key] = _read(loader, value_node, (*path, key), document, first)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_read(loader, item, (*path, place), document, first) for place, item in enumerate(node.value)]
    return loader.construct_object(node)
