"""Spans as transactions, for backends without OTLP: complete, late and orphaned ones, all accepted by Relay."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    set_span_in_context,
    use_span,
)

from otel_distro.guard import Guard
from otel_distro.sentry.envelopes import EnvelopeExporter, operation, status
from otel_distro.sentry.spans import Marks
from tests.recording import Recording
from tests.sentry_rig import problems


class Backend:
    """An exporter whose transactions stay here."""

    def __init__(self, *, personal: bool = False) -> None:
        self.sent: list[Mapping[str, Any]] = []
        self.sizes: list[int] = []
        self.lost = 0
        self.exporter = EnvelopeExporter(
            self._send,
            lambda seconds: None,
            self._lose,
            Marks("production", "shop@1"),
            personal=personal,
            guard=Guard(level=100),
        )

    def _send(self, event_id: str, transaction: bytes) -> None:
        self.sizes.append(len(transaction))
        self.sent.append(json.loads(transaction))
        assert self.sent[-1]["event_id"] == event_id

    def _lose(self, count: int) -> None:
        self.lost += count

    def tree(self) -> dict[str, list[str]]:
        """Names of the spans by transaction."""
        return {one["transaction"]: sorted(span["description"] for span in one["spans"]) for one in self.sent}


def test_a_root_leaves_with_everything_below_it() -> None:
    """Children end first and wait for their root; one transaction holds them with the ids that OpenTelemetry gave."""
    recording, backend = Recording(), Backend()
    tracer = recording.tracer_provider.get_tracer("test")
    with (
        tracer.start_as_current_span("root") as root,
        tracer.start_as_current_span("child"),
        tracer.start_as_current_span("grandchild"),
    ):
        pass
    for span in recording.take():
        backend.exporter.export([span])
    (transaction,) = backend.sent
    assert backend.tree() == {"root": ["child", "grandchild"]}
    assert transaction["contexts"]["trace"]["span_id"] == f"{root.get_span_context().span_id:016x}"
    assert transaction["release"] == "shop@1"
    assert problems(transaction) is None


def test_a_span_that_ends_after_its_root_is_not_lost() -> None:
    """It leaves as a transaction of its own, with what is below it, and names its parent."""
    recording, backend = Recording(), Backend()
    tracer = recording.tracer_provider.get_tracer("test")
    with tracer.start_as_current_span("root") as root:
        late = tracer.start_span("late")
    with use_span(late):
        tracer.start_span("below late").end()
    late.end()
    backend.exporter.export(recording.take())
    assert backend.tree() == {"root": [], "late": ["below late"]}
    parent = backend.sent[1]["contexts"]["trace"]["parent_span_id"]
    assert parent == f"{root.get_span_context().span_id:016x}"


def test_two_local_roots_of_one_trace_keep_their_own() -> None:
    """A caller that asks twice in one trace gets two transactions, each with its own spans."""
    recording, backend = Recording(), Backend()
    tracer = recording.tracer_provider.get_tracer("test")
    caller = set_span_in_context(NonRecordingSpan(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1))))
    for name in ("first", "second"):
        with tracer.start_as_current_span(name, context=caller), tracer.start_as_current_span(f"in {name}"):
            pass
    for span in recording.take():
        backend.exporter.export([span])
    assert backend.tree() == {"first": ["in first"], "second": ["in second"]}


def test_what_waits_leaves_at_the_end() -> None:
    """Spans whose root never ended are sent when the process ends."""
    recording, backend = Recording(), Backend()
    tracer = recording.tracer_provider.get_tracer("test")
    root = tracer.start_span("never ends")
    with use_span(root), tracer.start_as_current_span("top"), tracer.start_as_current_span("below"):
        pass
    backend.exporter.export(recording.take())
    assert backend.sent == []
    backend.exporter.shutdown()
    assert backend.tree() == {"top": ["below"]}


def test_traces_without_an_end_are_bounded() -> None:
    """However many roots never end, what waits is bounded, and what is over the bound is sent."""
    recording, backend = Recording(), Backend()
    tracer = recording.tracer_provider.get_tracer("test")
    for _ in range(600):
        tracer.start_span("child", context=set_span_in_context(tracer.start_span("open"))).end()
    backend.exporter.export(recording.take())
    assert len(backend.sent) == 100


def span_with(attributes: dict[str, Any], kind: SpanKind = SpanKind.CLIENT) -> ReadableSpan:
    """An ended span."""
    recording = Recording()
    recording.tracer_provider.get_tracer("test").start_span("name", kind=kind, attributes=attributes).end()
    return recording.one()


@pytest.mark.parametrize(
    ("attributes", "kind", "op"),
    [
        ({"http.request.method": "GET"}, SpanKind.SERVER, "http.server"),
        ({"http.method": "GET"}, SpanKind.CLIENT, "http.client"),
        ({"db.system.name": "postgresql", "db.query.text": "select ?"}, SpanKind.CLIENT, "db"),
        ({"db.system": "redis"}, SpanKind.CLIENT, "db.redis"),
        ({"messaging.system": "kafka"}, SpanKind.PRODUCER, "queue.publish"),
        ({"rpc.system": "grpc"}, SpanKind.CLIENT, "rpc"),
        ({}, SpanKind.INTERNAL, "function"),
    ],
)
def test_operations_are_sentrys(attributes: dict[str, Any], kind: SpanKind, op: str) -> None:
    """Both generations of semantic conventions are told as Sentry's operations."""
    assert operation(span_with(attributes, kind))[0] == op


