"""Log records that leave: translated and queued; never about themselves, never raising."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.trace import NonRecordingSpan, use_span

from otel_distro import settings
from otel_distro._compat import SUPPRESS_ALL
from otel_distro.context import RequestScope, close_scope, open_scope, set_context, set_user
from otel_distro.logs.any_values import LARGEST
from otel_distro.logs.direct import Direct
from otel_distro.logs.queue import EncodedLogQueue, Tap, for_logs, tap_of
from otel_distro.logs.records import LeanLogRecord, Translator, severity_of
from otel_distro.otlp.encode_logs import LogEncoder
from tests.log_records import RESOURCE, SPAN, Handed, Kept, Whole, provider_of, queue_to
from tests.logs_rig import joined, json_lines, logger_with, pipe, quiet


def test_a_record_leaves_with_severity_body_scope_ids_and_fields() -> None:
    """What upstream's handler would send is sent: time, severity, message, logger, span, extra fields."""
    whole = Whole()
    span = use_span(NonRecordingSpan(SPAN))
    with joined(whole.tap.take), logger_with(logging.NullHandler(), name="shop.orders") as logger, span:
        logger.warning("charged %d", 5, extra={"order": 7})
    (record,) = whole.sent()
    assert (record.severity_number, record.severity_text) == (SeverityNumber.WARN, "WARN")
    assert (record.body, record.attributes) == ("charged 5", {"order": 7})
    assert (record.trace_id, record.span_id, record.trace_flags) == (0xABC, 0xDEF, 1)
    assert (record.instrumentation_scope.name, record.resource) == ("shop.orders", RESOURCE)


def test_the_record_is_what_upstreams_handler_makes() -> None:
    """Differential: body, severity, scope, time and plain attributes equal those of the SDK's own handler."""
    whole = Whole()
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    with pytest.warns(DeprecationWarning, match="LoggingHandler"):
        upstream = LoggingHandler(logger_provider=provider)
    with joined(whole.tap.take), logger_with(upstream, name="shop.orders") as logger:
        for level in (10, 13, 20, 25, 30, 35, 40, 50, 60):
            logger.log(level, "level %d", level, extra={"n": level, "text": "t", "list": ["a", "b"]})
    for ours, theirs in zip(whole.sent(), exporter.get_finished_logs(), strict=True):
        record = theirs.log_record
        assert (ours.body, ours.severity_number, ours.timestamp) == (
            record.body,
            record.severity_number,
            record.timestamp,
        )
        assert ours.severity_text == record.severity_text
        assert ours.instrumentation_scope.name == theirs.instrumentation_scope.name
        assert ours.attributes["n"] == record.attributes["n"]
        assert list(ours.attributes["list"]) == list(record.attributes["list"])
    provider.shutdown()


