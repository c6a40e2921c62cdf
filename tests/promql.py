"""Rules and queries read as text: which metrics they select, by which labels, and what they group by."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).resolve().parents[1] / "deploy" / "prometheus" / "rules"
_SELECTED = re.compile(r"(?<![:\w])([a-zA-Z_][a-zA-Z0-9_]*)\{([^}]*)\}")
_INSIDE = re.compile(r'"[^"]*"|\{[^}]*\}|\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)')
_BARE = re.compile(r"(?<![:\w$])[a-zA-Z]\w*_\w+\b(?![:\w({])")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPED = re.compile(r"(?:by|on) \(([^)]*)\)")


def rules(file: str) -> list[dict[str, Any]]:
    """Every rule of a deployed file, alerts and records, in its order."""
    groups = yaml.safe_load((RULES / file).read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def selected(expression: str) -> list[tuple[str, str]]:
    """Each metric that stands before braces, and the matchers within them; what rules record has colons and is none."""
    return _SELECTED.findall(expression)


def bare(expression: str) -> set[str]:
    """Metrics that stand without braces, which `selected` does not see."""
    return set(_BARE.findall(_INSIDE.sub(_opening, expression)))


def _opening(inside: re.Match[str]) -> str:
    return "{" if inside[0].startswith("{") else ""


def labels(matchers: str) -> set[str]:
    """The labels that matchers ask for."""
    return set(_LABEL.findall(matchers))


def grouped(expression: str) -> set[str]:
    """The labels that series are grouped or matched by."""
    return {label for group in _GROUPED.findall(expression) for label in group.split(", ")}
