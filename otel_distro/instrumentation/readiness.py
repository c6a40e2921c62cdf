"""Waiting until the application has made a library ready, where its import is too early for an instrumentor."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any


def after_first_return(module: ModuleType, name: str, then: Callable[[], object]) -> None:
    """Call `then` once, when a function of a module has returned for the first time.

    Args:
        module: that has it; the function stands there as it was before `then` is called.
        name: of the function, which may be called any number of times and may raise.
        then: guarded by itself.
    """
    original = getattr(module, name)
    waiting = [then]

    @wraps(original)
    def first(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if getattr(module, name) is first:
            setattr(module, name, original)
        # whoever keeps a reference to it calls it again
        if waiting:
            waiting.pop()()
        return result

    setattr(module, name, first)