def _sent(log: Any, **options: Any) -> list[Any]:
    """What leaves of what `log(logger)` logs: the short way's records and the long way's."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    found = []
    for long in (False, True):
        guard, _ = quiet()
        exporter = Handed()
        parsed, _ = settings.parse({})
        queue = for_logs(exporter, batch=parsed.logs.batch, guard=guard, name="otlp", ours=True)
        assert isinstance(queue, EncodedLogQueue)
        provider, translator = provider_of(queue.emit, guard=guard), Translator(**options)
        take = Tap(translator, [queue], provider).take if long else tap_of(translator, [queue], provider).take
        assert isinstance(getattr(take, "__self__", None), Tap if long or not translator.is_plain else Direct)
        scope = RequestScope("r")
        open_scope(scope)
        try:
            set_user("u1")
            set_context(tenant="acme")
            with joined(take), logger_with(logging.NullHandler(), name="shop.orders") as logger:
                log(logger)
        finally:
            close_scope(scope)
        assert queue.force_flush(1_000)
        assert guard.failures == ()
        request = ExportLogsServiceRequest()
        for body in exporter.bodies:
            request.MergeFromString(body)
        (group,) = request.resource_logs
        (records,) = group.scope_logs
        assert records.scope.name == "shop.orders"
        for record in records.log_records:
            record.time_unix_nano = record.observed_time_unix_nano = int(record.time_unix_nano > 0)
        found.append(sorted(map(str, records.log_records)))
    return found


def _usual(logger: logging.Logger) -> None:
    with use_span(NonRecordingSpan(SPAN)):
        logger.info("plain")
        logger.warning(
            "charged %d %s", 5, "\ud800", extra={"order": 7, "password": "p", "ratio": 0.5, "who": "x" * 20_000}
        )
    logger.critical("x" * 300)
    logger.error("y" * 20_000)
    logger.log(11, "", extra={"tenant.id": "its own", "list": [1, "a"], "none": None, "big": 1 << 70})


def _unusual(logger: logging.Logger) -> None:
    logger.info({"event": "sold", "order": 7})
    logger.info("sold", extra={"otel.event.name": "sold", "a": 1})
    logger.info("sold", extra={f"field{number}": number for number in range(200)})
    logger.info("%d", "x")
    try:
        raise ValueError("token=hunter2")  # noqa: TRY301 - this is the exception
    except ValueError:
        logger.exception("no")


@pytest.mark.parametrize("log", [_usual, _unusual])
@pytest.mark.parametrize("options", [{}, {"most_attributes": 3}, {"longest": 5}, {"code": True}])
def test_the_short_way_of_a_record_ends_like_the_long_one(log: Any, options: dict[str, Any]) -> None:
    """Straight into bytes or by a record in between: the same request leaves, whatever was logged."""
    short, long = _sent(log, **options)
    assert short == long
    assert len(short) == 5
    assert "hunter2" not in str(short)


def test_levels_below_debug_are_traces() -> None:
    """uvicorn's level 5 is TRACE, nothing is UNSPECIFIED that has a level."""
    assert (severity_of(5), severity_of(0)) == (SeverityNumber.TRACE4, SeverityNumber.UNSPECIFIED)
    assert severity_of(1_000) is SeverityNumber.FATAL4


def test_an_exception_has_the_three_attributes_of_the_conventions() -> None:
    """Type with module, message, stack trace, and no `exception.escaped`, which the conventions have dropped."""
    whole = Whole()

    class Refused(Exception):
        pass

    with joined(whole.tap.take), logger_with(logging.NullHandler()) as logger:
        try:
            raise Refused("password=hunter2")  # noqa: TRY301 - this is the exception
        except Refused:
            logger.exception("no")
    (record,) = whole.sent()
    assert set(record.attributes) == {"exception.type", "exception.message", "exception.stacktrace"}
    assert record.attributes["exception.type"].endswith("Refused")
    assert record.attributes["exception.type"].startswith(__name__)
    assert "hunter2" not in str(record.attributes)


def test_what_is_known_about_the_request_leaves_under_conventional_names() -> None:
    """User and tenant have the names they have on spans."""
    whole = Whole()
    scope = RequestScope("r")
    open_scope(scope)
    try:
        set_user("u1")
        with joined(whole.tap.take), logger_with(logging.NullHandler()) as logger:
            logger.info("a")
    finally:
        close_scope(scope)
    (record,) = whole.sent()
    assert record.attributes["user.id"] == "u1"


def test_secrets_and_hostile_objects_do_not_leave() -> None:
    """The same redaction and the same bounds as on lines."""
    whole = Whole()

    class Hostile:
        def __repr__(self) -> NoReturn:
            raise AssertionError("called")

    with joined(whole.tap.take), logger_with(logging.NullHandler()) as logger:
        logger.info("token=%s", "c4n4ry", extra={"password": "c4n4ry", "thing": Hostile(), "d": {"cookie": "c4n4ry"}})
        logger.info("%d", "c4n4ry-free")
    first, second = whole.sent()
    encoded = LogEncoder().encode([first]).body
    assert b"c4n4ry" not in encoded
    assert first.attributes["thing"].endswith("Hostile>")
    assert "TypeError in formatting" in second.body


