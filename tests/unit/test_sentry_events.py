"""What events are told and what they are not: whom they are about, baggage, breadcrumbs; and what is scrubbed."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry.context import attach, detach
from opentelemetry.trace import SpanKind, StatusCode

import otel_distro
from otel_distro.guard import Guard
from otel_distro.otlp.encode_traces import SpanEncoder
from otel_distro.sentry.crumbs import MOST, Crumbs
from otel_distro.sentry.events import Events
from otel_distro.sentry.link import Link
from otel_distro.sentry.requests import Request
from otel_distro.sentry.scrub import Scrub
from tests.recording import Recording
from tests.sentry_rig import problems


def events(*, personal: bool = False, keys: tuple[str, ...] = (), crumbs: Crumbs | None = None) -> Events:
    """Completes events as the bridge does."""
    return Events(Link(lambda: None), lambda: None, crumbs, personal=personal, baggage_keys=keys, guard=Guard())


def alone(test: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run `test` in a context of its own, as a task has."""

    async def run() -> dict[str, Any]:
        return test()

    return asyncio.run(run())


@pytest.mark.parametrize("personal", [False, True])
def test_the_user_is_told_by_id_alone(personal: bool) -> None:
    """What `set_user` said is on the event; name and address only where they are opted in to."""

    def test() -> dict[str, Any]:
        otel_distro.set_user("7", name="Ada", email="ada@example.com")
        otel_distro.set_context(tenant="acme", plan="pro")
        return dict(events(personal=personal)({}, {}))

    event = alone(test)
    whole = {"id": "7", "username": "Ada", "email": "ada@example.com"}
    assert event["user"] == (whole if personal else {"id": "7"})
    assert (event["tags"]["tenant.id"], event["tags"]["context.plan"]) == ("acme", "pro")


def test_what_the_application_told_sentry_itself_stays() -> None:
    """A user and tags that are on the event already win."""

    def test() -> dict[str, Any]:
        otel_distro.set_user("7")
        otel_distro.set_context(tenant="acme")
        return dict(events()({"user": {"id": "own"}, "tags": {"tenant.id": "own"}}, {}))

    event = alone(test)
    assert (event["user"], event["tags"]) == ({"id": "own"}, {"tenant.id": "own"})


@pytest.mark.parametrize(
    ("own", "left"), [(None, ("GET", {"source": "custom"})), ("resolve cart", ("resolve cart", {}))]
)
def test_a_name_that_the_application_gave_stays(own: str | None, left: tuple[str, dict[str, str]]) -> None:
    """An event is named by its request, unless `set_transaction_name` said otherwise, as GraphQL applications do."""
    request = Request({"type": "http", "method": "GET", "path": "/graphql"}, None)
    complete = Events(
        Link(lambda: None), lambda: request, None, personal=False, baggage_keys=(), guard=Guard(level=100)
    )
    event = complete({"transaction": own, "transaction_info": {}}, {})
    assert (event["transaction"], event["transaction_info"]) == left


def test_the_ids_of_log_records_are_no_fields_of_the_application() -> None:
    """An event of a log record has its `extra`, without what correlation has put on the record."""
    ids = {"otelTraceID": "1", "otelSpanID": "2", "otelTraceSampled": True, "otelServiceName": "shop"}
    assert events()({"extra": {**ids, "order": 7}}, {})["extra"] == {"order": 7}
    assert events()({"extra": [1]}, {})["extra"] == [1]


def test_baggage_becomes_tags_where_it_is_allowed() -> None:
    """Anybody may send baggage: only keys of the list become tags, cut at 64 characters, and it names no user."""
    context = baggage.set_baggage("tenant", "x" * 100)
    token = attach(baggage.set_baggage("user.id", "forged", baggage.set_baggage("other", "y", context)))
    try:
        event = events(keys=("tenant",))({}, {})
    finally:
        detach(token)
    assert event["tags"] == {"tenant": "x" * 64}
    assert "user" not in event


def test_breadcrumbs_are_of_the_events_trace_and_bounded() -> None:
    """The newest client spans of the trace become breadcrumbs; other traces' and internal spans do not."""
    recording, crumbs = Recording(), Crumbs()
    recording.tracer_provider.add_span_processor(crumbs)
    tracer = recording.tracer_provider.get_tracer("test")
    tracer.start_span("another trace", kind=SpanKind.CLIENT).end()
    with tracer.start_as_current_span("root"):
        tracer.start_span("internal").end()
        for number in range(MOST + 5):
            tracer.start_span(f"call {number}", kind=SpanKind.CLIENT).end()
        event = events(crumbs=crumbs)({}, {})
    found = event["breadcrumbs"]["values"]
    assert [crumb["message"] for crumb in found] == [f"call {number}" for number in range(5, MOST + 5)]


