"""Errors of a FastAPI service in Sentry: each linked to the span that failed, each once, none with a secret."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
import starlette
import starlette._utils

from tests.sentry_rig import Service, problems

CANARY = "canary-71c3f0"
TRACE = "4bf92f3577b34da6a3ce929d0e0e47"
# Starlette took groups of one apart below an HTTP middleware, once
GROUP = "Refused" if hasattr(starlette._utils, "collapse_excgroups") else "ExceptionGroup"


class Row(NamedTuple):
    """A request, the event it makes, and the span that the event is linked to."""

    path: str
    says: str
    span: str
    transaction: str
    headers: dict[str, str] = {}  # noqa: RUF012 - never written to


ROWS = (
    Row("/v1/unhandled/3", "Refused", "inner", "GET /v1/unhandled/{number}"),
    Row("/v1/plain", "Refused", "GET /v1/plain", "GET /v1/plain"),
    Row("/v1/http503", "HTTPException", "GET /v1/http503", "GET /v1/http503"),
    Row("/v1/http504", "HTTPException", "GET /v1/http504", "GET /v1/http504"),
    Row("/v1/dependency", "Refused", "dependency", "GET /v1/dependency"),
    Row("/v1/ok/1", "Refused", "GET", "GET", {"x-fail-middleware": "1"}),
    Row("/v1/captured", "Refused", "caught", "GET /v1/captured"),
    Row("/v1/captured-503", "Refused", "caught", "GET /v1/captured-503"),
    Row("/v1/logged-and-raised", "Refused", "caught", "GET /v1/logged-and-raised"),
    Row("/v1/captured-and-raised", "Refused", "caught", "GET /v1/captured-and-raised"),
    Row("/v1/logged", "it broke for %s", "logging", "GET /v1/logged"),
    Row("/v1/message", "hello", "messaging", "GET /v1/message"),
    Row("/v1/task", "Refused", "spawning", "GET /v1/task"),
    Row("/v1/callback", "Refused", "calling", "GET /v1/callback"),
    Row("/v1/task-group", GROUP, "grouped", "GET /v1/task-group"),
    Row("/v1/thread", "Refused", "threading", "GET /v1/thread"),
    Row("/v1/bare-thread", "Refused", "GET /v1/bare-thread", "GET /v1/bare-thread"),
)
if tuple(map(int, starlette.__version__.split(".")[:2])) >= (0, 42):
    # older ones lose what is raised below an HTTP middleware when the response has begun: it reaches nobody
    ROWS += (
        Row("/mounted/boom", "Refused", "GET /mounted/boom", "GET /mounted/boom"),
        Row("/v1/background", "Refused", "BackgroundTask later", "GET /v1/background"),
    )
SILENT = ("/v1/ok/1", "/v1/recorded", "/v1/swallowed", "/v1/late")
"""Requests that make no event."""


def traceparent(row: int, flags: str) -> dict[str, str]:
    """A caller's header with a trace id that tells the row."""
    return {"traceparent": f"00-{TRACE}{row:02x}-00f067aa0ba902b7-{flags}"}


def said(event: dict[str, Any]) -> str:
    """The type of the exception, or the message."""
    exceptions = (event.get("exception") or {}).get("values")
    if exceptions:
        return str(exceptions[-1]["type"])
    return str(event.get("message") or event["logentry"]["message"])


