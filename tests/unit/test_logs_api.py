"""Log records that are emitted by the OpenTelemetry API, and the processors of others that get every record."""

from __future__ import annotations

import logging
from collections import deque
from types import MappingProxyType
from typing import Any, NoReturn

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk import _logs as sdk_logs
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context, use_span

from otel_distro import settings
from otel_distro.context import RequestScope, close_scope, open_scope, set_context
from otel_distro.logs.adopted import adopt
from otel_distro.logs.any_values import LARGEST
from otel_distro.logs.queue import for_logs, tap_of
from otel_distro.logs.records import LeanLogRecord, Translator
from tests.log_records import SPAN, Handed, Whole, provider_of
from tests.logs_rig import joined, logger_with, quiet


def emitted(*arguments: Any, **options: Any) -> LeanLogRecord:
    found: list[LeanLogRecord] = []
    provider_of(found.append).get_logger("lib", "2.0", "https://schema", {"k": "v"}).emit(*arguments, **options)
    (record,) = found
    return record


def test_the_api_emits_with_the_context_it_is_given_or_the_current_one() -> None:
    """An explicit context wins; without one the current span's ids are on the record."""
    explicit = set_span_in_context(NonRecordingSpan(SpanContext(1, 2, is_remote=False)), Context())
    with use_span(NonRecordingSpan(SPAN)):
        assert emitted(body="b").trace_id == 0xABC
        assert emitted(body="b", context=explicit).trace_id == 1
        assert emitted(body="b", context=Context()).trace_id == 0


def test_the_api_takes_whole_records_with_their_own_ids() -> None:
    """A `LogRecord` object keeps time, ids, severity and event name."""
    with use_span(NonRecordingSpan(SPAN)):
        told = LogRecord(timestamp=5, body={"a": [1]}, severity_number=SeverityNumber.ERROR, event_name="e")
    record = emitted(told)
    assert (record.timestamp, record.body, record.event_name, record.trace_id) == (5, {"a": [1]}, "e", 0xABC)
    assert record.severity_number is SeverityNumber.ERROR


def test_an_exception_given_to_the_api_becomes_attributes_that_the_caller_may_replace() -> None:
    """Specification: attributes of the caller's win over those made of the exception."""
    record = emitted(body="b", exception=ValueError("x"), attributes={"exception.message": "mine"})
    assert (record.attributes["exception.type"], record.attributes["exception.message"]) == ("ValueError", "mine")


def test_the_api_never_raises() -> None:
    """A record of nonsense costs a count and one line."""
    guard, said = quiet()

    def fails(record: LeanLogRecord) -> NoReturn:
        raise RuntimeError("no")

    logger = provider_of(fails, guard=guard).get_logger("x")
    logger.emit(body="b")
    logger.emit(object())  # type: ignore[call-overload]
    logger.emit(attributes=5)  # type: ignore[call-overload]
    assert len(said) == 1


class Notes(LogRecordProcessor):
    """A processor that notes what it sees, and writes an attribute and the body."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[tuple[Any, dict[str, Any]]] = []
        self.calls: list[str] = []

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        record = log_record.log_record
        self.seen.append((record.body, dict(record.attributes or {})))
        record.attributes[self.name] = True  # type: ignore[index]  # upstream's are mutable here
        record.body = f"{record.body}+{self.name}"

    def shutdown(self) -> None:
        self.calls.append("shutdown")

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        self.calls.append("flush")
        return True


class Raises(Notes):
    """A processor that is of no use."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        raise RuntimeError(self.name)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        raise RuntimeError(self.name)

    shutdown = on_emit  # type: ignore[assignment]


def test_a_processor_of_others_can_be_added() -> None:
    """Whoever adds a processor to the provider gets upstream's own records, flushes and shutdowns."""
    exporter = InMemoryLogRecordExporter()
    provider = provider_of()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger("x")
    assert logger.enabled()
    logger.emit(body="b", severity_number=SeverityNumber.INFO)
    assert provider.force_flush(1000)
    assert [readable.log_record.body for readable in exporter.get_finished_logs()] == ["b"]
    provider.shutdown()
    assert not provider_of().get_logger("x").enabled()


def test_what_a_processor_of_others_changes_the_next_one_sees() -> None:
    """Specification, logs SDK, OnEmit: one record for all of them, in their order; one that raises stops none."""
    guard, said = quiet()
    provider, first, last = provider_of(guard=guard), Notes("first"), Notes("last")
    for processor in (first, Raises("broken"), last):
        provider.add_log_record_processor(processor)
    provider.get_logger("x").emit(body="b", attributes={"n": 1})
    assert first.seen == [("b", {"n": 1})]
    assert last.seen == [("b+first", {"n": 1, "first": True})]
    assert not provider.force_flush(1000)
    provider.shutdown()
    provider.shutdown()
    assert last.calls == ["flush", "flush", "shutdown"]
    assert len(said) == 1


@pytest.mark.parametrize("options", [{}, {"longest": 100}])
def test_processors_of_others_get_the_records_of_logging_that_leave(options: dict[str, Any]) -> None:
    """From when the first is added, by the short way and the long one; what stays, stays, and ours leave as before."""
    guard, _ = quiet()
    exporter, notes = Handed(), Notes("seen")
    queue = for_logs(exporter, batch=settings.parse({})[0].logs.batch, guard=guard, name="otlp", ours=True)
    provider = provider_of(queue.emit, guard=guard)
    tap = tap_of(Translator(least=20, **options), [queue], provider)
    provider.on_first = tap.share
    with joined(tap.take), logger_with(logging.NullHandler()) as logger, use_span(NonRecordingSpan(SPAN)):
        logger.info("before")
        provider.add_log_record_processor(notes)
        scope = RequestScope("r")
        open_scope(scope)
        try:
            set_context(api_key="canary")
            logger.info("charged %d", 5, extra={"order": 7, "password": "canary"})
        finally:
            close_scope(scope)
        logger.debug("too low")
        with logger_with(logging.NullHandler(), name="otel_distro") as own:
            own.error("stays")
    assert [body for body, _ in notes.seen] == ["charged 5"]
    assert notes.seen[0][1]["order"] == 7
    assert "canary" not in str(notes.seen)
    assert queue.force_flush(1000)
    assert b"charged 5" in b"".join(exporter.bodies)
    assert b"seen" not in b"".join(exporter.bodies)
    assert guard.failures == ()


