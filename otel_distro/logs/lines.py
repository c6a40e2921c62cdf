"""The handlers of the application keep their streams, levels and filters; the lines that they write are ours.

`logging.StreamHandler.emit` is replaced on the class, so it does not matter who makes a handler, or when: an
application's `dictConfig`, before or after, uvicorn's `log_config`, gunicorn's own set-up. A class with an `emit` of
its own keeps it.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from otel_distro.guard import Guard
from otel_distro.standing_in import standing_in

from .streams import LineWriter, flush_all

_SINK = "_otel_distro_sink"
_MOST_STREAMS = 64  # that are remembered without a handler


class Formats(Protocol):
    """What makes a line of a record: `JsonLines`, `ConsoleLines`."""

    def format(self, record: logging.LogRecord, /) -> str:
        """The line, without its end."""
        ...


class _Sink:
    """What one handler writes with, as long as its stream stays the same."""

    __slots__ = ("formats", "stream", "writer")

    def __init__(self, stream: Any, formats: Formats | None, writer: LineWriter | None) -> None:
        self.stream = stream
        self.formats = formats
        self.writer = writer


class Lines:
    """Takes over what stream handlers write until `restore`.

    Args:
        formats_for: the form of lines for a stream; None leaves its handlers alone.
        guard: gets records that cannot be formatted, and streams that fail.

    Attributes:
        lost: lines that could not be made or written.
    """

    def __init__(self, formats_for: Callable[[Any], Formats | None], guard: Guard) -> None:
        self._formats_for = formats_for
        self._guard = guard
        self.lost = 0
        self._writers: dict[int, LineWriter] = {}
        self._direct: dict[int, _Sink] = {}
        self._original: Callable[..., None] | None = None

    def take_over(self) -> None:
        """Replace the class's `emit`."""
        original = logging.StreamHandler.emit
        lines, write = self, self._write

        def emit(self: Any, record: logging.LogRecord) -> None:
            stream = self.stream
            sink: _Sink | None = self.__dict__.get(_SINK)
            if sink is None or sink.stream is not stream:
                sink = lines.sink_of(self, stream)
            if sink.formats is None:
                original(self, record)
            else:
                write(sink, record)

        self._original = original
        # formatters of structlog's look for the line that logged in the first frame outside of `logging`
        logging.StreamHandler.emit = standing_in(original, emit)  # type: ignore[method-assign]

    def takes(self, stream: Any) -> bool:
        """Whether the lines on this stream are ours."""
        return self._guard.call("log lines", None, self._formats_for, stream) is not None

    def write(self, stream: Any, record: logging.LogRecord) -> bool:
        """Write a record that came by no handler; False where the stream's lines are not ours."""
        sink = self._direct.get(id(stream))
        if sink is None or sink.stream is not stream:
            if len(self._direct) >= _MOST_STREAMS:
                self._direct.clear()
            sink = self._direct[id(stream)] = self._sink(stream)
        if sink.formats is None:
            return False
        self._write(sink, record)
        return True

    def restore(self) -> None:
        """Give the class its own `emit` back."""
        if self._original is not None:
            logging.StreamHandler.emit = self._original  # type: ignore[method-assign]
            self._original = None

    def _write(self, sink: _Sink, record: logging.LogRecord) -> None:
        try:
            line: str = sink.formats.format(record)  # type: ignore[union-attr]  # both callers have asked
            if sink.writer is not None:
                # what was printed before comes before; a closed stream raises
                sink.stream.flush()
                sink.writer.write(f"{line}\n".encode("utf-8", "backslashreplace"))
            else:
                sink.stream.write(line + "\n")
                sink.stream.flush()
        except RecursionError:
            raise
        except Exception as error:  # noqa: BLE001 - a log line is never worth a request
            self.lost += 1
            self._guard.failed("log lines", error, remedy="such lines are left out and counted")

    def flush(self, seconds: float) -> bool:
        """Wait until every line is written that waits for its stream, at most so long."""
        return flush_all(list(self._writers.values()), seconds)

    @property
    def dropped(self) -> Mapping[int, int]:
        """Lines dropped, by file descriptor."""
        return {fd: writer.dropped for fd, writer in self._writers.items() if writer.dropped}

    def sink_of(self, handler: Any, stream: Any) -> _Sink:
        """Work out how this handler writes, and keep it on the handler."""
        sink = handler.__dict__[_SINK] = self._sink(stream)
        return sink

    def _sink(self, stream: Any) -> _Sink:
        formats = self._guard.call("log lines", None, self._formats_for, stream)
        fd = None if formats is None else waiting_fd(stream)
        writer = None
        if fd is not None and formats is not None:
            writer = self._writers.get(fd)
            if writer is None:
                # two threads may each make one; the dictionary keeps the first
                writer = self._writers.setdefault(fd, LineWriter(fd, self._guard, notice=_notice(formats)))
        return _Sink(stream, formats, writer)


def _notice(formats: Formats) -> Callable[[int], bytes]:
    def line(dropped: int) -> bytes:
        text = f"{dropped} log lines were dropped: the stream took none for a while"
        record = logging.LogRecord("otel_distro", logging.WARNING, "", 0, text, None, None)
        return f"{formats.format(record)}\n".encode("utf-8", "backslashreplace")

    return line


def real_fd(stream: Any) -> int | None:
    """The descriptor of a stream that is Python's own text file; None for whatever else takes `write`."""
    if type(stream) is not io.TextIOWrapper:
        return None
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def waiting_fd(stream: Any) -> int | None:
    """The descriptor of a stream whose reader could make a writer wait; None for files and for foreign streams."""
    fd = real_fd(stream)
    if fd is None:
        return None
    from os import fstat
    from stat import S_ISCHR, S_ISFIFO, S_ISSOCK

    try:
        mode = fstat(fd).st_mode
    except OSError:
        return None
    return fd if S_ISFIFO(mode) or S_ISSOCK(mode) or S_ISCHR(mode) else None


__all__ = ["Formats", "Lines", "real_fd", "waiting_fd"]
