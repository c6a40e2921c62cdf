"""A dictionary as YAML that a person may read: a key `#name` is the comment above `name`."""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_WIDTH = 120
_INDENT = "  "
_PLAIN = re.compile(r"[A-Za-z_/.$][^\n]*")
# What YAML 1.1 readers take for something else than a string.
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "~", ""})


def without_comments(node: Any) -> Any:
    """What the collector reads of such a dictionary."""
    if isinstance(node, dict):
        return {key: without_comments(value) for key, value in node.items() if not key.startswith("#")}
    return [without_comments(item) for item in node] if isinstance(node, list) else node


def yaml_text(document: Mapping[str, Any], heading: str) -> str:
    """The whole file: `heading` as comment, then each section of `document` after an empty line."""
    parts = ["\n".join(f"# {line}".rstrip() for line in heading.splitlines())]
    parts += ["\n".join(_mapping({key: value}, 0)) for key, value in document.items()]
    return "\n\n".join(parts) + "\n"


def _mapping(node: Mapping[str, Any], depth: int) -> Iterator[str]:
    margin = _INDENT * depth
    for key, value in node.items():
        if key.startswith("#"):
            width = _WIDTH - len(margin) - 2
            yield from (f"{margin}# {line}" for line in textwrap.wrap(value, width))
        elif isinstance(value, dict) and value:
            yield f"{margin}{key}:"
            yield from _mapping(value, depth + 1)
        elif isinstance(value, list) and not _short(value):
            yield f"{margin}{key}:"
            yield from _sequence(value, depth + 1)
        else:
            yield f"{margin}{key}: {_scalar(value)}"


def _sequence(items: list[Any], depth: int) -> Iterator[str]:
    margin = _INDENT * depth
    for item in items:
        if isinstance(item, dict):
            lines = list(_mapping(item, depth + 1))
            yield f"{margin}- {lines[0].lstrip()}"
            yield from lines[1:]
        else:
            yield f"{margin}- {_scalar(item)}"


def _short(items: list[Any]) -> bool:
    """Whether a list fits on its key's line."""
    return all(not isinstance(item, dict | list) for item in items) and len(_flow(items)) < 90


def _flow(items: list[Any]) -> str:
    return "[" + ", ".join(_scalar(item, inside=",[]{}") for item in items) + "]"


def _scalar(value: Any, inside: str = "") -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        return _flow(value)
    if isinstance(value, dict):
        return "{}"
    plain = (
        _PLAIN.fullmatch(value)
        and value.lower() not in _WORDS
        and ": " not in value
        and " #" not in value
        and not value.endswith((":", " "))
        and not set(inside) & set(value)
    )
    return value if plain or re.fullmatch(r"\d+(ms|s|m|h)", value) else json.dumps(value, ensure_ascii=False)
