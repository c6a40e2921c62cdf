"""Spans for Sentry: the collector's bytes with three attributes more, and without what is personal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from otel_distro.otlp._batch import Group, Piece
from otel_distro.otlp._values import key_value
from otel_distro.otlp._wire import delimited
from otel_distro.otlp.encode_traces import SpanEncoder
from otel_distro.sentry.spans import Marks
from otel_distro.sentry.stamp import _PERSONAL, _URLS, Stamp, suffix
from tests.recording import Recording
from tests.unit import test_otlp_values as odd

MARKS = Marks("staging", "shop@1", 0.25)
LAST = suffix(MARKS.attributes())


def bodies_of(recording: Recording, *, personal: bool = False) -> tuple[bytes, bytes]:
    """The requests that the collector and Sentry would get."""
    encoder = SpanEncoder()
    pieces = [encoder.piece(span) for span in recording.take()]
    return encoder.join(pieces).body, Stamp(LAST, personal=personal)(encoder.join(pieces).groups).body


def grouped(*pieces: Piece) -> Sequence[Group]:
    """What a batch of these hands on."""
    return SpanEncoder().join(pieces).groups


def spans_in(body: bytes) -> list[Any]:
    """All spans of a request, decoded by the reference."""
    message = ExportTraceServiceRequest()
    message.ParseFromString(body)
    return [span for group in message.resource_spans for scope in group.scope_spans for span in scope.spans]


def attributes(span: Any) -> dict[str, Any]:
    """Attributes by name."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


def one(recording: Recording, *, personal: bool = False) -> Any:
    """The only span, as Sentry gets it."""
    (span,) = spans_in(bodies_of(recording, personal=personal)[1])
    return span


def record(kind: SpanKind, values: dict[str, Any], parent: bool = False) -> Recording:
    """A recording of one span."""
    recording = Recording()
    tracer = recording.tracer_provider.get_tracer("test", "1")
    outer = tracer.start_span("outer").get_span_context() if parent else None
    tracer.begin("name", kind, outer, dict(values)).finish()
    return recording


def test_each_span_gets_the_marks_and_nothing_else_changes() -> None:
    """Without the marks the request is the collector's, bit for bit in meaning, over many spans, scopes and sizes."""
    recording = Recording()
    for scope in ("one", "two"):
        tracer = recording.tracer_provider.get_tracer(scope, "1")
        for size in (0, 1, 50, 127, 128, 129, 300, 20_000):
            with tracer.start_as_current_span("outer", attributes={"text": "x" * size}) as span:
                span.add_event("something", {"n": size})
                tracer.start_span("inner", kind=SpanKind.CLIENT).end()
    original, sentrys = bodies_of(recording)
    message = ExportTraceServiceRequest()
    message.ParseFromString(sentrys)
    for span in spans_in(message.SerializeToString()):
        found = attributes(span)
        assert found["sentry.environment"] == "staging"
        assert found["sentry.release"] == "shop@1"
        assert found["sentry.client_sample_rate"] == 0.25
    for group in message.resource_spans:
        for scope_spans in group.scope_spans:
            for span in scope_spans.spans:
                del span.attributes[-3:]
    expected = ExportTraceServiceRequest()
    expected.ParseFromString(original)
    assert message == expected


def test_a_full_rate_and_an_unknown_release_are_not_stamped() -> None:
    """What says nothing is left out: a rate of 1, and a release that nobody knows."""
    assert Marks("production", None).attributes() == {"sentry.environment": "production"}


