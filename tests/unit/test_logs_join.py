"""Joining `logging`: each record once, wherever its handlers are, and an application's own configuration stays."""

from __future__ import annotations

import copy
import json
import logging
import logging.config
import logging.handlers
import os
import pickle
import queue
import sys
import threading
from typing import Any, NoReturn

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from otel_distro.context import RequestScope, close_scope, open_scope, set_user
from otel_distro.logs.access import LOGGERS, Access
from otel_distro.logs.json_lines import JsonLines, make_portable
from otel_distro.logs.levels import Levels
from tests.logs_rig import fresh_root, joined, json_lines, logger_with, pipe, quiet

SPAN = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))


def no_ids(record: logging.LogRecord) -> None:
    """Put nothing on a record."""


class Taken:
    """Gets records as the queue does."""

    def __init__(self) -> None:
        self.records: list[tuple[str, Any]] = []

    def __call__(self, record: logging.LogRecord, context: Any) -> None:
        self.records.append((record.getMessage(), context))


def test_each_record_is_taken_once_with_the_context_of_its_span() -> None:
    """However many handlers and levels of the hierarchy see it, a record is taken once."""
    taken = Taken()
    with joined(taken), logger_with(logging.NullHandler(), logging.NullHandler(), name="test.join.deep") as logger:
        logger.info("outside")
        with use_span(NonRecordingSpan(SPAN)):
            logger.info("inside")
    assert taken.records == [("outside", None), ("inside", SPAN)]


def test_an_application_may_still_call_basic_config() -> None:
    """No handler of ours on the root logger turns `basicConfig` into nothing."""
    with joined(Taken()), fresh_root() as root:
        logging.basicConfig(level=logging.ERROR)
        assert root.level == logging.ERROR
        assert len(root.handlers) == 1


@pytest.mark.parametrize("before", [True, False])
def test_records_are_taken_before_and_after_a_dict_config(before: bool) -> None:
    """`dictConfig`, with `disable_existing_loggers` and replaced handlers, before or after, changes nothing for us."""
    taken = Taken()
    config = {
        "version": 1,
        "handlers": {"null": {"class": "logging.NullHandler"}},
        "loggers": {"test.configured": {"handlers": ["null"], "level": "INFO", "propagate": False}},
    }
    logging.getLogger("test.existing").disabled = False
    with fresh_root(), joined(taken) as join:
        if before:
            join.restore()
            logging.config.dictConfig(config)
            join.join()
        if not before:
            logging.config.dictConfig(config)
        logging.getLogger("test.configured").info("seen")
        logging.getLogger("test.configured").debug("too low")
        logging.getLogger("test.existing").error("disabled by the configuration")
    assert [message for message, _ in taken.records] == ["seen"]


def test_what_takes_records_may_raise() -> None:
    """A queue that fails costs a count and one line; the application's handlers get the record."""
    guard, said = quiet()

    def fails(record: logging.LogRecord, context: Any) -> NoReturn:
        raise RuntimeError("no room")

    handler = logging.handlers.BufferingHandler(10)
    with joined(fails, guard), logger_with(handler) as logger:
        logger.info("a")
        logger.info("b")
    assert [record.getMessage() for record in handler.buffer] == ["a", "b"]
    assert len(said) == 1


def test_records_have_the_names_that_formats_know() -> None:
    """A format with contrib's names works, inside a span and outside."""
    handler = logging.handlers.BufferingHandler(10)
    names = "%(otelTraceID)s %(otelSpanID)s %(otelTraceSampled)s %(otelServiceName)s"
    with joined(), logger_with(handler) as logger:
        logger.info("a")
        with use_span(NonRecordingSpan(SPAN)):
            logger.info("b")
    shown = [logging.Formatter(names).format(record) for record in handler.buffer]
    assert shown == ["0 0 False shop", f"{0xABC:032x} {0xDEF:016x} True shop"]


def test_a_queue_handler_keeps_the_ids_of_who_logged() -> None:
    """A line that is written by a listener's thread has the trace of the request that logged."""
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with pipe() as (reading, stream), json_lines(), joined():
        listener = logging.handlers.QueueListener(waiting, logging.StreamHandler(stream))
        listener.start()
        with logger_with(logging.handlers.QueueHandler(waiting)) as logger, use_span(NonRecordingSpan(SPAN)):
            logger.info("later")
        listener.stop()
        assert json.loads(os.read(reading, 10_000))["trace_id"] == f"{0xABC:032x}"


def test_a_record_for_another_process_is_plain_data() -> None:
    """A handler that pickles records sends no class of ours: the receiver may know nothing of the distro."""
    make_portable()
    sent: list[bytes] = []

    class Sends(logging.handlers.SocketHandler):
        def send(self, s: bytes) -> None:
            sent.append(s)

    scope = RequestScope("req-1")
    open_scope(scope)
    try:
        set_user("u1")
        with joined(), logger_with(Sends("127.0.0.1", 9)) as logger:
            logger.info("far away")
    finally:
        close_scope(scope)
    assert b"otel_distro" not in sent[0]
    received = logging.makeLogRecord(pickle.loads(sent[0][4:]))  # noqa: S301 - made above
    line = json.loads(JsonLines(service="collector").format(received))
    assert (line["message"], line["request_id"], line["user"]) == ("far away", "req-1", "u1")


