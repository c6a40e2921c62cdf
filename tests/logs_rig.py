"""The application's logging of one test: joined, with its own root logger state, and put back afterwards."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from otel_distro.guard import Guard
from otel_distro.logs.correlation import Correlation
from otel_distro.logs.join import Join, Take
from otel_distro.logs.json_lines import JsonLines
from otel_distro.logs.lines import Formats, Lines, real_fd


def quiet() -> tuple[Guard, list[str]]:
    """A guard, and the lines it says."""
    said: list[str] = []
    return Guard(output=lambda _, text: said.append(text)), said


@contextmanager
def joined(take: Take | None = None, guard: Guard | None = None) -> Iterator[Join]:
    """`logging` joined for a while."""
    join = Join(put_on=Correlation("shop", contextual=True).put_on, take=take, guard=guard or quiet()[0])
    join.join()
    try:
        yield join
    finally:
        join.restore()


@contextmanager
def json_lines(guard: Guard | None = None) -> Iterator[Lines]:
    """Stream handlers on real files write JSON for a while."""
    formats = JsonLines(service="shop")

    def formats_for(stream: Any) -> Formats | None:
        return None if real_fd(stream) is None else formats

    lines = Lines(formats_for, guard or quiet()[0])
    lines.take_over()
    try:
        yield lines
    finally:
        lines.restore()


@contextmanager
def pipe() -> Iterator[tuple[int, TextIO]]:
    """The reading end of a pipe, and a text stream on its writing end."""
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w")
    try:
        yield reading, stream
    finally:
        os.close(reading)
        try:
            stream.close()
        except OSError:
            pass  # the reader is gone, and something was still in the buffer


@contextmanager
def fresh_root() -> Iterator[logging.Logger]:
    """The root logger without handlers, as a fresh process has it."""
    root = logging.root
    before = root.handlers, root.level
    root.handlers = []
    try:
        yield root
    finally:
        root.handlers = before[0]
        root.setLevel(before[1])


@contextmanager
def logger_with(
    *handlers: logging.Handler, name: str = "test.logs", level: int = logging.DEBUG
) -> Iterator[logging.Logger]:
    """A logger with these handlers alone."""
    logger = logging.getLogger(name)
    before = logger.handlers, logger.level, logger.propagate
    logger.handlers, logger.propagate, logger.disabled = list(handlers), False, False
    logger.setLevel(level)
    try:
        yield logger
    finally:
        logger.handlers, logger.propagate = before[0], before[2]
        logger.setLevel(before[1])