@pytest.mark.parametrize("parent", [False, True])
@pytest.mark.parametrize(
    ("kind", "given", "kept"),
    [
        (SpanKind.SERVER, {"client.address": "10.0.0.1", "http.route": "/a"}, {"http.route": "/a"}),
        (SpanKind.SERVER, {"url.query": "q=1", "network.peer.address": "10.0.0.1", "a": 1}, {"a": 1}),
        (SpanKind.SERVER, {"http.target": "/a?q=1", "b": True}, {"http.target": "/a", "b": True}),
        (SpanKind.CLIENT, {"url.full": "http://h/p?q=1#f", "c": 1.5}, {"url.full": "http://h/p", "c": 1.5}),
        (SpanKind.CLIENT, {"url.full": "http://h/p"}, {"url.full": "http://h/p"}),
        (SpanKind.CLIENT, {"db.query.text": "select ?"}, {"db.query.text": "select ?"}),
        (SpanKind.INTERNAL, {"user.id": "7", "user.email": "a@b", "user.name": "Ada"}, {"user.id": "7"}),
        (SpanKind.PRODUCER, {"url.query": "q=1", "d": "e"}, {"d": "e"}),
        (SpanKind.SERVER, {"url.query": "x" * 300, "client.address": "y" * 20_000}, {}),
    ],
)  # fmt: skip
def test_what_is_personal_stays_here(kind: SpanKind, given: dict[str, Any], kept: dict[str, Any], parent: bool) -> None:
    """Queries, addresses and names do not leave, whatever the span's kind and place; with an opt-in all of it does."""
    assert attributes(one(record(kind, given, parent))) == {**kept, **MARKS.attributes()}
    assert attributes(one(record(kind, given, parent), personal=True)) == {**given, **MARKS.attributes()}


@pytest.mark.parametrize("size", [1, 100, 300, 20_000])
@pytest.mark.parametrize("name", sorted(_PERSONAL | _URLS))
def test_every_personal_name_is_known(name: str, size: int) -> None:
    """Whatever its length and its value's, each of the names is found, once and behind another, and others stay."""
    given = {"before": "Z\t", name: "?" + "x" * size, "between": "JJ", "user.email": "a@b", "behind": 1}
    kept = {key: value for key, value in given.items() if key not in _PERSONAL} | ({name: ""} if name in _URLS else {})
    assert attributes(one(record(SpanKind.SERVER, given))) == {**kept, **MARKS.attributes()}


@pytest.mark.parametrize("parent", [False, True])
def test_a_span_gets_the_same_alone_and_among_others(parent: bool) -> None:
    """Each span of a batch leaves as it would by itself, whatever stands before and behind the address."""
    address = delimited(b"\x4a", key_value("client.address", "10.0.0.1")).decode()
    tail = {"client.address": "10.0.0.1", "http.route": "/a"}
    given: list[dict[str, Any]] = [
        {"url.path": "/a", **tail},
        {"url.path": "/bc", **tail},
        {"url.path": f"/{address}", **tail},
        {"url.path": address, **tail},
        {"url.path": "/a", "url.query": "query=1", **tail},
        {"url.path": "/a", "user.email": "ada@example", **tail},
        {"url.path": "/a", "url.full": "http://h/p?query", **tail},
        {"url.path": "/" * 200, **tail},
        {"url.path": "/a", **tail, "user.email": "ada@example"},
        {"url.path": "/a", **tail, "client.address": "10.0.0.2"},
        {**tail},
        {"url.path": "/a"},
    ]
    encoded = [SpanEncoder().piece(*record(SpanKind.SERVER, each, parent).take()[-1:]) for each in given]
    resource, scope, _ = encoded[0]
    pieces = [(resource, scope, text) for _, _, text in encoded]
    stamp = Stamp(LAST, personal=False)
    for piece in [*pieces, *pieces]:
        fresh = Stamp(LAST, personal=False)(grouped(piece))
        assert stamp(grouped(piece)).body == fresh.body
        assert b"10.0.0" not in fresh.body.replace(address.encode(), b"")
        # long enough to be found in no random id
        assert not [text for text in (b"query=1", b"?query", b"ada@example") if text in fresh.body]
    together = spans_in(stamp(grouped(*pieces, *pieces)).body)
    assert [span.attributes for span in together] == [
        span.attributes for piece in [*pieces, *pieces] for span in spans_in(stamp(grouped(piece)).body)
    ]


