"""Lines on the application's own handlers: JSON whatever its formatter, never waiting for a reader, never doubled."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from otel_distro.console.style import Style
from otel_distro.guard import Guard
from otel_distro.logs.console_lines import ConsoleLines
from otel_distro.logs.last import LastLines, OwnLines
from otel_distro.logs.streams import MOST_BYTES, LineWriter
from tests.logs_rig import joined, json_lines, logger_with, pipe, quiet

LINE = b"x" * 99 + b"\n"


def read(fd: int, size: int = 65_536) -> bytes:
    return os.read(fd, size)


@contextmanager
def writer_on_a_pipe(
    guard: Guard, *, most_bytes: int = MOST_BYTES, notice: Callable[[int], bytes] = lambda dropped: b""
) -> Iterator[tuple[int, LineWriter]]:
    """The reading end and a writer; at the end its thread is over before the writing end is closed.

    Else the thread would go on with the descriptor's number, which the next test's pipe gets.
    """
    reading, writing = os.pipe()
    writer = LineWriter(writing, guard, most_bytes=most_bytes, notice=notice)
    try:
        yield reading, writer
    finally:
        thread = writer._thread
        # whoever is blocked on a pipe without a reader gets an error
        os.close(reading)
        if thread is not None:
            thread.join(30)
            assert not thread.is_alive()
        os.close(writing)


def test_a_handler_with_any_formatter_writes_json_on_its_own_stream() -> None:
    """Stream, level and filter stay the application's; the form of the line is ours."""
    with pipe() as (reading, stream), json_lines(), joined():
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("PLAIN %(message)s"))
        handler.setLevel(logging.WARNING)
        handler.addFilter(lambda record: "hide" not in record.msg)
        with logger_with(handler) as logger:
            logger.info("too low")
            logger.warning("hide me")
            logger.warning("kept %d", 1)
        (line,) = read(reading).splitlines()
        assert json.loads(line)["message"] == "kept 1"


def test_a_file_handler_writes_json_lines_too(tmp_path: Path) -> None:
    """A log file gets the same lines, and a rotating one still rotates."""
    from logging.handlers import RotatingFileHandler

    file = tmp_path / "app.log"
    with json_lines(), joined():
        handler = RotatingFileHandler(file, maxBytes=400, backupCount=1)
        with logger_with(handler) as logger:
            for number in range(9):
                logger.info("line %d", number)
        handler.close()
    lines = [json.loads(line) for path in tmp_path.iterdir() for line in path.read_text().splitlines()]
    assert len(list(tmp_path.iterdir())) == 2
    assert {line["logger"] for line in lines} == {"test.logs"}


def test_a_stream_that_is_no_file_keeps_its_own_lines() -> None:
    """What a test or a wrapper captures in memory is left alone."""
    memory = io.StringIO()
    with json_lines(), joined(), logger_with(logging.StreamHandler(memory)) as logger:
        logger.info("as it was")
    assert memory.getvalue() == "as it was\n"


def test_a_handler_with_its_own_way_of_writing_keeps_it() -> None:
    """A class that overrides `emit` is somebody's decision."""
    seen: list[str] = []

    class Own(logging.StreamHandler[Any]):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(self.format(record))

    with pipe() as (_, stream), json_lines(), joined(), logger_with(Own(stream)) as logger:
        logger.info("mine")
    assert seen == ["mine"]


def test_a_handler_whose_stream_is_replaced_follows_it() -> None:
    """`setStream` is looked at for each record."""
    with pipe() as (first, one), pipe() as (second, two), json_lines(), joined():
        handler = logging.StreamHandler(one)
        with logger_with(handler) as logger:
            logger.info("a")
            handler.setStream(two)
            logger.info("b")
        assert json.loads(read(first))["message"] == "a"
        assert json.loads(read(second))["message"] == "b"


