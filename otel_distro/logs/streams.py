"""Lines to a pipe, terminal or socket that never make the application wait.

A reader that has stopped would block whoever logs, and with it the event loop and every thread that logs after it. So
a line is written where there is room for it; else it waits here, bounded, for a thread that may block, and what does
not fit is dropped, counted and told when the stream takes lines again.
"""

from __future__ import annotations

import errno
import os
import select
import threading
from collections import deque
from collections.abc import Callable

from otel_distro.guard import Guard, let_through
from otel_distro.process import Deadline, in_forked_child

MOST_BYTES = 1_000_000
"""Most bytes of lines that wait."""

_PIPE_BUF = 4_096  # what a pipe takes at once when it takes anything (POSIX: PIPE_BUF; 4,096 on Linux)
_NO_SUCH_FLAG = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ESPIPE})
_ATTEMPTS = 5
_NOWAIT = getattr(os, "RWF_NOWAIT", 0) if hasattr(os, "pwritev") else 0


class LineWriter:
    """Writes whole lines to a file descriptor, in order; one for each descriptor.

    Args:
        fd: of the stream; never closed here.
        guard: gets a stream that takes no lines any more.
        most_bytes: of lines that wait.
        notice: makes the line that tells how many were dropped.

    Attributes:
        dropped: lines that found no room, or whose stream was gone.
    """

    def __init__(
        self,
        fd: int,
        guard: Guard,
        *,
        most_bytes: int = MOST_BYTES,
        notice: Callable[[int], bytes] = lambda dropped: b"",
    ) -> None:
        self.fd = fd
        self.dropped = 0
        self._guard = guard
        self._part = f"log lines on descriptor {fd}"
        self._most = most_bytes
        self._notice = notice
        self._nowait = _NOWAIT
        self._reset()
        in_forked_child(self._reset, guard.failed)

    def _reset(self) -> None:
        # what waits belongs to the parent, which writes it
        # re-entrant: a signal handler may log while the main thread is in here
        self._lock = threading.RLock()
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._untold = 0
        self._thread: threading.Thread | None = None
        self._empty = threading.Event()
        self._empty.set()

    def write(self, line: bytes) -> None:
        """Write `line`, which ends with a line break, or let it wait; never blocks on the stream, never raises."""
        gone: Exception | None = None
        with self._lock:
            try:
                if not self._waiting and self._thread is None:
                    line = self._now(line)
                if line:
                    self._later(line)
            except (OSError, RuntimeError) as error:
                let_through(error)
                gone = error
                self._lose()
        if gone is not None:
            self._tell(gone)

    def flush(self, seconds: float) -> bool:
        """Wait until everything is written that waits, at most so long."""
        return self._empty.wait(seconds)

    def _now(self, line: bytes) -> bytes:
        """Write as much of `line` as the stream takes at once; gives the rest."""
        rest = self._without_waiting(line) if self._nowait else None
        if rest is not None:
            return rest
        while line and self._has_room():
            # a stream whose reader is gone reports an error here, and the write says which
            line = line[os.write(self.fd, line[:_PIPE_BUF]) :]
        return line

    def _without_waiting(self, line: bytes) -> bytes | None:
        """The same by the flag that says not to wait; None where there is no such flag."""
        for _ in range(_ATTEMPTS):
            try:
                return line[os.pwritev(self.fd, (line,), -1, self._nowait) :]
            except BlockingIOError:
                # the pipe is full, or its reader is at it this very moment
                if not self._has_room():
                    break
            except OSError as error:
                if error.errno not in _NO_SUCH_FLAG:
                    raise
                # a terminal, a file system or a kernel that does not know it
                self._nowait = 0
                return None
        return line

    def _has_room(self) -> bool:
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        return bool(poll.poll(0))

    def _later(self, line: bytes) -> None:
        if self._bytes + len(line) > self._most:
            self.dropped += 1
            self._untold += 1
            return
        self._waiting.append(line)
        self._bytes += len(line)
        self._empty.clear()
        if self._thread is None:
            thread = threading.Thread(target=self._drain, name="otel-distro-lines", daemon=True)
            # raises RuntimeError where the interpreter gives no thread any more: it ends
            thread.start()
            self._thread = thread

    def _lose(self) -> None:
        self.dropped += len(self._waiting) or 1
        self._waiting.clear()
        self._bytes = 0
        self._empty.set()

    def _tell(self, error: Exception) -> None:
        # outside the lock: what the guard says is a log line, which needs a handler's lock and then this one
        self._guard.failed(self._part, error, remedy="lines are dropped and counted")

    def _drain(self) -> None:
        """Write what waits; this thread may block."""
        while True:
            with self._lock:
                if not self._waiting:
                    if not self._untold:
                        self._thread = None
                        self._empty.set()
                        return
                    told, self._untold = self._untold, 0
                    self._waiting.append(self._notice(told))
                    self._bytes += len(self._waiting[0])
                line = self._waiting[0]
            try:
                self._write_all(line)
            except OSError as error:
                with self._lock:
                    self._lose()
                    self._thread = None
                self._tell(error)
                return
            with self._lock:
                if self._waiting:
                    self._bytes -= len(self._waiting.popleft())

    def _write_all(self, line: bytes) -> None:
        while line:
            try:
                line = line[os.write(self.fd, line) :]
            except BlockingIOError:
                # somebody made the stream non-blocking
                select.select((), (self.fd,), (), 1.0)


def flush_all(writers: list[LineWriter], seconds: float) -> bool:
    """Wait until all of them are empty, altogether at most so long."""
    deadline = Deadline(seconds)
    flushed = [writer.flush(deadline.left()) for writer in writers]
    return all(flushed)


__all__ = ["MOST_BYTES", "LineWriter", "flush_all"]