def test_only_names_that_were_encoded_are_looked_for_and_all_where_they_are_too_many() -> None:
    """What a span has is found from the first on, whoever encoded it how; of 5,000 names none is known any more."""
    encoder = SpanEncoder()
    stamp = Stamp(LAST, personal=False, names=encoder.names)
    (plain,) = record(SpanKind.SERVER, {"a": 1}).take()
    assert attributes(*spans_in(stamp(grouped(encoder.piece(plain))).body)) == {"a": 1, **MARKS.attributes()}
    for name in sorted(_PERSONAL):
        for value in ("text", 7, True, 1.5, ["a", "b"]):
            (span,) = record(SpanKind.SERVER, {name: value, "b": 2}).take()
            found = attributes(*spans_in(stamp(grouped(encoder.piece(span))).body))
            assert found == {"b": 2, **MARKS.attributes()}
    assert encoder.names() == {"a", "b", *_PERSONAL}
    for number in range(5_000):
        encoder.attributes({f"name.{number}": 1})
    assert encoder.names() is None
    (span,) = record(SpanKind.SERVER, {"http.target": "/a?q=1"}).take()
    (sentrys,) = spans_in(stamp(grouped(encoder.piece(span))).body)
    assert attributes(sentrys) == {"http.target": "/a", **MARKS.attributes()}


def test_names_of_texts_that_are_encoded_beforehand_are_known() -> None:
    """Who asks an encoder for the texts of a key, or for what stands before them, may use them at any time."""
    encoder = SpanEncoder()
    encoder.texts("client.address")
    assert encoder.names() == {"client.address"}
    encoder.text_heads("user.email")
    assert encoder.names() == {"client.address", "user.email"}
    encoder.finisher("GET /a", SpanKind.SERVER, {"url.full": "http://h/"})
    encoder.said(("7", "Ada", None), {"tenant": "t"}, b"")
    assert encoder.names() == {"client.address", "user.email", "url.full", "user.id", "user.name", "tenant.id"}


def test_a_failed_span_tells_no_values() -> None:
    """The status of a failed span keeps its words only, and its events, which Sentry drops, stay here."""
    recording = Recording()
    with (
        pytest.raises(ValueError, match="token"),
        recording.tracer_provider.get_tracer("test").start_as_current_span("name", attributes={"k": 2}),
    ):
        raise ValueError("no such token: 'abc123'")
    span = one(recording)
    assert span.status.message == "ValueError: no such token: ?"
    assert span.status.code == 2
    assert not span.events
    assert attributes(span)["k"] == 2


def test_an_exception_that_was_handled_tells_no_values() -> None:
    """An exception that is recorded on a span that did not fail does not leave either."""
    recording = Recording()
    span = recording.tracer_provider.get_tracer("test").start_span("name")
    span.record_exception(ValueError("secret-1"))
    span.end()
    other = recording.tracer_provider.get_tracer("test").start_span("other")
    other.add_event("signed in", {"user.email": "ada@example.org"})
    other.end()
    sentrys = bodies_of(recording)[1]
    assert len(spans_in(sentrys)) == 2
    assert b"secret-1" not in sentrys
    assert b"ada@" not in sentrys


@pytest.mark.parametrize("tag", [b"\x4a", b""])
def test_a_value_that_looks_like_an_address_stays_whole(tag: bytes) -> None:
    """A path may hold any bytes, also those of the attribute that is cut: nobody can break a request from outside."""
    address = "10.0.0.1"
    encoded = key_value("client.address", address)
    path = (tag + bytes((len(encoded),)) + encoded).decode()
    given = {"url.path": path, "client.address": address, "http.route": path}
    assert attributes(one(record(SpanKind.SERVER, given))) == {
        "url.path": path,
        "http.route": path,
        **MARKS.attributes(),
    }


