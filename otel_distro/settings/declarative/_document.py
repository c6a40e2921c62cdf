"""From the text of a file to nested dicts, lists and texts, with references to environment variables filled in.

Scalars stay text, because every value becomes that of a variable; only YAML's plain nulls (and JSON's) are None.
Source: OpenTelemetry specification, "Declarative configuration, data model", environment variable substitution.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_REFERENCE = re.compile(r"\$\$|\$\{([^}]*)\}")
_NAME = re.compile(r"(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_DEEPEST = 60


class Filler:
    """Fills references in.

    Args:
        environ: where they point.

    Attributes:
        referenced: names that were looked up.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.referenced: set[str] = set()

    def fill(self, text: str) -> str:
        """`text` with `${NAME}`, `${env:NAME}` and `${NAME:-default}` replaced, and `$$` by a dollar sign.

        Raises:
            ValueError: a reference that is none of these.
        """
        return _REFERENCE.sub(self._value, text) if "$" in text else text

    def _value(self, match: re.Match[str]) -> str:
        if match[1] is None:
            return "$"
        found = _NAME.fullmatch(match[1])
        if found is None:
            raise ValueError(f"not a reference to an environment variable: {match[0][:60]!r}")
        name, default = found.groups()
        self.referenced.add(name)
        return self._environ.get(name, "") or default or ""


def parse(text: str, path: str, environ: Mapping[str, str]) -> tuple[Mapping[str, Any], set[str]]:
    """The document and the names of the variables it refers to.

    Args:
        text: YAML, or JSON where the path ends so.
        path: of the file.
        environ: for references.

    Raises:
        ValueError: not such a document; one line says where.
        ModuleNotFoundError: PyYAML is not installed.
    """
    filler = Filler(environ)
    data = _json(json.loads(text), filler) if path.lower().endswith(".json") else _yaml(text, filler)
    if not isinstance(data, dict):
        raise ValueError("the document is not a mapping")  # noqa: TRY004 - one kind of error for all that is wrong
    return data, filler.referenced


def _json(value: Any, filler: Filler, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise ValueError(f"nested deeper than {_DEEPEST}")
    if isinstance(value, dict):
        return {key: _json(item, filler, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_json(item, filler, depth + 1) for item in value]
    if isinstance(value, str):
        return filler.fill(value)
    return value if value is None else json.dumps(value)


def _yaml(text: str, filler: Filler) -> Any:
    import yaml  # type: ignore[import-untyped, unused-ignore]  # an extra, and only who has a file pays for it

    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {_place(error)}") from None
    return None if root is None else _node(root, filler)


def _place(error: Any) -> str:
    problem = getattr(error, "problem", None) or type(error).__name__
    mark = getattr(error, "problem_mark", None)
    return problem if mark is None else f"{problem}, line {mark.line + 1}"


def _node(node: Any, filler: Filler, depth: int = 0) -> Any:
    # an alias of an enclosing node never ends
    if depth > _DEEPEST:
        raise ValueError(f"nested deeper than {_DEEPEST}")
    if node.id == "mapping":
        return _mapping(node, filler, depth)
    if node.id == "sequence":
        return [_node(item, filler, depth + 1) for item in node.value]
    text = filler.fill(node.value)
    return None if node.style is None and text in _NULLS else text


def _mapping(node: Any, filler: Filler, depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, item in node.value:
        if key.id != "scalar":
            raise ValueError(f"a key is no text, line {key.start_mark.line + 1}")
        value = _node(item, filler, depth + 1)
        if key.value == "<<" and key.style is None:
            for merged in value if isinstance(value, list) else [value]:
                made = {**merged, **made} if isinstance(merged, dict) else made
        else:
            made[key.value] = value
    return made
