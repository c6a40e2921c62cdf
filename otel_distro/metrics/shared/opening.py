"""Open the store of a process: shared with its group where that can be had, its own otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from opentelemetry.sdk.resources import Resource

from otel_distro.guard import Guard
from otel_distro.metrics.cells import LocalStore

from .runtime import Group
from .store import PART, SharedStore


def directories(environ: Mapping[str, str]) -> Sequence[Path]:
    """Where a group's directory may be, best first: memory rather than disk, the user's own rather than everyone's.

    Args:
        environ: for `XDG_RUNTIME_DIR` and `TMPDIR`.
    """
    named = (environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm", environ.get("TMPDIR", ""), "/tmp")  # noqa: S108 - as below
    # neither `Path.is_dir`, which raises below a directory closed to us, nor `tempfile`, where nothing is writable
    return [Path(path) for path in dict.fromkeys(named) if os.path.isdir(path)]  # noqa: PTH112 - checked before use


def open_store(
    bases: Sequence[Path],
    group: str,
    guard: Guard,
    resource: Callable[[], Resource] | None = None,
    *,
    observes: bool = True,
) -> SharedStore | LocalStore:
    """The store of this process.

    Args:
        bases: see `directories`.
        group: see `group_name`.
        guard: gets the one line that says why nothing is shared.
        resource: see `SharedStore`.
        observes: likewise.
    """
    try:
        if not hasattr(os, "posix_fallocate"):
            raise OSError("this system cannot allocate a file's blocks ahead")  # noqa: TRY301 - one line for all reasons
        return SharedStore(Group(bases, group), guard, resource, observes=observes)
    except OSError as error:
        guard.failed(PART, error, remedy="each process shows its own numbers only")
        return LocalStore()