def test_a_breadcrumb_without_a_time_zone_takes_its_place() -> None:
    """A breadcrumb that the application timed by `datetime.now()` stays, among those of its trace."""
    recording, crumbs = Recording(), Crumbs()
    recording.tracer_provider.add_span_processor(crumbs)
    given = {"breadcrumbs": {"values": [{"message": "own", "timestamp": datetime(2000, 1, 1)}]}}  # noqa: DTZ001
    tracer = recording.tracer_provider.get_tracer("test")
    with tracer.start_as_current_span("root"):
        tracer.start_span("call", kind=SpanKind.CLIENT).end()
        event = events(crumbs=crumbs)(given, {})
    assert [crumb["message"] for crumb in event["breadcrumbs"]["values"]] == ["own", "call"]


def test_breadcrumbs_of_encoded_spans_are_those_of_the_spans() -> None:
    """What waits to be sent tells of a trace's calls what the spans themselves tell, failures included."""
    recording, kept = Recording(), Crumbs()
    recording.tracer_provider.add_span_processor(kept)
    tracer = recording.tracer_provider.get_tracer("test")
    with tracer.start_as_current_span("another"):
        tracer.start_span("elsewhere", kind=SpanKind.CLIENT).end()
    with tracer.start_as_current_span("root") as root:
        given: dict[str, Any] = {
            "http.request.method": "GET",
            "url.full": "http://h/p?q",
            "http.response.status_code": 500,
        }
        failed = tracer.start_span("GET", kind=SpanKind.CLIENT, attributes=given)
        failed.set_status(StatusCode.ERROR, "500")
        failed.end()
        tracer.start_span("SELECT", kind=SpanKind.CLIENT, attributes={"db.system.name": "sqlite", "a": 1.5}).end()
        tracer.start_span("GET key", kind=SpanKind.CLIENT, attributes={"db.system.name": "redis", "n": -1}).end()
        tracer.start_span("x" * 300, kind=SpanKind.CLIENT, attributes={"list": ["a"]}).end()
        tracer.start_span("inside").end()
    encoder = SpanEncoder()
    pieces = [encoder.piece(span) for span in recording.take()]
    trace_id = root.get_span_context().trace_id
    told = Crumbs(lambda: pieces).of(trace_id)
    assert told == kept.of(trace_id)
    assert [crumb["level"] for crumb in told] == ["error", "info", "info", "info"]


def test_a_breadcrumb_of_a_call_tells_no_query() -> None:
    """An HTTP call is told by method, status and the URL without its query."""
    recording, crumbs = Recording(), Crumbs()
    recording.tracer_provider.add_span_processor(crumbs)
    given = {"http.request.method": "GET", "url.full": "http://h/p?q=secret", "http.response.status_code": 200}
    tracer = recording.tracer_provider.get_tracer("test")
    with tracer.start_as_current_span("root") as root:
        tracer.start_span("GET", kind=SpanKind.CLIENT, attributes=given).end()
    (crumb,) = crumbs.of(root.get_span_context().trace_id)
    assert crumb["data"] == {"url": "http://h/p", "method": "GET", "status_code": 200}
    assert (crumb["type"], crumb["category"]) == ("http", "http")


EVENT: dict[str, Any] = {
    "exception": {
        "values": [
            {
                "type": "ValueError",
                "value": "no user 'ada'",
                "stacktrace": {"frames": [{"vars": {"x": "1"}, "context_line": "raise ValueError('a-1')"}]},
            }
        ]
    },
    "logentry": {"message": "for %s", "params": ["ada"], "formatted": "for ada"},
    "request": {
        "url": "http://joe:pw@h/p?q=1",
        "query_string": "q=1",
        "cookies": {"a": "b"},
        "data": {"body": "x"},
        "env": {"REMOTE_ADDR": "10.0.0.1"},
        "headers": {"Host": "h", "X-Token": "t", "Cookie": "a=b"},
    },
    "user": {"id": "7", "email": "a@b", "ip_address": "10.0.0.1"},
    "extra": {"password": "p", "count": 1},
    "breadcrumbs": {"values": [{"data": {"url": "http://h/p?q=1", "http.query": "q=1"}}]},
}


def copied() -> dict[str, Any]:
    """A fresh event."""
    import copy

    return copy.deepcopy(EVENT)