def run_rows(more: dict[str, str], flags: str) -> Service:
    """A service that has answered every row and every silent request, and has ended by SIGTERM."""
    with Service({**more, "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "excluded"}) as service:
        service.get("/v1/excluded")
        assert service.get("/v1/library") == 200
        for number, row in enumerate(ROWS):
            service.get(row.path, {**row.headers, **traceparent(number, flags)})
        for path in SILENT:
            service.get(path)
        service.stop()
    return service


@pytest.fixture(scope="module")
def sampled() -> Service:
    """Every row, in traces that are recorded."""
    return run_rows({"SENTRY_ENABLE_LOGS": "true"}, "01")


@pytest.fixture(scope="module")
def unsampled() -> Service:
    """Every row, in traces that the caller does not record."""
    return run_rows({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, "00")


def event_of(service: Service, row: int) -> dict[str, Any]:
    """The one event in the trace of a row."""
    mine = [e for e in service.sentry.events if e["contexts"]["trace"]["trace_id"] == f"{TRACE}{row:02x}"]
    assert len(mine) == 1, [said(event) for event in service.sentry.events]
    return mine[0]


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[row.path for row in ROWS])
def test_an_event_is_linked_to_the_span_that_failed(sampled: Service, number: int) -> None:
    """Trace and span id of each event are those of the innermost span that the exception left."""
    row, event = ROWS[number], event_of(sampled, number)
    spans = {span.span_id: span for span in sampled.sentry.spans if span.trace_id == f"{TRACE}{number:02x}"}
    assert said(event) == row.says
    assert spans[event["contexts"]["trace"]["span_id"]].name == row.span
    assert event["transaction"] == row.transaction
    assert event["request"]["method"] == "GET"


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[row.path for row in ROWS])
def test_an_event_of_an_unsampled_trace_is_linked_too(unsampled: Service, number: int) -> None:
    """Errors arrive whatever the sampler says, with the caller's trace id and a span id of this service."""
    event = event_of(unsampled, number)
    assert said(event) == ROWS[number].says
    assert event["contexts"]["trace"]["span_id"] not in {"00f067aa0ba902b7", "0" * 16}
    assert unsampled.sentry.spans == []


def test_what_is_handled_makes_no_event(sampled: Service) -> None:
    """A recorded or swallowed exception and an ordinary request send nothing: there is one event for each row."""
    assert len(sampled.sentry.events) == len(ROWS) + 1


def test_an_error_of_a_request_without_a_span_arrives(sampled: Service) -> None:
    """What makes no telemetry fails like the others: one event, with its request, whose tags are on no other event."""
    (event,) = [event for event in sampled.sentry.events if "excluded" in str(event.get("tags"))]
    assert said(event) == "Refused"
    assert event["request"]["url"].endswith("/v1/excluded")


def test_spans_arrive_once_and_are_those_of_the_collector(sampled: Service) -> None:
    """Sentry and the collector get the same spans, each once, and sentry-sdk makes no transaction of its own."""
    at_sentry = [span.span_id for span in sampled.sentry.spans]
    at_collector = [span.span_id for span in sampled.sink.spans]
    assert len(at_sentry) == len(set(at_sentry))
    assert sorted(at_sentry) == sorted(at_collector)
    assert sampled.sentry.of("transaction") == sampled.sentry.of("span") == []
    assert "late child" in {span.name for span in sampled.sentry.spans}


def test_nobody_traces_the_requests_to_sentry(sampled: Service) -> None:
    """sentry-sdk's own requests make no spans."""
    assert {span.name for span in sampled.sink.spans if span.kind == "CLIENT"} == {"select"}


def test_spans_carry_what_sentry_reads(sampled: Service) -> None:
    """Release and environment stand on each span for Sentry, and on none for the collector."""
    for span in sampled.sentry.spans:
        assert span.attributes["sentry.release"] == "shop@1.2"
        assert span.attributes["sentry.environment"] == "production"
    assert not [span for span in sampled.sink.spans if "sentry.release" in span.attributes]
    assert {event["release"] for event in sampled.sentry.events} == {"shop@1.2"}
    assert {event["environment"] for event in sampled.sentry.events} == {"production"}


def test_credentials_stay_apart(sampled: Service) -> None:
    """No request to the collector carries Sentry's key, and none to Sentry the collector's headers."""
    assert sampled.sink.requests
    assert sampled.sentry.posts
    for request in sampled.sink.requests:
        assert "x-sentry-auth" not in request.headers
        assert request.headers["api-key"] == "collectors-secret"
    for post in sampled.sentry.posts:
        assert "api-key" not in post.headers
        assert "x-sentry-auth" in post.headers


def test_relay_finds_nothing_wrong(sampled: Service, unsampled: Service) -> None:
    """Sentry's own normaliser leaves every event without errors."""
    events = [*sampled.sentry.events, *unsampled.sentry.events]
    assert [problems(event) for event in events] == [None] * len(events)


def test_sentry_logs_are_linked(sampled: Service) -> None:
    """A Sentry log has the ids of the span in which it was written, and no arguments of its message."""
    (log,) = [log for log in sampled.sentry.logs if log["body"].startswith("it broke")]
    row = next(number for number, row in enumerate(ROWS) if row.path == "/v1/logged")
    (span,) = [span for span in sampled.sentry.spans if span.name == "logging"]
    assert (log["trace_id"], log["span_id"]) == (f"{TRACE}{row:02x}", span.span_id)
    assert not [name for name in log["attributes"] if "parameter" in name]


def test_breadcrumbs_are_the_calls_of_the_trace(sampled: Service) -> None:
    """An event tells the client spans of its own trace that ended before it, and of no other."""
    with_query, without = event_of(sampled, 0), event_of(sampled, 1)
    (crumb,) = [crumb for crumb in with_query["breadcrumbs"]["values"] if crumb["category"] == "query"]
    assert crumb["message"] == "select ?, ?"
    assert not [c for c in (without.get("breadcrumbs") or {"values": []})["values"] if c["category"] == "query"]


SECRETS = {
    "cookie": f"session=cookie-{CANARY}",
    "authorization": f"Bearer header-{CANARY}",
    "x-anything": f"header-{CANARY}",
}


@pytest.fixture(scope="module")
def secrets() -> tuple[Service, Service]:
    """A request full of secrets: as it is by default, and with everything opted in to."""
    opted_in = {"SENTRY_SEND_DEFAULT_PII": "1", "OTEL_DISTRO_SENTRY_LOCAL_VARIABLES": "true"}
    services = []
    for more in ({}, opted_in):
        with Service(more) as service:
            service.get(f"/v1/secrets?q=query-{CANARY}", SECRETS)
            service.get("/v1/logged")
            service.stop()
        services.append(service)
    return services[0], services[1]


def test_no_secret_arrives(secrets: tuple[Service, Service]) -> None:
    """No canary of query, headers, cookies, SQL, Redis, messages, variables or users is in what Sentry gets."""
    posts = secrets[0].sentry.posts
    assert [post.path for post in posts if CANARY.encode() in post.body] == []
    assert len(secrets[0].sentry.events) == 2
    (event,) = [event for event in secrets[0].sentry.events if "exception" in event]
    assert event["exception"]["values"][-1]["value"] == "? of ?"
    assert event["user"] == {"id": "u1"}
    assert {"GET user:?", "select"} & {span.name for span in secrets[0].sentry.spans}


@pytest.mark.parametrize("what", ["query", "header", "cookie", "message", "local", "sdkmail", "argument"])
def test_what_is_opted_in_to_arrives(secrets: tuple[Service, Service], what: str) -> None:
    """The same canaries arrive where their settings say so, which proves the search above."""
    assert f"{what}-{CANARY}".encode() in b"".join(post.body for post in secrets[1].sentry.posts)


@pytest.mark.parametrize("what", ["sql", "redis"])
def test_literals_and_keys_never_arrive(secrets: tuple[Service, Service], what: str) -> None:
    """Literals of SQL and keys of Redis are in no setting's power."""
    assert f"{what}-{CANARY}'".encode() not in b"".join(post.body for post in secrets[1].sentry.posts)


def test_nothing_leaks_between_requests() -> None:
    """User, tenant and sentry-sdk's own tags of one request are on its events and on no other request's."""
    names = ["ada", "nobody", "grace", "nobody", "alan"] * 4
    with Service() as service:
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(service.get, [f"/v1/user/{name}" for name in names])) == {200}
        service.stop()
    events = service.sentry.events
    assert len(events) == len(names)
    for event in events:
        name = event["message"].removeprefix("about ")
        tags = event.get("tags") or {}
        assert event["request"]["url"].endswith(f"/v1/user/{name}")
        if name == "nobody":
            assert "user" not in event
            assert not {"tenant.id", "by-sdk"} & set(tags)
        else:
            assert event["user"] == {"id": name}
            assert (tags["tenant.id"], tags["by-sdk"]) == (f"tenant-{name}", name)
    spans = [s for s in service.sentry.spans if s.kind == "SERVER" and s.attributes.get("user.id")]
    assert len(spans) == 12
    assert not [span for span in spans if "user.email" in span.attributes]
