"""Batches in files, so that they survive the process that could not send them.

`<root>/<target>/<process>/<time>-<number>-<items>.otlp`: a target is a signal at an endpoint in one encoding; a process
holds an exclusive lock on the file `lock` in its own directory, which the kernel releases however it ends, and whoever
gets the lock of a dead process owns its files from then on. Nothing is synced to the disk: a batch survives the process
(kill -9), not the machine's power; a sync would stop the sender for tens of milliseconds each time.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

from otel_distro.records import dataclass

_LOCK = "lock"
_NAME = re.compile(r"(\d{20})-(\d{9})-(\d{1,9})\.otlp")
_TEMPORARY = ".new"
_MAGIC = b"ODSPOOL1"
_HEADER = struct.Struct("<8sII")  # magic, CRC-32 and length of the packed body
_LARGEST = 128_000_000
_MOST_ADOPTED = 32  # each costs two descriptors until it is empty
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Corrupt(OSError):
    """A file is not what a spool has written."""


@dataclass(slots=True, eq=False)
class Shelf:
    """One process's directory: open descriptors of it and of its lock."""

    name: str
    directory: int
    lock: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A batch in a file: `items` spans, points or records in `size` bytes."""

    shelf: Shelf
    name: str
    items: int
    size: int


class Directory:
    """The files of one target that this process owns. Not thread-safe.

    Directories are made for their owner alone (0700) and files too (0600); a directory that is a link, somebody else's,
    or writable for others is refused, and links are never followed.

    Args:
        root: the directory of all spools; made when it is needed.
        target: name of this target's directory.
    """

    def __init__(self, root: str, target: str) -> None:
        self.root = root
        self._target = target
        self._parent: int | None = None
        self._own: Shelf | None = None
        self._adopted: list[Shelf] = []

    def write(self, body: bytes, items: int, born: int, number: int) -> Stored:
        """Store a batch; it is there as a whole or not at all.

        Args:
            body: the encoded request.
            items: how many spans, points or records it holds.
            born: nanoseconds since the epoch; replay goes by it.
            number: tells batches of one moment apart.

        Raises:
            OSError: the disk is full, or the directory cannot be used.
        """
        shelf = self._own or self._make_own()
        name = f"{born:020d}-{number % 10**9:09d}-{items}.otlp"
        packed = zlib.compress(body, 1)
        data = _HEADER.pack(_MAGIC, zlib.crc32(packed), len(packed)) + packed
        descriptor = os.open(name + _TEMPORARY, _NEW_FILE, 0o600, dir_fd=shelf.directory)
        try:
            try:
                _write_all(descriptor, data)
            finally:
                os.close(descriptor)
            os.rename(name + _TEMPORARY, name, src_dir_fd=shelf.directory, dst_dir_fd=shelf.directory)
        except OSError:
            with suppress(OSError):
                os.unlink(name + _TEMPORARY, dir_fd=shelf.directory)
            raise
        return Stored(shelf, name, items, len(data))

    def read(self, stored: Stored) -> bytes:
        """The body of a stored batch.

        Raises:
            Corrupt: the file has another content than was written.
            OSError: it cannot be read.
        """
        descriptor = os.open(stored.name, _OLD_FILE, dir_fd=stored.shelf.directory)
        with os.fdopen(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode) or about.st_size > _LARGEST:
                raise Corrupt("it is not a file of a spool")
            data = file.read(_LARGEST)
        try:
            magic, checksum, length = _HEADER.unpack_from(data)
            packed = data[_HEADER.size :]
            if magic != _MAGIC or length != len(packed) or zlib.crc32(packed) != checksum:
                raise Corrupt("its checksum is wrong")
            unpacker = zlib.decompressobj()
            body = unpacker.decompress(packed, _LARGEST)
        except (struct.error, zlib.error) as error:
            raise Corrupt("it is cut off or overwritten") from error
        if not unpacker.eof:
            raise Corrupt("it is too large")
        return body

    def remove(self, stored: Stored) -> None:
        """Delete a batch; one that is gone already is no error."""
        with suppress(OSError):
            os.unlink(stored.name, dir_fd=stored.shelf.directory)

    def adopt(self) -> tuple[list[Stored], list[str]]:
        """Take over what dead processes have left for this target: batches, oldest first, and names of foreign files.

        Raises:
            OSError: the directory cannot be used.
        """
        found: list[Stored] = []
        foreign: list[str] = []
        if not os.path.isdir(os.path.join(self.root, self._target)):  # noqa: PTH112, PTH118 - no pathlib in applications' processes
            return found, foreign
        parent = self._open_parent()
        for name in sorted(os.listdir(parent)):  # noqa: PTH208
            if len(self._adopted) >= _MOST_ADOPTED:
                break
            shelf = self._lock_orphan(parent, name)
            if shelf is None:
                continue
            try:
                stored, others = _contents(shelf)
            except OSError:
                _close(shelf)  # else its lock would be ours, and nobody's batches
                raise
            foreign += [os.path.join(self.root, self._target, name, other) for other in others]  # noqa: PTH118
            found += stored
            if stored or others:
                self._adopted.append(shelf)
            else:
                self._discard(shelf)
        return sorted(found, key=lambda one: one.name), foreign

    def sizes(self) -> int:
        """Bytes in the files of this target, of all processes of this user; links are not followed."""
        total = 0
        for shelf in _directories(os.path.join(self.root, self._target)):  # noqa: PTH118 - as above
            with suppress(OSError), os.scandir(shelf) as entries:
                total += sum(e.stat(follow_symlinks=False).st_size for e in entries if e.name.endswith(".otlp"))
        return total

    def tidy(self) -> None:
        """Remove adopted directories that are empty by now."""
        for shelf in list(self._adopted):
            if _is_empty(shelf):
                self._adopted.remove(shelf)
                self._discard(shelf)

    def close(self) -> None:
        """Give up the locks, so that another process may adopt what is left; empty directories go."""
        shelves = [*self._adopted, *([self._own] if self._own else [])]
        for shelf in shelves:
            if _is_empty(shelf):
                self._discard(shelf)
            else:
                _close(shelf)
        self._forget()

    def after_fork(self) -> None:
        """A child owns nothing: its copies of the descriptors are closed, which leaves the parent its locks."""
        for shelf in [*self._adopted, *([self._own] if self._own else [])]:
            _close(shelf)
        self._forget()

    def _forget(self) -> None:
        if self._parent is not None:
            os.close(self._parent)
        self._parent, self._own, self._adopted = None, None, []

    def _open_parent(self) -> int:
        if self._parent is None:
            os.makedirs(self.root, 0o700, exist_ok=True)  # noqa: PTH103
            path = os.path.join(self.root, self._target)  # noqa: PTH118
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)  # noqa: PTH102
            self._parent = _open_private(path, None)
        return self._parent

    def _make_own(self) -> Shelf:
        parent = self._open_parent()
        name = f"{os.getpid()}-{os.urandom(6).hex()}"
        os.mkdir(name, 0o700, dir_fd=parent)
        opened: list[int] = []
        try:
            opened.append(directory := _open_private(name, parent))
            # locked under another name first: nobody finds a lock here that is not held yet
            opened.append(lock := os.open(f".{name}", _NEW_FILE, 0o600, dir_fd=parent))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(f".{name}", _LOCK, src_dir_fd=parent, dst_dir_fd=directory)
        except OSError:
            for descriptor in opened:
                os.close(descriptor)
            # what has no lock nobody adopts, and nobody removes
            with suppress(OSError):
                os.rmdir(name, dir_fd=parent)
            with suppress(OSError):
                os.unlink(f".{name}", dir_fd=parent)
            raise
        self._own = Shelf(name, directory, lock)
        return self._own

    def _lock_orphan(self, parent: int, name: str) -> Shelf | None:
        """A dead process's directory with its lock in our hands; None for a living one's, and for what is no spool."""
        try:
            directory = _open_private(name, parent)
        except OSError:
            return None
        try:
            lock = os.open(_LOCK, _OLD_FILE, dir_fd=directory)
        except OSError:  # not made yet
            os.close(directory)
            return None
        shelf = Shelf(name, directory, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_nlink:
                return shelf
        except OSError:  # its process lives
            pass
        # or somebody has removed it between our look and our lock
        _close(shelf)
        return None

    def _discard(self, shelf: Shelf) -> None:
        with suppress(OSError):
            os.unlink(_LOCK, dir_fd=shelf.directory)
            os.rmdir(shelf.name, dir_fd=self._parent)
        _close(shelf)


def _contents(shelf: Shelf) -> tuple[list[Stored], list[str]]:
    """Batches and foreign names of a directory; what a crash has left half written is removed."""
    stored: list[Stored] = []
    foreign: list[str] = []
    for name in os.listdir(shelf.directory):  # noqa: PTH208
        match = _NAME.fullmatch(name)
        if match is not None:
            with suppress(OSError):
                size = os.stat(name, dir_fd=shelf.directory, follow_symlinks=False).st_size
                stored.append(Stored(shelf, name, int(match[3]), size))
        elif _NAME.fullmatch(name.removesuffix(_TEMPORARY)):
            with suppress(OSError):
                os.unlink(name, dir_fd=shelf.directory)
        elif name != _LOCK:
            foreign.append(name)
    return stored, foreign


def _open_private(name: str, parent: int | None) -> int:
    descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
    about = os.fstat(descriptor)
    if about.st_uid != os.geteuid() or about.st_mode & 0o022:
        os.close(descriptor)
        raise PermissionError(f"{name} belongs to somebody else or is writable for others")
    return descriptor


def _is_empty(shelf: Shelf) -> bool:
    return set(os.listdir(shelf.directory)) <= {_LOCK}  # noqa: PTH208


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _close(shelf: Shelf) -> None:
    os.close(shelf.lock)
    os.close(shelf.directory)


def _directories(path: str) -> Iterator[str]:
    with suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            # in a root that users share, what another one puts there is no reason to drop anything
            if entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                yield entry.path


__all__ = ["Corrupt", "Directory", "Stored"]
