"""Lines about the set-up, each said once a launch: a supervisor and its workers find the same faults."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping

SAID = "OTEL_DISTRO_SAID"
"""Left in the environment for child processes: digests of the lines that were said."""
_MOST = 300


class OncePerLaunch:
    """Where a guard's lines go: until the process is set up, past those that a parent process has said.

    Args:
        environ: read, and written for the children.
        output: gets the lines that are new, as `(level, text)`.
    """

    def __init__(self, environ: MutableMapping[str, str], output: Callable[[int, str], None]) -> None:
        self._environ = environ
        self._output = output
        self._setting_up = True

    def __call__(self, level: int, text: str) -> None:
        """Say a line, unless it is known."""
        if not self._setting_up or self._is_new(text):
            self._output(level, text)

    def settled(self) -> None:
        """What is said from now on is this process's own."""
        self._setting_up = False

    def _is_new(self, text: str) -> bool:
        from zlib import crc32  # an extension module that a start without a line need not load

        digest = f"{crc32(text.encode(errors='replace')):x}"
        said = [known for known in self._environ.get(SAID, "").split(",") if known]
        if digest in said:
            return False
        if len(said) < _MOST:
            self._environ[SAID] = ",".join((*said, digest))
        return True
