"""Keys of attributes that are no text, for spans and metrics alike."""

from __future__ import annotations

from typing import Any

from .guard import Guard, let_through


def key_text(key: Any, guard: Guard) -> str | None:
    """The text that an attribute with this key is recorded under; None or empty where it is left out.

    Source: upstream's `BoundedAttributes`, which leaves a false key (0, None) out before its text is asked for.

    Args:
        key: anything.
        guard: says once that there was one that is no text.
    """
    if isinstance(key, str):
        return key
    guard.warn(f"an attribute key of type {type(key).__name__} is not text", once="attribute key type")
    return own_text(key) if key else None


def own_text(value: Any) -> str | None:
    """The text of an object that has one of its own, else None."""
    kind: Any = type(value)
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        return None
    try:
        return str(value)
    except Exception as raised:  # noqa: BLE001 - the object's own __str__ may raise anything
        let_through(raised)
        return None