@pytest.mark.parametrize(
    ("code", "name"), [(200, "ok"), (404, "not_found"), (418, "invalid_argument"), (429, "resource_exhausted"),
                       (503, "unavailable"), (500, "internal_error"), (599, "internal_error")]
)  # fmt: skip
def test_statuses_are_sentrys(code: int, name: str) -> None:
    """The status of an HTTP response goes before the span's own."""
    assert status(span_with({"http.response.status_code": code})) == name


def test_transactions_tell_nothing_personal() -> None:
    """Query strings, addresses and names stay here, unless they are opted in to."""
    given = {"url.full": "http://h/p?q=secret", "client.address": "10.0.0.1", "user.email": "a@b", "user.id": "7"}
    guarded, whole = Backend(), Backend(personal=True)
    guarded.exporter.export([span_with(given)])
    whole.exporter.export([span_with(given)])
    assert guarded.sent[0]["contexts"]["trace"]["data"] == {"url.full": "http://h/p", "user.id": "7"}
    assert whole.sent[0]["contexts"]["trace"]["data"] == given


def test_a_root_that_lasts_does_not_fill_memory() -> None:
    """Of one trace a thousand spans wait, as many as Sentry takes; the others are counted as lost."""
    recording, backend = Recording(), Backend()
    tracer = recording.tracer_provider.get_tracer("test")
    with tracer.start_as_current_span("worker"):
        for _ in range(1_500):
            tracer.start_span("job").end()
    spans = recording.take()
    backend.exporter.export(spans[:-1])
    assert backend.lost == 500
    backend.exporter.export(spans[-1:])
    assert len(backend.tree()["worker"]) == 1_000


def test_spans_of_one_batch_are_bounded_too() -> None:
    """What waits for all roots together is bounded; above that the oldest trace leaves as it is."""
    recording, backend = Recording(), Backend()
    tracer = recording.tracer_provider.get_tracer("test")
    for _ in range(21):
        with use_span(tracer.start_span("open")):
            for _ in range(1_000):
                tracer.start_span("job").end()
    backend.exporter.export(recording.take())
    assert len(backend.sent) == 1_000
    assert backend.lost == 0


def test_a_transaction_is_no_larger_than_sentry_takes() -> None:
    """Long texts are cut first, then spans are left out and counted, until it is less than a megabyte."""
    recording, backend = Recording(), Backend()
    tracer = recording.tracer_provider.get_tracer("test")
    for texts in (1, 20):
        given = {"db.system.name": "sqlite", "db.query.text": "x" * 5_000} | {f"a{n}": "x" * 300 for n in range(texts)}
        with tracer.start_as_current_span("root"):
            for _ in range(500):
                tracer.start_span("query", attributes=given).end()
        backend.exporter.export(recording.take())
    assert max(backend.sizes) < 1_000_000
    cut, fewer = (len(one["spans"]) for one in backend.sent)
    assert (cut, fewer + backend.lost) == (500, 500)
    assert 0 < fewer < 500


@pytest.mark.parametrize(
    ("value", "sent"),
    [(float("nan"), "nan"), ([1.5, float("inf")], [1.5, "inf"]), (b"ab\xff", "ab\ufffd"), ("a\ud800", "a?"),
     ({"a": [b"x", None]}, {"a": ["x", None]})],
)  # fmt: skip
def test_what_json_does_not_know_costs_no_transaction(value: Any, sent: Any) -> None:
    """Numbers that are none, bytes and halves of surrogate pairs become texts; else the transaction would be lost."""
    backend = Backend()
    backend.exporter.export([span_with({"value": value})])
    assert backend.sent[0]["contexts"]["trace"]["data"]["value"] == sent
    assert problems(backend.sent[0]) is None


def test_a_forked_child_leaves_what_waits_to_its_parent() -> None:
    """A span that waits for its root when the process forks is sent once."""
    recording, backend = Recording(), Backend()
    tracer = recording.tracer_provider.get_tracer("test")
    tracer.start_span("child", context=set_span_in_context(tracer.start_span("open"))).end()
    backend.exporter.export(recording.take())
    if not (child := os.fork()):
        backend.exporter.shutdown()
        os._exit(len(backend.sent))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    backend.exporter.shutdown()
    assert len(backend.sent) == 1