@pytest.mark.parametrize(
    "brought",
    [
        ("otelTraceID", "otelSpanID", "k", "z", "y"),
        ("k", "z", "y", "otelTraceSampled", "otelServiceName"),
        ("otelServiceName", "otelTraceID", "otelSpanID", "k", "z", "y", "_otel_context"),
        ("k", "z", "y"),
    ],
)
def test_fields_leave_beside_names_of_correlation_in_any_order(brought: tuple[str, ...]) -> None:
    """An `extra` may hold names that correlation sets; the other fields leave, and on a line, too."""
    whole = Whole()
    with pipe() as (reading, stream), json_lines(), joined(whole.tap.take):
        with logger_with(logging.StreamHandler(stream)) as logger:
            logger.warning("x", extra=dict.fromkeys(brought, "v"))
        line = json.loads(os.read(reading, 10_000))
    (record,) = whole.sent()
    assert record.attributes == {"k": "v", "z": "v", "y": "v"}
    assert {name: line[name] for name in "kzy"} == record.attributes


@pytest.mark.parametrize(
    "message",
    [{"dict": "body", "n": [1]}, {"n": list(range(200))}, {}, ["a", 1], (1, 2), 5, 0.5, True, None, b"b"],
)
def test_a_message_that_is_no_text_is_the_body_as_it_is(message: Any) -> None:
    """As upstream's handler has it; the fields of `extra` stay attributes, and a line has a text."""
    whole = Whole()
    with pipe() as (reading, stream), json_lines(), joined(whole.tap.take):
        with logger_with(logging.StreamHandler(stream)) as logger:
            logger.info(message, extra={"order": 7})
        line = json.loads(os.read(reading, 10_000))
    (record,) = whole.sent()
    assert record.body == (list(message) if isinstance(message, tuple) else message)
    assert record.attributes == {"order": 7}
    assert line["message"]


@pytest.mark.parametrize(
    ("message", "body", "event"),
    [
        ({"event": "sold", "n": 1}, "sold", None),
        ({"message": "sold", "n": 1}, "sold", None),
        ({"msg": "sold", "n": 1}, "sold", None),
        ({"event.name": "sold", "n": 1}, "sold", "sold"),
    ],
)
def test_a_dict_that_tells_an_event_is_its_text_and_attributes(message: Any, body: str, event: str | None) -> None:
    """What structlog and its like log: the event is the body, the rest are attributes."""
    whole = Whole()
    with joined(whole.tap.take), logger_with(logging.NullHandler()) as logger:
        logger.info(message)
    (record,) = whole.sent()
    assert (record.body, record.attributes, record.event_name) == (body, {"n": 1}, event)


def test_secrets_in_a_message_that_is_no_text_do_not_leave() -> None:
    """By name and in texts, in the body and on the line; what is too large is counted."""
    guard, _ = quiet()
    whole = Whole(guard=guard)
    with pipe() as (reading, stream), json_lines(), joined(whole.tap.take):
        with logger_with(logging.StreamHandler(stream)) as logger:
            logger.info({"user": {"password": "canary"}, "url": "http://a:canary@h/"})
        line = os.read(reading, 10_000).decode()
        with logger_with(logging.NullHandler()) as logger:
            logger.info([b"x" * LARGEST])
    small, large = whole.sent()
    assert "canary" not in f"{small.body}{small.attributes}{line}"
    assert len(large.body[0]) < LARGEST
    assert guard.failures[0].count == 1


def _received(**told: Any) -> logging.LogRecord:
    """A record as Python's socket server recipe makes it of what another process sent."""
    sent: dict[str, Any] = {"name": "job", "levelno": 30, "levelname": "WARNING", "msg": "far away", "args": None}
    return logging.makeLogRecord({**sent, "process": os.getpid() + 1, **told})


THEIRS = {"otelTraceID": f"{0x123:032x}", "otelSpanID": f"{0x45:016x}", "otelTraceSampled": True}