def test_by_default_an_event_tells_no_values() -> None:
    """Messages, variables, requests, users and breadcrumbs leave without what nobody has opted in to."""
    event = Scrub(personal=False, messages=False, variables=False).event(copied(), {})
    (exception,) = event["exception"]["values"]
    assert exception["value"] == "no user '?'"
    assert exception["stacktrace"]["frames"] == [{"context_line": "raise ValueError('?')"}]
    assert event["logentry"] == {"message": "for %s"}
    assert event["request"] == {"url": "http://h/p", "headers": {"Host": "h"}}
    assert event["user"] == {"id": "7"}
    assert event["extra"] == {"password": "REDACTED", "count": 1}
    assert event["breadcrumbs"]["values"] == [{"data": {"url": "http://h/p"}}]


def test_what_is_opted_in_to_leaves() -> None:
    """With everything opted in to the event leaves as it was, but for values whose names speak of a secret."""
    event = Scrub(personal=True, messages=True, variables=True).event(copied(), {})
    assert event == {**EVENT, "extra": {"password": "REDACTED", "count": 1}}


HELD: dict[str, Any] = {
    "url": "https://joe:canary@h/?token=canary",
    "text": "--password canary",
    "nested": [{"password": "canary"}],
    "password": {"old": "canary"},
    "dsn": ["canary"],
    "headers": [["b'authorization'", "b'canary'"]],
    "command": ["pg_dump", "--password", "canary", "db"],
    "repr": ["'--password'", "'canary'", "'db'"],
    "deep": "{'password': 'canary'}",
    "order": 7,
}
HIDDEN: dict[str, Any] = {
    "url": "https://REDACTED:REDACTED@h/?token=REDACTED",
    "text": "--password REDACTED",
    "nested": [{"password": "REDACTED"}],
    "password": {"old": "REDACTED"},
    "dsn": "REDACTED",
    "headers": [["b'authorization'", "REDACTED"]],
    "command": ["pg_dump", "--password", "REDACTED", "db"],
    "repr": ["'--password'", "REDACTED", "'db'"],
    "deep": "{'password': REDACTED}",
    "order": 7,
}


@pytest.mark.parametrize("personal", [False, True])
@pytest.mark.parametrize("part", ["extra", "tags", "contexts", "vars", "data"])
def test_no_part_of_an_event_tells_a_secret(part: str, personal: bool) -> None:
    """Texts, lists and nested values of what an application gives to Sentry are redacted like a log message."""
    made: dict[str, dict[str, Any]] = {
        "vars": {"stacktrace": {"frames": [{"vars": {"given": HELD}}]}},
        "data": {"breadcrumbs": {"values": [{"data": {"given": HELD}}]}},
    }
    scrub = Scrub(personal=personal, messages=True, variables=True)
    event = scrub.event(made.get(part, {part: {"given": HELD}}), {})
    assert str(HIDDEN) in str(event)
    assert "canary" not in str(event)


@pytest.mark.parametrize(("messages", "left"), [(False, "no user ?"), (True, "no user ada-1")])
def test_an_exception_that_is_logged_as_a_message_is_one(messages: bool, left: str) -> None:
    """`logger.error(error)` tells no more, in event and breadcrumb, than the exception does elsewhere."""
    scrub = Scrub(personal=False, messages=messages, variables=False)
    hint = {"log_record": logging.makeLogRecord({"msg": ValueError("no user ada-1")})}
    assert scrub.event({"logentry": {"message": "no user ada-1"}}, hint)["logentry"]["message"] == left
    assert scrub.breadcrumb({"message": "no user ada-1"}, hint)["message"] == left


def test_a_stack_trace_that_is_logged_as_a_message_tells_no_values() -> None:
    """uvicorn logs the stack trace of a failed start as text: the exception in it tells what it tells elsewhere."""
    text = "Traceback (most recent call last):\nValueError: no user ada-1"
    scrub = Scrub(personal=False, messages=False, variables=False)
    event = scrub.event({"logentry": {"message": text}}, {"log_record": logging.makeLogRecord({"msg": text})})
    assert event["logentry"]["message"] == "Traceback (most recent call last):\nValueError: no user ?"


def test_what_asyncio_logs_tells_no_values() -> None:
    """It shows exceptions of tasks and arguments of callbacks: neither event, breadcrumb nor log has them."""
    text = "Exception in callback f('ada-1') at <a>:3\nfuture: <Future exception=ValueError('ada-1')>"
    left = "Exception in callback f('?') at <a>:?"
    scrub = Scrub(personal=False, messages=False, variables=False)
    hint = {"log_record": logging.makeLogRecord({"msg": text, "name": "asyncio"})}
    assert scrub.event({"logentry": {"message": text}}, hint)["logentry"]["message"] == left
    assert scrub.breadcrumb({"message": text}, hint)["message"] == left
    assert scrub.log({"body": text, "attributes": {"logger.name": "asyncio"}})["body"] == left


