"""Open the store of a process: shared with its group where that can be had, its own otherwise."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from opentelemetry.sdk.resources import Resource

from otel_distro.guard import Guard
from otel_distro.metrics.cells import LocalStore

from .runtime import Group
from .store import PART, SharedStore, in_use

_REMEDY = "each process shows its own numbers only; XDG_RUNTIME_DIR may name another directory"


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

    A directory that is full from the beginning is passed over, as one that is read-only: `/dev/shm` of a container has
    64 MB for all its programs. Where others of the group are there already, elsewhere nobody would see this process.

    Args:
        bases: see `directories`.
        group: see `group_name`.
        guard: gets the one line that says why nothing is shared.
        resource: see `SharedStore`.
        observes: likewise.
    """
    problem = OSError(errno.ENOENT, "no directory to share metrics in")
    if not hasattr(os, "posix_fallocate"):
        bases, problem = (), OSError("this system cannot allocate a file's blocks ahead")
    for base in bases:
        try:
            joined = Group(base, group)
        except OSError as error:
            problem = error
            continue
        try:
            return SharedStore(joined, guard, resource, observes=observes)
        except OSError as error:
            problem = error
            if in_use(joined.path):
                break
    guard.failed(PART, problem, remedy=_REMEDY)
    return LocalStore()
