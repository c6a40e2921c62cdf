"""A place in the document, from which what is understood is taken away, so that what remains can be named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from otel_distro.settings._problem import Problem

_MOST_NAMED = 30
_LONGEST_KEY = 80


@dataclass(slots=True)
class Found:
    """What a document says, as variables.

    Attributes:
        environ: variable -> text.
        origins: variable -> place in the document.
        problems: what is not supported.
    """

    environ: dict[str, str] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def set(self, variable: str, text: str, origin: str) -> None:
        """The document says `text` at `origin`."""
        self.environ[variable] = text
        self.origins[variable] = origin

    def unsupported(self, origin: str, reason: str, used: str = "it is left out") -> None:
        """Name something that cannot be had; at most thirty such lines."""
        if len(self.problems) < _MOST_NAMED:
            self.problems.append(Problem(f"OTEL_CONFIG_FILE {origin}", "…", reason, used, leave=True))


class Node:
    """A mapping of the document.

    Args:
        data: its content; anything else than a mapping is named and counts as empty.
        path: where it stands.
        found: gets what is taken and what remains.
    """

    def __init__(self, data: Any, path: str, found: Found) -> None:
        self.path = path
        self.found = found
        self._data: dict[str, Any] = {}
        if isinstance(data, Mapping):
            self._data = dict(data)
        elif data is not None:
            found.unsupported(path or "(all)", "not a mapping")

    def keys(self) -> list[str]:
        """What has not been taken yet."""
        return list(self._data)

    def at(self, key: str) -> str:
        """The place of `key`."""
        shown = key if len(key) <= _LONGEST_KEY else key[: _LONGEST_KEY - 1] + "…"
        return f"{self.path}.{shown}" if self.path else shown

    def take(self, key: str) -> str | None:
        """The text under `key`; None where there is none."""
        value = self._data.pop(key, None)
        if isinstance(value, (Mapping, list)):
            self.found.unsupported(self.at(key), "not a single value")
            return None
        return None if value is None else str(value)

    def texts(self, key: str) -> Sequence[str]:
        """The texts of the list under `key`."""
        value = self._data.pop(key, None)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.found.unsupported(self.at(key), "not a list of texts")
            return ()
        return value

    def child(self, key: str) -> Node | None:
        """The mapping under `key`, an empty one for null; None where the key is absent."""
        if key not in self._data:
            return None
        return Node(self._data.pop(key), self.at(key), self.found)

    def children(self, key: str) -> Iterator[Node]:
        """The mappings of the list under `key`."""
        value = self._data.pop(key, None)
        if value is None:
            return
        if not isinstance(value, list):
            self.found.unsupported(self.at(key), "not a list")
            return
        for index, item in enumerate(value):
            yield Node(item, f"{self.at(key)}[{index}]", self.found)

    def copy_to(self, prefix: str, **variables: str) -> None:
        """Set variables, each `prefix` and the name given, from the key given."""
        for key, name in variables.items():
            text = self.take(key)
            if text is not None:
                self.found.set(prefix + name, text, self.at(key))

    def ignore(self, *keys: str) -> None:
        """Take keys that say nothing here."""
        for key in keys:
            self._data.pop(key, None)

    def done(self, reason: str = "not supported") -> None:
        """Name what has not been taken."""
        for key in self._data:
            self.found.unsupported(self.at(key), reason)
        self._data.clear()