@pytest.mark.parametrize("address", [True, False])
def test_a_callers_tracestate_of_any_bytes_moves_nothing(address: bool) -> None:
    """Whatever a caller writes into tracestate and path, the request stays whole and what is personal stays here."""
    encoder = SpanEncoder()
    finished, _ = encoder.finisher("GET /{path}", SpanKind.SERVER, {"http.request.method": "GET"})
    fake = delimited(b"\x4a", key_value("client.address", "1" * 30)).decode()
    given = ({"client.address": "10.0.0.1"} if address else {}) | {"url.path": f"/{fake}", "user.email": "a@b"}
    encoder.attributes({"client.address": "10.0.0.1"})
    stamp = Stamp(LAST, personal=False, names=encoder.names)
    resource, scope, _ = encoder.piece(*record(SpanKind.SERVER, {}).take())
    ends = [character for character in map(chr, range(0x21, 0x7F)) if character not in ",="]
    for length in (1, 16, 17, 18, 40, 125, 200):
        states = [f"{'x' * length}*{end}" for end in ends]
        parents = [SpanContext(1, 2, True, TraceFlags(1), TraceState([("a", state)])) for state in states]
        encoded = [finished(1, 3, parent, 10, 20, given) for parent in parents]
        found = spans_in(stamp([(resource, scope, encoded)]).body)
        assert [span.trace_state for span in found] == [f"a={state}" for state in states]
        kept = {"http.request.method": "GET", "url.path": f"/{fake}", **MARKS.attributes()}
        assert all(attributes(span) == kept for span in found)


def test_a_failed_span_with_dropped_attributes_keeps_its_status() -> None:
    """Counts of what was dropped, which stand between attributes and status, are not taken for something else."""
    encoder = SpanEncoder()
    encoder.attributes({"user.email": "x"})
    fake = delimited(b"\x4a", key_value("user.email", "zz")).decode()
    status = Status(StatusCode.ERROR, f"bad {'w' * 20}{fake}tail")
    groups = encoder.join([encoder.piece(odd.span(dropped_attributes=28, status=status))]).groups
    (found,) = spans_in(Stamp(LAST, personal=False, names=encoder.names)(groups).body)
    assert (found.status.code, found.dropped_attributes_count) == (2, 28)
    assert attributes(found) == {"a": "b", **MARKS.attributes()}


def test_a_look_up_that_was_interrupted_is_made_again() -> None:
    """Where a signal handler raises while names are looked up, the next batch is looked at with all of them."""

    class Names(set[str]):
        interrupted = False

        def __contains__(self, name: object) -> bool:
            if not self.interrupted:
                self.interrupted = True
                raise KeyboardInterrupt
            return super().__contains__(name)

    names = Names({"user.email"})
    stamp = Stamp(LAST, personal=False, names=lambda: names)
    groups = grouped(SpanEncoder().piece(*record(SpanKind.SERVER, {"user.email": "a@b"}).take()))
    with pytest.raises(KeyboardInterrupt):
        stamp(groups)
    assert b"a@b" not in stamp(groups).body


def test_groups_without_spans_are_left_out() -> None:
    """A group in which nothing is makes no request of its own and costs the others nothing."""
    (group,) = grouped(SpanEncoder().piece(*record(SpanKind.SERVER, {"a": 1}).take()))
    for personal in (False, True):
        made = Stamp(LAST, personal=personal)([(group[0], None, []), group])
        assert (made.items, len(spans_in(made.body))) == (1, 1)
        assert Stamp(LAST, personal=personal)([]).items == 0


@pytest.mark.parametrize("parent", [False, True])
def test_attributes_of_events_and_links_are_not_taken_for_the_spans(parent: bool) -> None:
    """A personal attribute of an event or a link leaves neither, and one behind it is found as well."""
    recording = record(SpanKind.SERVER, {"a": "x" * 200, "client.address": "10.0.0.1", "user.email": "ada@b"}, parent)
    tracer = recording.tracer_provider.get_tracer("test")
    linked = tracer.start_span("linked").get_span_context()
    link = Link(linked, {"user.email": "eve@b", "n": 1, "url.full": "http://h/p?q=1"})
    span = tracer.start_span("name", links=[link], attributes={"user.id": "7"})
    span.add_event("signed in", {"user.email": "ada@b"})
    span.end()
    first, second = spans_in(bodies_of(recording)[1])
    assert attributes(first) == {"a": "x" * 200, **MARKS.attributes()}
    assert attributes(second) == {"user.id": "7", **MARKS.attributes()}
    assert not second.events
    assert attributes(second.links[0]) == {"n": 1, "url.full": "http://h/p"}
    assert second.links[0].span_id == linked.span_id.to_bytes(8, "big")


