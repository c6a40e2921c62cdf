"""The guard: counts every failure, says each part once, never raises."""

from __future__ import annotations

import logging

import pytest
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler

from otel_distro.guard import Guard, one_line, shows


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def make() -> tuple[Guard, list[str]]:
    lines: list[str] = []
    return Guard(output=lambda level, text: lines.append(text)), lines


def test_a_part_that_fails_often_is_said_once_and_counted() -> None:
    """Ten failures of one part are one line and a count of ten."""
    guard, lines = make()
    for _ in range(10):
        guard.failed("exporter", ValueError("no route"), remedy="check the port")
    assert lines == ["exporter: ValueError: no route (check the port)"]
    assert [(f.part, f.count) for f in guard.failures] == [("exporter", 10)]


def test_call_returns_the_default_when_the_function_raises() -> None:
    """A guarded call never raises and gives its default instead."""
    guard, lines = make()
    assert guard.call("part", 7, int, "x") == 7
    assert guard.call("part", 7, int, "3") == 3
    assert len(lines) == 1


def test_parts_are_bounded() -> None:
    """However many names fail, memory stays bounded and the count is kept."""
    guard, _ = make()
    for index in range(1000):
        guard.failed(f"part {index}", "x")
    failures = guard.failures
    assert len(failures) == 257
    assert sum(failure.count for failure in failures) == 1000


def test_a_reason_is_one_bounded_printable_line() -> None:
    """Newlines, escapes and endless messages do not reach the terminal; nor does an exception whose str raises."""
    assert one_line(ValueError("a\nb\x1b[31m")) == "ValueError: a b [31m"
    assert len(one_line("x" * 10_000)) == 300
    assert one_line(Broken()) == "Broken"


def test_lines_below_the_level_are_not_said_but_counted() -> None:
    """OTEL_LOG_LEVEL=none silences lines, not counts."""
    lines: list[str] = []
    guard = Guard(level=100, output=lambda level, text: lines.append(text))
    guard.failed("part", "x")
    guard.warn("y")
    assert lines == []
    assert guard.failures[0].count == 1


def test_a_key_is_said_once() -> None:
    """Lines under one key are said once, without a key each time."""
    guard, lines = make()
    for _ in range(3):
        guard.warn("same", once="key")
        guard.info("each")
    assert lines.count("same") == 1
    assert lines.count("each") == 3


def test_the_level_is_passed_on() -> None:
    """Failures are warnings."""
    levels: list[int] = []
    Guard(output=lambda level, text: levels.append(level)).failed("p", "x")
    assert levels == [logging.WARNING]


def test_handlers_that_send_records_show_nothing() -> None:
    """Where OpenTelemetry's handler is the only one, what the distro says goes to stderr and not into the sending."""
    with pytest.warns(DeprecationWarning, match="LoggingHandler"):
        sending = LoggingHandler(logger_provider=LoggerProvider(shutdown_on_exit=False))
    logger, child = logging.Logger("parent"), logging.Logger("child")
    child.parent = logger
    assert not shows(child)
    logger.addHandler(sending)
    assert not shows(child)
    logger.addHandler(logging.NullHandler())
    assert shows(child)
    child.propagate = False
    assert not shows(child)
