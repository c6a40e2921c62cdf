"""What the READMEs list, and how it is seen: the kinds of items that several stacks have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.stacks.rig import CALLER, Driver, Evidence

Item = Callable[[Evidence], object]


@dataclass(frozen=True)
class Stack:
    """One of the five.

    Attributes:
        module: in `examples/stacks`.
        drive: makes the traffic.
        items: what its README lists, by its own words.
        environ: what its README sets.
        arguments: of uvicorn.
    """

    module: str
    drive: Driver
    items: Mapping[str, Item]
    environ: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()


def requests(route: str, status: str, method: str = "GET", at_least: int = 1) -> Item:
    """Requests are counted and timed by method, route and status."""

    def seen(found: Evidence) -> None:
        labels = {"http_request_method": method, "http_route": route, "http_response_status_code": status}
        assert found.metric("http_server_request_duration_seconds_count", **labels) >= at_least
        assert found.metric("http_server_request_duration_seconds_bucket", **labels, le="+Inf") >= at_least

    return seen


def metric(name: str, at_least: float = 1, **labels: str) -> Item:
    """A metric is there, with at least this value."""

    def seen(found: Evidence) -> None:
        assert found.metric(name, **labels) >= at_least

    return seen


def log(message: str, **fields: Any) -> Item:
    """A log line says this, as JSON, with time, level, logger, service and these fields."""

    def seen(found: Evidence) -> None:
        line = found.line(message)
        for name in ("time", "level", "logger", "service"):
            assert line[name], (name, line)
        for name, value in fields.items():
            assert line[name.replace("__", ".")] == value, (name, line)

    return seen


def correlated(message: str) -> Item:
    """A log line has the caller's trace and request id, and the span's."""

    def seen(found: Evidence) -> None:
        line = found.line(message)
        assert line["trace_id"] == CALLER["trace"]
        assert line["span_id"] in {span.span_id for span in found.spans}
        assert line["request_id"] == CALLER["request"]

    return seen


def span(name: str, **attributes: Any) -> Item:
    """A span of that name, in the caller's trace, with these attributes."""

    def seen(found: Evidence) -> None:
        assert found.span(name, **attributes).trace_id == CALLER["trace"]

    return seen


def error(kind: str, *, user: str | None = None, **tags: Any) -> Item:
    """One Sentry event of that exception, linked to the trace, with the user and these values somewhere in it."""

    def seen(found: Evidence) -> None:
        event = found.event(kind)
        assert event["contexts"]["trace"]["trace_id"] == CALLER["trace"]
        assert CALLER["request"] in str(event)
        if user is not None:
            assert event["user"]["id"] == user
        for name, value in tags.items():
            assert told(event, name) == str(value), (name, event["tags"], event["contexts"], event.get("extra"))

    return seen


def told(event: Mapping[str, Any], name: str) -> str | None:
    """A value that an event has as a tag, in a context or as extra data."""
    places = [event.get("tags") or {}, event.get("extra") or {}, *(event.get("contexts") or {}).values()]
    names = (name, f"context.{name}")
    return next((str(place[each]) for place in places for each in names if each in place), None)


def checks(path: str, *, down: tuple[str, ...] = (), **up: bool) -> Item:
    """A health path names these checks with status, latency, version, environment and uptime."""

    def seen(found: Evidence) -> None:
        body = found.health(path)
        assert body["uptime_seconds"] > 0
        assert body["timestamp"]
        assert {name: body["checks"][name]["critical"] for name in up} == up
        for name, check in body["checks"].items():
            assert check["status"] == ("down" if name in down else "up"), (name, check)
            assert check["timestamp"]
        assert all(body["checks"][name]["latency_ms"] >= 0 for name in up if name not in down)

    return seen


def status_of(path: str, status: str) -> Item:
    """A health path answers 200 with this word."""

    def seen(found: Evidence) -> None:
        answer = found.service.call(path)
        assert (answer.status, answer.json()["status"]) == (200, status)

    return seen


def resource(**attributes: str) -> Item:
    """Spans, log lines and the health answer name service, version and environment."""

    def seen(found: Evidence) -> None:
        version, environment = attributes["version"], attributes["environment"]
        assert {s.resource["service.version"] for s in found.spans} == {version}
        assert {s.resource["deployment.environment.name"] for s in found.spans} == {environment}
        body = found.health("/health")
        assert (body["version"], body["environment"]) == (version, environment)

    return seen


def echoed(name: str) -> Item:
    """The answer carries the request id that came in, and whom the service calls gets id and trace."""

    def seen(found: Evidence) -> None:
        headers = {key.lower(): value for key, value in found.answers[name].headers.items()}
        assert headers["x-request-id"] == CALLER["request"]
        calls = [call.headers for call in found.outside.calls]
        called = [headers for headers in calls if CALLER["trace"] in headers.get("traceparent", "")]
        assert {headers.get("x-request-id") for headers in called} == {CALLER["request"]}

    return seen
