"""Where the program's own packages are, before Python has put that in front of `sys.path`.

`sitecustomize` runs before that. What a set-up imports by then must be what the program would import: packages that lie
beside it (`pip install --target .`) may be other versions than the interpreter's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_NO_FILE = frozenset({"", "-", "-c", "-m"})


@contextmanager
def beside_the_program() -> Iterator[None]:
    """`sys.path` as the program will find it."""
    first = _first()
    if first is None or first in sys.path:
        yield
        return
    sys.path.insert(0, first)
    try:
        yield
    finally:
        if first in sys.path:
            sys.path.remove(first)  # Python puts it there


def _first() -> str | None:
    """What Python will put in front, by its command line; None for nothing, as `-P` and `-I` have it."""
    if sys.flags.safe_path or not sys.argv:
        return None
    name = sys.argv[0]
    if name in _NO_FILE:
        return ""
    return name if os.path.isdir(name) else os.path.dirname(os.path.realpath(name))  # noqa: PTH112, PTH120