def test_a_record_logged_while_another_is_formatted_is_taken_too() -> None:
    """An argument whose text logs is nothing unusual: both records arrive, and nothing recurses."""
    taken = Taken()

    class Talks:
        def __str__(self) -> str:
            logging.getLogger("test.logs.inner").warning("from inside")
            return "text"

    with joined(taken), logger_with(logging.NullHandler()) as logger, logger_with(name="test.logs.inner"):
        logger.info("outer %s", Talks())
    assert ("outer text", None) in taken.records
    assert ("from inside", None) in taken.records


def test_levels_hold_against_a_later_configuration() -> None:
    """What the variable names has its level before and after the application's `dictConfig`, and is not disabled."""
    guard, _ = quiet()
    levels = Levels({"root": logging.ERROR, "test.levels": logging.DEBUG}, guard)
    before = logging.config.dictConfig, logging.config.fileConfig, logging.basicConfig
    try:
        levels.watch(logging.config)
        levels.watch_basic()
        with fresh_root() as root:
            levels.apply()
            told = {"version": 1, "root": {"level": "DEBUG"}, "loggers": {"test.levels": {"level": "ERROR"}}}
            logging.config.dictConfig(told)
            assert (root.level, logging.getLogger("test.levels").level) == (logging.ERROR, logging.DEBUG)
            logging.config.dictConfig({"version": 1})
            assert not logging.getLogger("test.levels").disabled
            logging.basicConfig(level=logging.DEBUG, force=True)
            assert root.level == logging.ERROR
    finally:
        logging.config.dictConfig, logging.config.fileConfig, logging.basicConfig = before


def test_an_access_line_outside_a_followed_request_goes_on_at_once_with_its_fields() -> None:
    """A request that is excluded from telemetry still has its line, its fields, and no secret."""
    handler = logging.handlers.BufferingHandler(10)
    with joined() as join:
        join.restore()
        join.hold_back(LOGGERS, Access(join.release, no_ids).hold)
        join.join()
        with logger_with(handler, name="uvicorn.access") as logger:
            logger.info('%s - "%s %s HTTP/%s" %d', "10.0.0.1:5", "GET", "/a?token=s3cret&b=1", "1.1", 404)
    (record,) = handler.buffer
    told = vars(record)
    assert (told["client.address"], told["http.request.method"], told["url.path"]) == ("10.0.0.1", "GET", "/a")
    assert told["http.response.status_code"] == 404
    assert "s3cret" not in str({key: value for key, value in told.items() if key not in {"args"}})


def test_gunicorns_access_line_has_the_same_fields() -> None:
    """gunicorn's atoms hold every header; only method, path, status, address and duration are looked at."""
    handler = logging.handlers.BufferingHandler(10)
    atoms = {"h": "10.0.0.1", "m": "GET", "U": "/a", "s": "200", "D": 1500, "{authorization}i": "Bearer x"}
    with joined() as join:
        join.restore()
        join.hold_back(LOGGERS, Access(join.release, no_ids).hold)
        join.join()
        with logger_with(handler, name="gunicorn.access") as logger:
            logger.info("%(h)s %(m)s %(U)s", atoms)
    told = vars(handler.buffer[0])
    assert (told["url.path"], told["http.response.status_code"], told["duration_ms"]) == ("/a", 200, 1.5)


def test_many_threads_log_at_once_and_nothing_is_lost_or_mixed() -> None:
    """Each thread's lines have its own ids, and each line is whole."""
    with pipe() as (reading, stream), json_lines(), joined():
        collected: list[bytes] = []

        def collect() -> None:
            while chunk := os.read(reading, 65_536):
                collected.append(chunk)
                if b"the end" in chunk:
                    return

        reader = threading.Thread(target=collect)
        reader.start()
        with logger_with(logging.StreamHandler(stream)) as logger:

            def work(number: int) -> None:
                with use_span(NonRecordingSpan(SpanContext(number, number, is_remote=False))):
                    for _ in range(200):
                        logger.info("from %d", number)

            threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 9)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            logger.info("the end")
        reader.join(30)
    lines = [json.loads(line) for line in b"".join(collected).splitlines()]
    assert len(lines) == 8 * 200 + 1
    for line in lines[:-1]:
        assert int(line["trace_id"], 16) == int(line["message"].split()[1])


def test_nothing_of_ours_is_on_the_stack_while_handlers_work() -> None:
    """A handler that looks for the line that logged, as loguru's documentation has it, finds the application's."""
    found: list[str] = []

    class Looking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            frame = sys._getframe(1)
            while frame.f_back is not None and frame.f_code.co_filename == logging.__file__:
                frame = frame.f_back
            found.append(frame.f_code.co_name)

    def of_the_application(logger: logging.Logger) -> None:
        logger.info("charged")

    with joined(Taken()), logger_with(Looking()) as logger:
        of_the_application(logger)
    assert found == ["of_the_application"]


def test_a_record_that_a_filter_gives_in_the_place_of_another_is_the_one_that_is_taken() -> None:
    """What is sent is what handlers get; from Python 3.12 on filters may choose."""
    taken = Taken()

    def shortened(record: logging.LogRecord) -> Any:
        other = copy.copy(record)
        other.msg = "short"
        return other

    handler = logging.handlers.BufferingHandler(10)
    with joined(taken), logger_with(handler, name="test.join.other") as logger:
        logger.addFilter(shortened)
        try:
            logger.info("very long")
        finally:
            logger.removeFilter(shortened)
    assert [message for message, _ in taken.records] == [record.getMessage() for record in handler.buffer]