def test_what_was_printed_before_comes_before() -> None:
    """A print to the same stream does not overtake, nor is overtaken by, a log line."""
    with pipe() as (reading, stream), json_lines(), joined(), logger_with(logging.StreamHandler(stream)) as logger:
        stream.write("printed\n")
        logger.info("logged")
        first, second = read(reading).splitlines()
        assert first == b"printed"
        assert b"logged" in second


def test_a_closed_stream_costs_a_count_and_one_line_of_ours() -> None:
    """Logging to a closed stream raises nothing, prints no stack trace, and is said once."""
    guard, said = quiet()
    with pipe() as (_, stream), json_lines(guard) as lines, joined():
        handler = logging.StreamHandler(stream)
        with logger_with(handler) as logger:
            logger.info("fine")
            stream.close()
            for _ in range(10):
                logger.info("gone")
            logging.Handler.close(handler)
        assert lines.lost == 10
    assert len(said) == 1


def test_a_reader_that_is_gone_costs_a_count_and_one_line_of_ours() -> None:
    """A broken pipe raises nothing into the application."""
    guard, said = quiet()
    reading, writing = os.pipe()
    os.close(reading)
    writer = LineWriter(writing, guard)
    for _ in range(5):
        writer.write(LINE)
    assert writer.dropped == 5
    assert len(said) == 1
    os.close(writing)


def test_a_full_pipe_does_not_hold_up_who_logs() -> None:
    """Nobody reads: what waits is bounded, the rest is dropped and counted, and every write returns."""
    guard, _ = quiet()
    with writer_on_a_pipe(guard, most_bytes=50_000) as (_, writer):
        written = threading.Thread(target=lambda: [writer.write(LINE) for _ in range(5_000)], daemon=True)
        written.start()
        written.join(30)
        assert not written.is_alive()
        assert writer.dropped > 3_000


def test_a_reader_that_comes_back_gets_every_line_that_waited_in_order_and_the_count_of_the_others() -> None:
    """After a pause the lines go on in order, and a line tells how many are missing."""
    guard, _ = quiet()
    with writer_on_a_pipe(guard, most_bytes=50_000, notice=lambda count: b"missing %d\n" % count) as (reading, writer):
        total = 3_000
        for number in range(total):
            writer.write(b"%06d" % number + b"x" * 93 + b"\n")
        got = b""
        while b"missing" not in got:
            got += read(reading)
        assert writer.flush(30)
        lines = got.splitlines()
        numbers = [int(line[:6]) for line in lines if line[:1] == b"0"]
        assert numbers == list(range(len(numbers)))
        (told,) = [line for line in lines if line.startswith(b"missing")]
        assert int(told.split()[1]) == writer.dropped == total - len(numbers)
        writer.write(b"after\n")
        assert read(reading) == b"after\n"


def test_a_line_longer_than_the_pipe_arrives_whole() -> None:
    """A stack trace of 300 kB is not cut where the pipe was full."""
    guard, _ = quiet()
    with writer_on_a_pipe(guard) as (reading, writer):
        long = b"y" * 300_000 + b"\n"
        writer.write(long)
        writer.write(b"next\n")
        got = b""
        while not got.endswith(b"next\n"):
            got += read(reading)
        assert got == long + b"next\n"


@pytest.mark.parametrize("nowait", [True, False])
def test_a_terminal_or_an_old_kernel_is_asked_before_each_write(nowait: bool) -> None:
    """Where a write cannot be told not to wait, the stream is asked first; the lines are the same."""
    guard, _ = quiet()
    with writer_on_a_pipe(guard, most_bytes=10_000) as (reading, writer):
        if not nowait:
            writer._nowait = 0
        for _ in range(2_000):
            writer.write(LINE)
        assert writer.dropped > 1_000
        assert set(read(reading, 1 << 20).splitlines()) == {LINE[:-1]}


