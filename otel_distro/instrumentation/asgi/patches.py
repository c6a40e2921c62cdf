"""Methods replaced on classes, and put back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


class Patches:
    """Remembers what was replaced; `wrap` of the same method twice does nothing."""

    def __init__(self) -> None:
        self._done: dict[tuple[type, str], Any] = {}

    def wrap(self, owner: type, name: str, make: Callable[[Any], Any]) -> None:
        """Replace a method of a class by one made from it.

        Args:
            owner: the class that defines it; a static method stays one.
            name: of the method.
            make: gets the original function and gives the one to call instead.
        """
        if (owner, name) in self._done or name not in vars(owner):
            return
        stored = vars(owner)[name]
        static = isinstance(stored, staticmethod)
        original = stored.__func__ if static else stored
        made = functools.wraps(original)(make(original))
        self._done[owner, name] = stored
        setattr(owner, name, staticmethod(made) if static else made)

    def undo(self) -> None:
        """Put every original back."""
        while self._done:
            (owner, name), stored = self._done.popitem()
            setattr(owner, name, stored)