def test_a_personal_name_that_only_a_link_has_is_known() -> None:
    """Names of links' attributes are looked for as well, and of those only what is personal is taken away."""
    encoder = SpanEncoder()
    link = Link(SpanContext(1, 2, is_remote=False), {"client.address": "10.0.0.1", "n": 1})
    groups = encoder.join([encoder.piece(odd.span(links=(link,), attributes={"a": "b"}))]).groups
    (found,) = spans_in(Stamp(LAST, personal=False, names=encoder.names)(groups).body)
    assert encoder.names() == {"a", "client.address", "n"}
    assert attributes(found.links[0]) == {"n": 1}
    assert attributes(found) == {"a": "b", **MARKS.attributes()}


@pytest.mark.parametrize("value", [["http://h/p?q=1", "http://h/"], b"http://h/p?q=1", {"a": "http://h/p#q=1"}])
def test_urls_that_are_no_text_leave_only_without_queries(value: Any) -> None:
    """A list of URLs of which one has a query stays here, as nobody can say what of it may leave; others leave."""
    kept = {"a": 1, **MARKS.attributes()}
    assert attributes(one(record(SpanKind.CLIENT, {"url.full": value, "a": 1}))) == kept
    assert "url.full" in attributes(one(record(SpanKind.CLIENT, {"url.full": ["http://h/", "http://i/"], "a": 1})))


def test_spans_of_other_encoders_are_stamped_as_well() -> None:
    """Whatever the order of its fields, a span loses what is personal and gets the marks."""
    (span,) = record(SpanKind.SERVER, {"client.address": "10.0.0.1", "a": 1}).take()
    resource, scope, encoded = SpanEncoder().piece(span)
    message = ExportTraceServiceRequest()
    message.ParseFromString(SpanEncoder().join([(resource, scope, encoded)]).body)
    payload = message.resource_spans[0].scope_spans[0].spans[0].SerializeToString()
    stamped = Stamp(LAST, personal=False)([(resource, scope, [payload])])
    (found,) = spans_in(stamped.body)
    assert attributes(found) == {"a": 1, **MARKS.attributes()}


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in odd.ODD.items() for value in values if field not in {"attributes", "context"}],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_of_a_span_with_an_odd_field_nothing_personal_leaves_either(field: str, value: Any, place: int) -> None:
    """Whatever is wrong with a span, beside others and alone, what must stay here does, and the others stay whole."""
    encoder = SpanEncoder()
    given = [odd.span(attributes={"client.address": "10.0.0.1", "a": "b", "user.email": "a@b"}) for _ in range(3)]
    setattr(given[place], field, value)
    pieces = [encoder.piece(each) for each in given]
    for some in (pieces, pieces[place : place + 1]):
        body = Stamp(LAST, personal=False, names=encoder.names)(encoder.join(some).groups).body
        assert b"10.0.0.1" not in body
        assert b"a@b" not in body
        assert [attributes(span) for span in spans_in(body)] == [{"a": "b", **MARKS.attributes()}] * len(some)


def test_a_span_without_a_form_is_left_out() -> None:
    """Where the encoder found no ids, there is nothing to stamp, and the collector's numbers tell it."""
    (span,) = record(SpanKind.SERVER, {}).take()
    piece = SpanEncoder().piece(span)
    stamped = Stamp(LAST, personal=False)(grouped((piece[0], piece[1], b""), piece))
    assert (stamped.items, stamped.lost, len(spans_in(stamped.body))) == (1, 0, 1)
