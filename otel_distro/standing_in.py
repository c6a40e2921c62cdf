"""Functions of ours in the place of a library's, as that library's own to those who look for the caller by its frames.

SQLAlchemy looks for the first frame outside of its modules for the line that a warning is about, structlog for the line
that logged. A frame of ours between two of theirs would be taken for the application.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any


def standing_in(original: Callable[..., Any], function: Any) -> Callable[..., Any]:
    """The function, as part of the module of the one that it stands in for; costs nothing when it is called.

    Only the names that its frames tell are that module's: it still finds those of its own.

    Args:
        original: of the library.
        function: of ours, a plain one.
    """
    of_library = {**function.__globals__, "__name__": original.__module__}
    made = FunctionType(function.__code__, of_library, function.__name__, function.__defaults__, function.__closure__)
    made.__kwdefaults__ = function.__kwdefaults__
    return wraps(original)(made)


__all__ = ["standing_in"]