def _handled(record: logging.LogRecord) -> tuple[LeanLogRecord, dict[str, Any]]:
    """The record that leaves and the line, where a receiver handles it inside a span of its own."""
    whole = Whole()
    with pipe() as (reading, stream), json_lines(), joined(whole.tap.take), use_span(NonRecordingSpan(SPAN)):
        with logger_with(logging.StreamHandler(stream)) as logger:
            logger.handle(record)
        line = json.loads(os.read(reading, 10_000))
    (made,) = whole.sent()
    return made, line


def test_a_record_of_another_process_keeps_its_trace_and_its_request() -> None:
    """A receiver's own span is not that of the sender, whose ids, user and request leave and are on the line."""
    context = {"request_id": "r1", "user": "u1", "tenant": "acme", "context.api_key": "canary"}
    record, line = _handled(_received(**THEIRS, otelServiceName="theirs", order=7, _otel_context=context))
    assert (record.trace_id, record.span_id, record.trace_flags) == (0x123, 0x45, 1)
    assert (line["trace_id"], line["span_id"]) == (THEIRS["otelTraceID"], THEIRS["otelSpanID"])
    assert (line["user"], line["request_id"], line["tenant"]) == ("u1", "r1", "acme")
    told = {"order": 7, "request.id": "r1", "user.id": "u1", "tenant.id": "acme", "context.api_key": "REDACTED"}
    assert record.attributes == told
    assert "canary" not in str(line)


@pytest.mark.parametrize(
    "told",
    [
        {**THEIRS, "process": os.getpid()},
        {**THEIRS, "process": None},
        {**THEIRS, "otelTraceID": "0"},
        {**THEIRS, "otelTraceID": "0" * 32},
        {**THEIRS, "otelTraceID": '","level":"' + "0" * 22},
        {**THEIRS, "otelTraceID": 5},
        {},
    ],
)
def test_a_record_without_a_trace_of_another_process_gets_that_of_the_running_code(told: dict[str, Any]) -> None:
    """What is no trace id, and what this process put there itself, is replaced."""
    record, line = _handled(_received(**told))
    assert (record.trace_id, record.span_id) == (0xABC, 0xDEF)
    assert line["trace_id"] == f"{0xABC:032x}"


@pytest.mark.parametrize("span_id", [None, 5, "x", '"' * 16, "0" * 16])
@pytest.mark.parametrize("context", ["text", [1], {1: 2}, {"user": [1], "n": object()}, {}])
def test_what_else_another_process_put_on_a_record_may_be_anything(span_id: Any, context: Any) -> None:
    """Only text of the expected form is taken; a line and a record come out all the same."""
    told = {**THEIRS, "otelSpanID": span_id, "otelTraceSampled": "yes", "_otel_context": context}
    record, line = _handled(_received(**told))
    assert (record.trace_id, record.span_id, record.trace_flags) == (0x123, 0, 0)
    assert (line["trace_id"], line["span_id"], line["message"]) == (THEIRS["otelTraceID"], "0", "far away")


def test_code_attributes_and_limits_are_settings() -> None:
    """File, line and function go with a record where asked for; attributes beyond the limit are dropped and counted."""
    whole = Whole(code=True, most_attributes=4, longest=3)
    with joined(whole.tap.take), logger_with(logging.NullHandler()) as logger:
        logger.info("a", extra={"text": "abcdef", "n": 1, "m": 2})
    (record,) = whole.sent()
    assert (record.attributes["text"], len(record.attributes), record.dropped_attributes) == ("abc", 4, 2)


def test_limits_hold_for_records_of_the_api_and_for_texts_in_lists() -> None:
    """OTEL_LOGRECORD_ATTRIBUTE_* bound what is emitted by the OpenTelemetry API as they bound records of logging."""
    taken: list[LeanLogRecord] = []
    provider = provider_of(taken.append, most_attributes=2, longest=3)
    provider.get_logger("api").emit(attributes={"text": "abcdef", "list": ["abcdef", 1], "n": 1})
    (record,) = taken
    assert (record.attributes, record.dropped_attributes) == ({"text": "abc", "list": ["abc", 1]}, 1)


