"""Which line of the application is at work: asked for once a finding, never for every call."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

_DEEPEST = 500
_OWN = str(Path(__file__).parent) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_LIBRARIES = frozenset({
    "alembic", "anyio", "asyncpg", "databases", "fastapi", "greenlet", "opentelemetry", "psycopg", "psycopg2",
    "pydantic", "sentry_sdk", "sqlalchemy", "sqlalchemy_utils", "sqlmodel", "starlette", "uvicorn", "uvloop",
})  # fmt: skip
"""Installed packages that stand between an application and its database."""


class Line(NamedTuple):
    """A place in the source.

    Attributes:
        path: of the file, from the working directory where it lies below that.
        number: of the line.
        function: its qualified name.
    """

    path: str
    number: int
    function: str

    def __str__(self) -> str:
        return f"{self.path}:{self.number} in {self.function}"


def application_line() -> Line | None:
    """The innermost line of the application that is running, None where there is only the standard library and ours.

    An application is what is neither installed nor standard; where all of it is installed, the innermost frame of a
    package that is no known library counts.
    """
    second_best: FrameType | None = None
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to the caller's frame
    greenlet = _current_greenlet()
    ours_and_standard = (_OWN, "<", *_standard())
    for _ in range(_DEEPEST):
        if frame is None:
            # SQLAlchemy runs drivers in a greenlet: the application waits in the one above
            greenlet = getattr(greenlet, "parent", None)
            frame = getattr(greenlet, "gr_frame", None)
            if frame is None:
                break
        name = frame.f_code.co_filename
        installed = next((mark for mark in _INSTALLED if mark in name), None)
        if installed is not None:
            package = name.partition(installed)[2].partition(os.sep)[0].removesuffix(".py")
            if second_best is None and package not in _LIBRARIES and not name.startswith(_OWN):
                second_best = frame
        elif not name.startswith(ours_and_standard):
            return _line(frame)
        frame = frame.f_back
    return None if second_best is None else _line(second_best)


@cache
def _standard() -> tuple[str, ...]:
    """Where the standard library is; found out when it is first asked for, because that takes a millisecond."""
    import sysconfig

    places = sysconfig.get_path("stdlib"), str(Path(os.__file__).parent)
    return tuple({os.path.realpath(path) + os.sep for path in places})


def _line(frame: FrameType) -> Line:
    path = frame.f_code.co_filename
    here = f"{Path.cwd()}{os.sep}"
    return Line(path.removeprefix(here), frame.f_lineno, frame.f_code.co_qualname)


def _current_greenlet() -> Any:
    module = sys.modules.get("greenlet")
    return None if module is None else module.getcurrent()


__all__ = ["Line", "application_line"]
