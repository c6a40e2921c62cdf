"""structlog and loguru: the same lines and the same records as `logging`, whatever the application configured."""

from __future__ import annotations

import copy
import io
import json
import logging
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import loguru
import pytest
import structlog
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from otel_distro.logs.correlation import Correlation
from otel_distro.logs.fields import extras_of, message_of
from otel_distro.logs.loguru_join import LoguruJoin
from otel_distro.logs.structlog_join import StructlogJoin
from tests.logs_rig import joined, json_lines, logger_with, pipe, quiet

SPAN = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
TRACE = f"{0xABC:032x}"


class Taken:
    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any], int]] = []

    def __call__(self, record: logging.LogRecord, context: Any) -> None:
        self.records.append((message_of(record), extras_of(record), 0 if context is None else context.trace_id))


def lines_of(reading: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in os.read(reading, 65_536).splitlines()]


@contextmanager
def structlog_joined(take: Any = None, *, lines: bool = True) -> Iterator[None]:
    put_on = Correlation("shop", contextual=True).put_on
    with json_lines() as ours:
        join = StructlogJoin(structlog, put_on, take, ours if lines else None, quiet()[0])
        join.join()
        try:
            yield
        finally:
            join.restore()
            structlog.reset_defaults()


def printing_to(stream: TextIO, *processors: Any) -> Any:
    return structlog.wrap_logger(structlog.PrintLogger(stream), processors=[*processors])


def drop_debug(_: Any, method: str, event_dict: Any) -> Any:
    if method == "debug":
        raise structlog.DropEvent
    return event_dict


def test_structlogs_own_loggers_write_our_lines() -> None:
    """A print logger with any renderer gives one JSON line with ids, level and the event's fields."""
    with pipe() as (reading, stream), structlog_joined(), use_span(NonRecordingSpan(SPAN)):
        log = printing_to(stream, drop_debug, structlog.processors.add_log_level, structlog.dev.ConsoleRenderer())
        log.bind(order=5).warning("charged", password="c4n4ry")
        log.debug("dropped by the application")
        (line,) = lines_of(reading)
    assert (line["message"], line["level"], line["order"], line["trace_id"]) == ("charged", "WARNING", 5, TRACE)
    assert line["password"] == "REDACTED"


def test_structlogs_lines_stay_where_lines_are_kept_and_records_are_sent_all_the_same() -> None:
    """Without lines of ours the application's renderer writes, and the record leaves once."""
    taken = Taken()
    with pipe() as (reading, stream), structlog_joined(taken, lines=False), use_span(NonRecordingSpan(SPAN)):
        printing_to(stream, structlog.processors.KeyValueRenderer()).info("charged", order=5)
        assert os.read(reading, 1000) == b"order=5 event='charged'\n"
    assert taken.records == [("charged", {"order": 5}, 0xABC)]


@pytest.mark.parametrize(
    "renderer",
    [
        structlog.processors.JSONRenderer(),
        structlog.dev.ConsoleRenderer(),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        structlog.stdlib.render_to_log_kwargs,
    ],
    ids=["json", "console", "wrapped", "kwargs"],
)
def test_structlog_on_logging_gives_fields_and_not_a_text_of_them(renderer: Any) -> None:
    """Whatever the last processor makes of an event, message and fields arrive apart, on one line and one record."""
    taken = Taken()
    with pipe() as (reading, stream), structlog_joined(taken), joined(taken):
        with logger_with(logging.StreamHandler(stream), name="test.structlog") as behind:
            processors = [structlog.stdlib.add_log_level, structlog.processors.TimeStamper(), renderer]
            log = structlog.wrap_logger(behind, processors=processors, wrapper_class=structlog.stdlib.BoundLogger)
            log.info("charged", order=5)
        (line,) = lines_of(reading)
    assert (line["message"], line["order"]) == ("charged", 5)
    ((message, fields, _),) = taken.records
    assert (message, fields["order"]) == ("charged", 5)
    # the record tells the rest by itself; what is given as `extra` stays what it is
    assert len(fields) == (3 if renderer is structlog.stdlib.render_to_log_kwargs else 1)


def test_structlogs_exceptions_are_structured() -> None:
    """`log.exception` tells type and frames."""
    with pipe() as (reading, stream), structlog_joined():
        try:
            int("x")
        except ValueError:
            printing_to(stream, structlog.dev.ConsoleRenderer()).exception("failed")
        (line,) = lines_of(reading)
    assert (line["level"], line["exception"]["type"]) == ("ERROR", "ValueError")


def test_a_stack_that_structlog_is_asked_for_is_on_the_line() -> None:
    """`stack_info=True` gives the stack, as with `logging`."""
    with pipe() as (reading, stream), structlog_joined():
        log = printing_to(stream, structlog.processors.StackInfoRenderer(), structlog.dev.ConsoleRenderer())
        log.info("charged", stack_info=True)
        (line,) = lines_of(reading)
    assert line["stack"].splitlines()[-1].strip() == 'log.info("charged", stack_info=True)'


@pytest.mark.parametrize("behind", ["print", "logging", "formatter"])
def test_structlogs_processors_find_the_line_that_logged(behind: str) -> None:
    """Path, function and line that `CallsiteParameterAdder` tells are the application's, wherever it runs."""
    adder = structlog.processors.CallsiteParameterAdder([structlog.processors.CallsiteParameter.FUNC_NAME])
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    with structlog_joined(Taken()), joined(Taken()), logger_with(handler, name="test.callsite") as logger:
        if behind == "print":
            log = structlog.wrap_logger(structlog.PrintLogger(text), processors=[adder, str_of])
        elif behind == "logging":
            log = structlog.wrap_logger(logger, processors=[adder, str_of])
        else:
            formatter = structlog.stdlib.ProcessorFormatter
            handler.setFormatter(formatter(processors=[adder, str_of]))
            log = structlog.stdlib.BoundLogger(logger, [formatter.wrap_for_formatter], {})
        log.info("charged")
    assert "'test_structlogs_processors_find_the_line_that_logged'" in text.getvalue()