def test_what_a_processor_of_others_logs_does_not_come_to_it_again() -> None:
    """A processor that logs in `on_emit` is no endless recursion; its record leaves by our queue."""
    whole = Whole()
    logger = logging.getLogger("test.talks")

    class Talks(Notes):
        def on_emit(self, log_record: ReadWriteLogRecord) -> None:
            super().on_emit(log_record)
            logger.error("talks")

    talks = Talks("talks")
    whole.provider.on_first = whole.tap.share
    whole.provider.add_log_record_processor(talks)
    with joined(whole.tap.take), logger_with(logging.NullHandler(), name=logger.name):
        logger.error("one")
    assert [record.body for record in whole.sent()] == ["one", "talks"]
    assert [body for body, _ in talks.seen] == ["one"]


def test_a_processor_of_others_may_say_that_it_wants_nothing() -> None:
    """`Logger.enabled` asks the processors where nobody else takes records."""

    class Wants(Notes):
        def enabled(self, *, severity_number: SeverityNumber | None = None, **asked: Any) -> bool:  # type: ignore[override]
            return severity_number is SeverityNumber.ERROR

    provider = provider_of()
    provider.add_log_record_processor(Wants("few"))
    logger = provider.get_logger("x")
    assert logger.enabled(severity_number=SeverityNumber.ERROR)
    assert not logger.enabled(severity_number=SeverityNumber.INFO)


def test_the_provider_is_the_sdks_to_everyone_who_asks() -> None:
    """`isinstance` finds provider and loggers of the SDK, as for spans and metrics."""
    adopt()
    provider = provider_of()
    assert isinstance(provider, LoggerProvider)
    assert isinstance(provider.get_logger("x"), sdk_logs.Logger)


CHAT = [{"role": "user", "parts": [{"type": "text", "content": "x" * 20_000}]}] * 80


@pytest.mark.parametrize(
    "value",
    [
        b"\x00\xff",
        float("inf"),
        0.5,
        [b"a", [True, None]],
        list(range(200)),
        CHAT,
        {str(n): n for n in range(100)},
        "y" * 20_000,
    ],
)
def test_the_api_keeps_any_value_as_it_is(value: Any) -> None:
    """Specification, AnyValue: bytes, doubles and nesting; no length and no count but those of the settings."""
    record = emitted(body=value, attributes={"value": value})
    assert record.body == value
    assert record.attributes == {"value": value}
    deep: Any = "end"
    for _ in range(30):
        deep = {"down": [deep]}
    assert emitted(body=deep).body == deep


def test_values_of_the_api_that_are_none_of_the_specifications_are_brought_to_them() -> None:
    """Tuples and sets are lists, any mapping is a map, and objects are what log records show of them."""
    given = MappingProxyType({"t": (1, 2), "s": {3}, "a": bytearray(b"b"), "o": object(), 5: deque([1])})
    assert emitted(body=given).body == {"t": [1, 2], "s": [3], "a": b"b", "o": "<object>", "5": [1]}


def test_secrets_in_values_of_the_api_do_not_leave_at_any_depth() -> None:
    """By name in maps and attributes, and inside texts however long these are."""
    told = {
        "messages": [{"password": "canary"}, "x" * 20_000 + " token=canary"],
        "api_key": b"canary",
        "headers": [(b"cookie", b"canary"), ("x-api-key", "canary")],
        "command": ["pg_dump", "--password", "canary"],
    }
    record = emitted(body=told, attributes={"told": told, "access_token": 5})
    assert "canary" not in f"{record.body}{record.attributes}"
    assert record.attributes["access_token"] == "REDACTED"


def test_a_record_of_the_api_is_bounded_as_a_whole_and_says_so() -> None:
    """Four megabytes; what finds no room is left out, counted and said once, and nothing foreign takes its place."""
    guard, said = quiet()
    found: list[LeanLogRecord] = []
    logger = provider_of(found.append, guard=guard).get_logger("x")
    round_about: list[Any] = []
    round_about += [round_about, round_about]
    logger.emit(body="x" * (LARGEST + 1), attributes={"a": 1, "b": 2})
    logger.emit(body=round_about)
    logger.emit(body=[b"y" * LARGEST, "z"])
    first, _, last = found
    assert (len(first.body), first.attributes, first.dropped_attributes) == (LARGEST - 64, {}, 2)
    assert [len(part) for part in last.body] == [LARGEST - 128]
    assert len(said) == 1
    assert guard.failures[0].count == 3


def test_the_length_limit_holds_at_any_depth_of_an_attribute() -> None:
    """OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT cuts texts and bytes in lists and maps, and never the body."""
    taken: list[LeanLogRecord] = []
    provider = provider_of(taken.append, longest=2)
    provider.get_logger("api").emit(body="abc", attributes={"m": {"t": "abc", "l": [b"abc", 12345]}})
    assert taken[0].body == "abc"
    assert taken[0].attributes == {"m": {"t": "ab", "l": [b"ab", 12345]}}
