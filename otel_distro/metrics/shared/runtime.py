"""The directory that the processes of one group share: only ours, only this user's, and gone when nobody needs it.

A process is alive as long as the kernel holds its lock on `alive`; no pid is compared, so neither reused pids nor
pid namespaces matter. The last lock to go makes the directory stale: the next process of the group starts it afresh,
any other process removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import socket
import stat
import time
from pathlib import Path
from typing import Final

ALIVE: Final = "alive"
_PREFIX: Final = "otel-distro-"
_DEAD: Final = ".dead-"
_TRIES: Final = 20
_NAME: Final = re.compile(r"[0-9a-f]{24}|\.dead-[0-9a-f]{24}-\d+-\d+")
"""Of a group's directory, alive or about to go: nothing else is ever removed."""


class UnsafeDirectoryError(OSError):
    """A directory that others could read, write or have made."""


def group_name(*facts: object) -> str:
    """A directory name for a group: processes with equal facts are one.

    Facts are what makes processes one launch of one service: an id that a launcher left in the environment, or the
    parent's pid and start time for siblings that nobody of ours started; the service's name; the network; the port.
    """
    return hashlib.sha256("\0".join(map(str, facts)).encode("utf-8", "backslashreplace")).hexdigest()[:24]


def network() -> int:
    """The network namespace of this process, 0 where there are none: a port can be shared only within one.

    Containers that share `/dev/shm` (`ipc: host`) look alike otherwise: each one's first process has no parent.
    """
    try:
        return os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116 - pathlib costs a start-up more than the call
    except OSError:
        return 0


def safe_directory(path: Path) -> Path:
    """`path`, made if need be, for this user alone.

    Raises:
        UnsafeDirectoryError: it is a link, another user's, or open to others.
        OSError: it cannot be made.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    _for_us_alone(path.lstat(), path)
    return path


def _for_us_alone(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise UnsafeDirectoryError(errno.EPERM, "not a directory of this user alone", str(path))


def safe_base(path: Path) -> Path:
    """`path`, an existing directory in which no other user can put something else in the place of ours.

    `sudo -E` and `su` leave a process of root with the `XDG_RUNTIME_DIR` of another user, who may rename all in it.

    Raises:
        UnsafeDirectoryError: it belongs to another user.
        OSError: it is not there.
    """
    found = path.stat()
    if found.st_uid not in {0, os.geteuid()} and not found.st_mode & stat.S_ISVTX:
        raise UnsafeDirectoryError(errno.EPERM, "a directory of another user", str(path))
    return path


class Group:
    """Membership in a group, from construction to `leave` or the end of the process.

    Args:
        base: an existing directory, such as `$XDG_RUNTIME_DIR`; this user's groups are in `<base>/otel-distro-<uid>`.
        name: of the group.

    Raises:
        OSError: that cannot be used.
    """

    def __init__(self, base: Path, name: str) -> None:
        self._base = base
        self._name = name
        self._lock = self._join()

    @property
    def began(self) -> int:
        """When its first member came, in ns since the epoch, 0 at its end: launches below one parent share a name."""
        return os.fstat(self._lock).st_mtime_ns if self._lock >= 0 else 0

    def after_fork(self) -> None:
        """In a child: be a member in its own right, and only then let go of the parent's lock.

        Raises:
            OSError: as the constructor.
        """
        inherited, self._lock = self._lock, -1
        try:
            self._lock = self._join()
        finally:
            if inherited >= 0:
                os.close(inherited)

    def leave(self) -> None:
        """Leave; whoever is last removes the directory. What is mapped stays usable."""
        lock, self._lock = self._lock, -1
        if lock < 0:
            return
        try:
            if locked(lock):
                remove(self.path)
        finally:
            os.close(lock)

    def outlive(self, others: socket.socket) -> None:
        """Have the group live as long as this socket's other end, also without members.

        A descriptor that was sent and never received stays open, and the lock on its file with it. So a process that
        may not look into the directory, root's that starts workers of another user, keeps their numbers between two.

        Args:
            others: a Unix socket, one end of a pair; it does not block.

        Raises:
            OSError: no room for another descriptor, which is no harm once there is one.
        """
        lock = os.open(self.path / ALIVE, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            socket.send_fds(others, [b"."], [lock])
        finally:
            os.close(lock)

    def sweep(self, seconds: float) -> int:
        """Remove the directories of groups without members, for at most `seconds`; returns how many."""
        end, removed = time.monotonic() + seconds, 0
        with contextlib.suppress(OSError), os.scandir(safe_directory(self.parent)) as found:
            for entry in found:
                if time.monotonic() > end:
                    break
                is_group = _NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
                if is_group and entry.name != self.path.name:
                    removed += _remove_stale(Path(entry.path))
        return removed

    def _join(self) -> int:
        # anew each time: a process of root may have become another user's
        self.parent = safe_directory(safe_base(self._base) / f"{_PREFIX}{os.geteuid()}")
        self.path = self.parent / self._name
        for _ in range(_TRIES):
            safe_directory(self.path)
            try:
                lock = os.open(self.path / ALIVE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            except FileNotFoundError:
                continue  # removed between the two lines by someone who found nobody alive
            if locked(lock):
                clear(self.path)  # nobody is alive: what is left is of an earlier launch
                os.utime(lock)
            fcntl.flock(lock, fcntl.LOCK_SH)
            with contextlib.suppress(FileNotFoundError):
                if (self.path / ALIVE).stat().st_ino == os.fstat(lock).st_ino:
                    return lock
            os.close(lock)
        raise OSError(errno.EAGAIN, "the directory disappears again and again", str(self.path))


def locked(descriptor: int) -> bool:
    """Whether nobody else has the lock of this file; then it is ours."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def clear(path: Path) -> None:
    """Remove what is in a group's directory, but for the lock.

    Raises:
        UnsafeDirectoryError: something else has come in its place.
        OSError: it cannot be read.
    """
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _for_us_alone(os.fstat(directory), path)
        with os.scandir(directory) as found:
            for entry in found:
                if entry.name == ALIVE:
                    continue
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.name, dir_fd=directory)
                    else:
                        os.unlink(entry.name, dir_fd=directory)
    finally:
        os.close(directory)


def remove(path: Path) -> None:
    """Remove a group's directory; a new one may be made under its name at once."""
    grave = path.with_name(f"{_DEAD}{path.name}-{os.getpid()}-{time.monotonic_ns()}")
    with contextlib.suppress(OSError):
        path.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)


def _remove_stale(path: Path) -> int:
    if path.name.startswith(_DEAD):
        shutil.rmtree(path, ignore_errors=True)
        return 1
    try:
        lock = os.open(path / ALIVE, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        # someone may be about to make the lock; what has none for an hour is nobody's
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > 3600:
                remove(path)
                return 1
        return 0
    try:
        if not locked(lock):
            return 0
        remove(path)
        return 1
    finally:
        release(lock)


def unlock(descriptor: int) -> None:
    """Give a lock back."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def release(descriptor: int) -> None:
    """Give a lock back and close its file: closed alone it would stay locked by a child that was forked meanwhile."""
    unlock(descriptor)
    os.close(descriptor)
