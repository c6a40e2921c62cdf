"""The stock launcher's own loop over instrumentors is told to load nothing, for as long as it runs.

It reads a variable of the user's for that, which is kept beside and given back.
"""

from __future__ import annotations

from collections.abc import MutableMapping

_DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
_BORROWED = "OTEL_DISTRO_DISABLED_INSTRUMENTATIONS"


def borrow_disabled(environ: MutableMapping[str, str]) -> None:
    """Tell the stock launcher's loop to load nothing; what the user set is kept beside."""
    environ[_BORROWED] = environ.get(_DISABLED, "")
    environ[_DISABLED] = "*"


def give_back_disabled(environ: MutableMapping[str, str]) -> None:
    """Put back what the user set; also in a child whose parent never came to it, because another package raised."""
    text = environ.pop(_BORROWED, None)
    if text:
        environ[_DISABLED] = text
    elif text is not None:
        environ.pop(_DISABLED, None)
