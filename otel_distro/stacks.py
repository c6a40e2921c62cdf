"""The stack trace of an exception as Python prints it, without the price: each place in the code is formatted once.

`traceback` reads each line of each frame anew, asks the file system whether its file has changed, and parses the line
again for its marks: a millisecond and a half for the forty frames under a handler of FastAPI's. A service that fails
on every request fails in the same places.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import lru_cache
from types import CodeType, TracebackType
from typing import Any
from weakref import ref

_REMEMBERED = 1_024
_LONGEST = 2_000
"""Characters above which a place is formatted each time: a file may have a line of a megabyte."""
_REPEATS = 3
"""As many equal lines in a row are shown by Python before it counts them."""


def formatted(error: BaseException, shown_as: Callable[[str], str] = str) -> str:
    """What `traceback.format_exception` gives, joined.

    A file that has changed since one of its places was first formatted is shown there as it was then. Only the lines
    that repeat in a traceback made by hand, whose frames have other lines than their instructions, may be counted
    otherwise.

    Args:
        error: with its traceback.
        shown_as: makes of each part what is shown: of messages, notes and the like; not of the places in the code,
            which are as they are, but where they repeat or belong to the parts of a group.

    Raises:
        Exception: whatever a broken `__cause__`, `__notes__` or source loader raises.
    """
    if hasattr(sys, "tracebacklimit"):
        return "".join(map(shown_as, traceback.format_exception(error)))
    # without frames this is cheap, and has all that is no frame: causes, groups, notes, suggestions
    whole = traceback.TracebackException(type(error), error, error.__traceback__, limit=0, compact=True)
    ahead: list[tuple[traceback.TracebackException | None, BaseException | None]] = [(whole, error)]
    places: set[str] = set()
    while ahead:
        shown, raised = ahead.pop()
        if shown is None or raised is None:
            continue
        if raised.__traceback__ is not None:
            shown.stack = _stack(raised.__traceback__)
            if type(shown.stack) is _Stack:
                places.update(shown.stack.format())
        ahead += (shown.__cause__, raised.__cause__), (shown.__context__, raised.__context__)
        if isinstance(raised, BaseExceptionGroup):
            ahead += zip(shown.exceptions or (), raised.exceptions, strict=False)
    return "".join([part if part in places else shown_as(part) for part in whole.format()])


class _Stack(traceback.StackSummary):
    """Holds the one text that it is formatted as."""

    def format(self, **_: Any) -> list[str]:
        return list(self)  # type: ignore[arg-type]  # a text in the place of frames


class _Place:
    """A place in the code, told from others by identity: equal code of two files is equal to Python."""

    __slots__ = ("_code", "_key", "text", "trace")

    def __init__(self, trace: TracebackType, code: CodeType) -> None:
        # every code has one weak reference, which is kept with its place: no other ever has the same id
        self._code = ref(code)
        self._key = (id(self._code), trace.tb_lasti, trace.tb_lineno)
        self.trace: TracebackType | None = trace
        self.text = ""

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Place) and self._key == other._key


def _stack(trace: TracebackType) -> traceback.StackSummary:
    texts: list[str] = []
    last: tuple[str, int, str] | None = None
    same = 0
    following: TracebackType | None = trace
    while following is not None:
        code = following.tb_frame.f_code
        line = (code.co_filename, following.tb_lineno, code.co_name)
        same = same + 1 if line == last else 0
        if same == _REPEATS:
            # it goes on recursively: counting such lines is Python's
            return traceback.extract_tb(trace)
        last = line
        place = _Place(following, code)
        texts.append(_known(place) or place.text or "".join(traceback.extract_tb(following, limit=1).format()))
        place.text = ""  # it may be remembered
        following = following.tb_next
    stack = _Stack()
    stack.append("".join(texts))  # type: ignore[arg-type]  # see there
    return stack


@lru_cache(maxsize=_REMEMBERED)
def _known(place: _Place) -> str:
    """The text of a place; none, which is the place's own then, where it is long or its file could not be read."""
    trace, place.trace = place.trace, None  # a frame that was remembered would keep what it holds
    shown = traceback.extract_tb(trace, limit=1)
    text = "".join(shown.format())
    if shown[0].line and len(text) <= _LONGEST:
        return text
    place.text = text
    return ""


__all__ = ["formatted"]