@pytest.mark.parametrize(("personal", "body"), [(False, "paid by %s"), (True, "paid by ada")])
def test_a_sentry_log_tells_arguments_only_where_they_are_opted_in_to(personal: bool, body: str) -> None:
    """Its text is the message without them; its attributes are redacted, whatever they are."""
    template, argument = "sentry.message.template", "sentry.message.parameter.0"
    held = {name: value for name, value in HELD.items() if name not in {"headers", "repr"}}
    given = {template: "paid by %s", argument: "ada", "given": held, "list": ["token=canary"], "headers": HEADERS}
    log = Scrub(personal=personal, messages=False, variables=False).log({"body": "paid by ada", "attributes": given})
    assert log["body"] == body
    assert log["attributes"].get(argument) == ("ada" if personal else None)
    assert log["attributes"]["headers"] == "[(b'authorization', REDACTED)]"
    assert "canary" not in str(log)


HEADERS = [(b"authorization", b"canary")]


def test_the_ids_of_log_records_are_no_attributes_of_a_sentry_log() -> None:
    """As of an event: a Sentry log has its trace and service already."""
    log = {"attributes": {"otelTraceID": "1", "otelSpanID": "2", "otelServiceName": "shop", "order": 7}}
    assert events().log(log)["attributes"] == {"order": 7}


def test_half_of_a_surrogate_pair_loses_nothing() -> None:
    """File names and texts that somebody cut may have one; Relay refuses JSON with it, so it is told by a mark."""
    scrub, text = Scrub(personal=False, messages=False, variables=False), "cut \ud83d"
    event = {"message": text, "tags": {"name": text}, "extra": {text: [text]}, "request": {"url": text}}
    told = scrub.event(dict(event), {})
    assert problems(told) is None
    assert (told["message"], told["tags"], told["extra"]) == ("cut ?", {"name": "cut ?"}, {"cut ?": ["cut ?"]})
    assert json.loads(json.dumps(told, ensure_ascii=False).encode()) == told
    log = scrub.log({"body": text, "attributes": {"name": text, "names": [text]}})
    assert log == {"body": "cut ?", "attributes": {"name": "cut ?", "names": ["cut ?"]}}


@pytest.mark.parametrize(
    ("part", "left"),
    [({"a": "x" * 2_000_000, "b": 1}, {"a": "x" * 1_000, "b": 1}), ({str(n): "x" * 900 for n in range(2_000)}, None),
     ({"a": "\u0436" * 100_000}, {"a": "\u0436" * 1_000})],
    ids=["long", "many", "letters"],
)  # fmt: skip
def test_an_event_is_no_larger_than_sentry_takes(part: dict[str, Any], left: Any) -> None:
    """Long texts are cut, and where that is not enough the extras go: the exception and its ids arrive."""
    ids = {"trace": {"trace_id": "1" * 32, "span_id": "2" * 16}}
    frames = {"frames": [{"function": "f", "lineno": 3, "vars": dict(part)}]}
    event = {
        "exception": {"values": [{"type": "ValueError", "stacktrace": frames}]},
        "extra": part,
        "contexts": {**ids, "own": part},
    }
    told = Scrub(personal=False, messages=False, variables=True).event(event, {})
    assert len(json.dumps(told)) < 1_000_000
    assert told.get("extra") == left
    assert told["contexts"]["trace"] == ids["trace"]
    assert told["exception"]["values"][0]["stacktrace"]["frames"][0]["lineno"] == 3


def test_a_number_that_is_none_costs_no_others() -> None:
    """sentry-sdk loses all logs or metrics of a batch where one has a NaN."""
    scrub = Scrub(personal=False, messages=False, variables=False)
    given = {"score": float("nan"), "scores": [1.5, float("inf")], "order": 7}
    assert scrub.log({"body": "x", "attributes": given})["attributes"] == {
        "score": "nan",
        "scores": [1.5, "inf"],
        "order": 7,
    }
    assert scrub.metric({"value": float("nan"), "attributes": {}}) is None
    assert scrub.metric({"value": 1.5, "attributes": {"share": float("inf")}}) == {
        "value": 1.5,
        "attributes": {"share": "inf"},
    }


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"exception": None},
        {"exception": {"values": None}},
        {"request": None},
        {"logentry": "text"},
        {"user": None},
        {"breadcrumbs": []},
        {"extra": [1]},
    ],
)
def test_odd_events_pass(event: dict[str, Any]) -> None:
    """An event of any shape is sent rather than lost."""
    assert Scrub(personal=False, messages=False, variables=False).event(dict(event), {}) is not None