def str_of(_: Any, __: str, event_dict: Any) -> str:
    return str(event_dict)


# --- loguru ----------------------------------------------------------------------------------------------------------


@contextmanager
def loguru_joined(take: Any = None, *, lines: bool = True) -> Iterator[Any]:
    logger: Any = loguru.logger
    logger.remove()
    put_on = Correlation("shop", contextual=True).put_on
    with json_lines() as ours, joined(take):
        join = LoguruJoin(loguru, put_on, take, ours if lines else None, quiet()[0])
        join.join()
        try:
            yield logger
        finally:
            join.restore()
            logger.remove()


def test_loguru_writes_our_lines_on_the_stream_and_at_the_level_of_the_application() -> None:
    """A sink on a stream keeps level and filter, and its lines have ids and fields, without values of variables."""
    with pipe() as (reading, stream), loguru_joined() as logger, use_span(NonRecordingSpan(SPAN)):
        logger.add(stream, level="WARNING", format="<red>{message}</red>", serialize=False, colorize=True)
        logger.info("too low")
        hidden = "c4n4ry"
        try:
            int("x" + hidden[:0])
        except ValueError:
            logger.bind(order=5).exception("charged {}", 9)
        (line,) = lines_of(reading)
    assert (line["message"], line["level"], line["order"], line["trace_id"]) == ("charged 9", "ERROR", 5, TRACE)
    assert line["exception"]["type"] == "ValueError"
    assert hidden not in json.dumps(line)


def test_loguru_records_are_sent_after_the_application_removed_every_sink() -> None:
    """`logger.remove()` is how most applications begin; the records leave all the same, each once."""
    taken = Taken()
    with loguru_joined(taken) as logger:
        logger.remove()
        logger.bind(order=5).info("charged")
    assert taken.records == [("charged", {"order": 5}, 0)]


def test_logging_that_is_passed_on_to_loguru_is_sent_once() -> None:
    """The handler of loguru's documentation, which intercepts `logging`, makes no second record."""

    class Intercept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            loguru.logger.opt(depth=6).log(record.levelname, record.getMessage())

    taken = Taken()
    with loguru_joined(taken), logger_with(Intercept()) as logger:
        logger.info("once")
    assert [message for message, _, _ in taken.records] == ["once"]


def test_what_a_handler_of_logging_passes_on_is_not_sent_again_whoever_calls_it() -> None:
    """A queue's listener, and the release of an access line, give records to handlers that have been taken before."""

    class Intercept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            loguru.logger.opt(depth=6).log(record.levelname, record.getMessage())

    taken = Taken()
    with loguru_joined(taken):
        Intercept().handle(logging.makeLogRecord({"levelname": "INFO", "msg": "GET /"}))
    assert taken.records == []


def test_a_logger_of_loguru_may_be_copied_and_sent_to_another_process() -> None:
    """Loguru's recipes for independent loggers and for spawned workers work, and what they log is sent."""
    taken = Taken()
    with loguru_joined(taken) as logger:
        copied, received = copy.deepcopy(logger), pickle.loads(pickle.dumps(logger))  # noqa: S301 - made here
        copied.info("from a copy")
        received.info("from afar")
    assert [message for message, _, _ in taken.records] == ["from a copy", "from afar"]


def test_a_queue_of_loguru_costs_a_line_neither_its_ids_nor_its_frames() -> None:
    """With `enqueue=True` loguru writes in a thread of its own, where no span is current and no traceback is left."""
    with pipe() as (reading, stream), loguru_joined() as logger:
        logger.add(stream, enqueue=True)
        with use_span(NonRecordingSpan(SPAN)):
            try:
                int("x")
            except ValueError:
                logger.exception("failed")
        logger.complete()
        (line,) = lines_of(reading)
    assert line["trace_id"] == TRACE
    assert line["exception"]["frames"]


def test_sinks_of_ours_show_no_variables_of_an_exception() -> None:
    """No `repr` of the application runs for a text that nobody reads, where it has switched `diagnose` off."""

    class Odd:
        shown = 0

        def __repr__(self) -> str:
            self.shown += 1
            return "odd"

    def fail(_: Odd) -> None:
        raise ValueError("no")

    odd = Odd()
    with pipe() as (_, stream), loguru_joined(Taken()) as logger:
        logger.add(stream, diagnose=False)
        try:
            fail(odd)
        except ValueError:
            logger.exception("failed")
    assert not odd.shown


def test_a_sink_that_is_no_stream_of_ours_is_left_alone() -> None:
    """A function, a file name or a memory stream gets what the application's format says."""
    seen: list[str] = []
    with loguru_joined() as logger:
        logger.add(seen.append, format="own {message}")
        logger.info("line")
    assert seen == ["own line\n"]


def test_the_first_handler_of_loguru_may_still_be_removed_by_its_number() -> None:
    """`logger.remove(0)` finds the handler that took the place of loguru's own."""
    code = """
import sys, loguru
from tests.logs_rig import quiet
from otel_distro.logs.correlation import Correlation
from otel_distro.logs.json_lines import JsonLines
from otel_distro.logs.lines import Lines
from otel_distro.logs.loguru_join import LoguruJoin
lines = Lines(lambda stream: JsonLines(service="s"), quiet()[0])
LoguruJoin(loguru, Correlation("s", contextual=True).put_on, None, lines, quiet()[0]).join()
loguru.logger.info("json")
loguru.logger.remove(0)
loguru.logger.info("nowhere")
"""
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["message"] == "json"