def test_records_below_the_least_level_stay() -> None:
    """OTEL_PYTHON_LOG_HANDLER_LEVEL bounds what leaves, not what is logged."""
    whole = Whole(least=logging.ERROR)
    with joined(whole.tap.take), logger_with(logging.NullHandler()) as logger:
        logger.warning("stays")
        logger.error("leaves")
    assert [record.body for record in whole.sent()] == ["leaves"]


def test_what_the_distro_and_exporters_say_never_becomes_a_record() -> None:
    """Records about sending are not sent: of our own loggers, of OpenTelemetry's, and from exporters' threads."""
    whole = Whole()

    def export() -> None:
        token = attach(Context(SUPPRESS_ALL))
        logging.getLogger("urllib3").error("from an exporter")
        detach(token)

    with joined(whole.tap.take):
        for name in ("otel_distro", "opentelemetry.sdk"):
            logging.getLogger(name).error("own")
        thread = threading.Thread(target=export, name="otel-distro-otlp")
        thread.start()
        thread.join()
    assert whole.sent() == []


def test_an_application_that_suppresses_spans_still_sends_its_records() -> None:
    """Suppressed instrumentation is about spans; only in an exporter's thread is it about logs."""
    whole = Whole()
    token = attach(Context(SUPPRESS_ALL))
    try:
        with joined(whole.tap.take), logger_with(logging.NullHandler()) as logger:
            logger.info("still there")
    finally:
        detach(token)
    assert [record.body for record in whole.sent()] == ["still there"]


def test_a_full_queue_drops_counts_and_names_its_variable() -> None:
    """The application never waits: what finds no room is counted, and one line says which variable makes room."""
    guard, said = quiet()
    blocked, go_on = threading.Event(), threading.Event()

    class Slow(Kept):
        def export(self, batch: Sequence[Any]) -> Any:
            blocked.set()
            go_on.wait(30)
            super().export(batch)

    queue = queue_to(Slow(), guard, size=10)
    emit = provider_of(queue.emit).get_logger("x").emit
    for _ in range(200):
        emit(body="b")
    go_on.set()
    queue.shutdown(10_000)
    counts = queue.counts()
    assert counts["queue_full"] > 0
    assert sum(counts.values()) == 200
    assert [line for line in said if "OTEL_BLRP_MAX_QUEUE_SIZE" in line]
    assert not [line for line in said if "spans" in line]


def test_an_exporter_that_fails_or_raises_is_counted() -> None:
    """FAILURE and an exception are counted apart, nothing is raised, and what is lost is called by its name."""
    from opentelemetry.sdk._logs.export import LogRecordExportResult

    class Fails(Kept):
        def export(self, batch: Sequence[Any]) -> Any:
            return LogRecordExportResult.FAILURE

    class Raises(Kept):
        def export(self, batch: Sequence[Any]) -> NoReturn:
            raise OSError("no route")

    guard, said = quiet()
    for exporter, counter in ((Fails(), "failed"), (Raises(), "raised")):
        queue = queue_to(exporter, guard)
        provider_of(queue.emit).get_logger("x").emit(body="b")
        queue.shutdown(10_000)
        assert queue.counts()[counter] == 1
    assert ["its log records are dropped" in line for line in said] == [True]


def test_an_exporter_of_others_gets_upstreams_records() -> None:
    """Any installed exporter reads what it was written for."""
    exporter = InMemoryLogRecordExporter()
    queue = queue_to(exporter, quiet()[0], ours=False)
    with use_span(NonRecordingSpan(SPAN)):
        provider_of(queue.emit).get_logger("x", "1").emit(body="b", attributes={"a": 1}, event_name="e")
    queue.force_flush(10_000)
    (readable,) = exporter.get_finished_logs()
    assert (readable.log_record.body, readable.log_record.trace_id) == ("b", 0xABC)
    assert '"event_name": "e"' in readable.to_json()
    queue.shutdown(1000)