def test_a_forked_child_writes_and_nothing_is_written_twice() -> None:
    """A child forked while lines wait and the lock is held writes its own lines, and not the parent's again."""
    guard, _ = quiet()
    with writer_on_a_pipe(guard, most_bytes=20_000) as (reading, writer):
        while not writer._waiting:
            writer.write(LINE)
        with writer._lock:
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                writer.write(b"child\n")
                writer.flush(10)
                os._exit(0)
        got = b""
        while b"child" not in got or not writer.flush(0):
            got += read(reading)
        os.waitpid(pid, 0)
        assert got.count(b"child\n") == 1


def test_a_signal_handler_may_log_while_a_line_is_written() -> None:
    """The writer's lock is re-entrant: no deadlock between a signal handler and the code it interrupts."""
    guard, _ = quiet()
    with writer_on_a_pipe(guard) as (reading, writer):
        before = signal.signal(signal.SIGUSR1, lambda *_: writer.write(b"handler\n"))
        try:
            with writer._lock:
                os.kill(os.getpid(), signal.SIGUSR1)
            assert read(reading) == b"handler\n"
        finally:
            signal.signal(signal.SIGUSR1, before)


def test_a_formatter_of_ours_that_fails_loses_a_line_and_nothing_else() -> None:
    """The application goes on when a line cannot be made."""
    guard, said = quiet()

    class Broken:
        def format(self, record: logging.LogRecord) -> NoReturn:
            raise ValueError("no line")

    from otel_distro.logs.lines import Lines

    lines = Lines(lambda _: Broken(), guard)
    lines.take_over()
    try:
        with pipe() as (_, stream), logger_with(logging.StreamHandler(stream)) as logger:
            logger.info("a")
            logger.info("b")
    finally:
        lines.restore()
    assert lines.lost == 2
    assert len(said) == 1


def test_records_without_any_handler_go_to_the_stream_that_was_asked_for() -> None:
    """The handler of last resort writes to what stands as that stream at the moment."""
    assert LastLines("stdout").stream is __import__("sys").stdout
    assert LastLines("stderr").level == logging.NOTSET


def test_the_distros_own_lines_are_written_once() -> None:
    """They go by their own handler only where the root logger has none."""
    seen: list[logging.LogRecord] = []

    class Seen(OwnLines):
        stream = io.StringIO()  # type: ignore[assignment]

        def flush(self) -> None:
            seen.append(record)

    record = logging.LogRecord("otel_distro", 30, "", 0, "m", (), None)
    handler = Seen("stderr")
    before = logging.root.handlers
    try:
        logging.root.handlers = []
        handler.emit(record)
        assert len(seen) == 1
        logging.root.handlers = [logging.NullHandler()]
        handler.emit(record)
        assert len(seen) == 1
    finally:
        logging.root.handlers = before


def test_the_readable_form_has_fields_and_stack_and_no_control_characters() -> None:
    """A person sees time, level, logger, message and fields; a terminal gets no escape sequence from a message."""

    def fail() -> None:
        raise ValueError("bad\x1b[31m thing, password=hunter2")

    try:
        fail()
    except ValueError as error:
        record = logging.getLogger("shop").makeRecord(
            "shop", 40, "", 0, "first\x1b[2J\nsecond", (), (type(error), error, error.__traceback__), None, {"order": 5}
        )
    text = ConsoleLines(Style()).format(record)
    first, second, *rest = text.split("\n")
    assert first.split(" ", 1)[1] == "ERROR    shop first [2J order=5"
    assert second == "    second"
    assert rest[0] == "    Traceback (most recent call last):"
    assert "\x1b" not in text
    assert "hunter2" not in text
    assert "\x1b[31m" in ConsoleLines(Style(colour=True)).format(record)


@pytest.mark.parametrize("field", ["stack_info", "exc_text"])
def test_a_stack_that_is_a_text_is_redacted_in_the_readable_form(field: str) -> None:
    """Source lines of `stack_info`, and a stack from another process, tell no secret either."""
    record = logging.makeLogRecord({"levelno": 40, "msg": "m", field: "Stack:\n    login(password='hunter2')"})
    text = ConsoleLines(Style()).format(record)
    assert "login(password=REDACTED)" in text
