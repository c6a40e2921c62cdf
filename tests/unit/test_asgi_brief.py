"""A request's span that is never put together says what one says that is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.datastructures import Address
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from otel_distro import set_context, set_user
from otel_distro.tracing.late import LateSpan
from tests.asgi_rig import App, Rig, drive, get, rigged, scope_of

_REMOTE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def _application(seen: Callable[[LateSpan], object] = lambda _: None) -> FastAPI:
    app = FastAPI()

    @app.get("/items/{item}")
    async def item(item: int) -> dict[str, int]:
        seen(trace.get_current_span())  # type: ignore[arg-type]  # what the rig's tracer makes
        return {"item": item}

    @app.get("/user")
    async def user() -> Response:
        set_user("u1", name="Ada")
        set_context(tenant="acme", **{"http.route": "mine"})
        return PlainTextResponse("fine")

    @app.get("/odd")
    async def odd() -> Response:
        set_context(count=3, paid=True, share=0.5, name="x" * 200, **{f"k{number}": "v" for number in range(70)})
        return PlainTextResponse("fine")

    @app.get("/refused")
    async def refused() -> None:
        raise HTTPException(409)

    @app.get("/broken")
    async def broken() -> Response:
        return PlainTextResponse("sorry", 503)

    @app.get("/touched")
    async def touched(request: Request) -> Response:
        span = trace.get_current_span()
        span.set_attribute("own", request.method)
        span.add_event("seen")
        return PlainTextResponse("fine")

    return app


_REQUESTS: dict[str, dict[str, Any]] = {
    "/items/7": {},
    "/items/7?token=secret&page=2": {"headers": {"x-request-id": "r-1", "user-agent": "Mozilla/5.0"}},
    "/items/none": {"headers": {"traceparent": _REMOTE, "tracestate": "a=1"}},
    "/user": {"headers": {"x-request-id": "r-2"}},
    "/odd": {"headers": {"x-request-id": "r" * 128}},
    "/refused": {"client": None},
    "/broken": {},
    "/touched": {},
    "/nowhere": {"headers": {"host": "other.test"}},
}


def _told(span: ReadableSpan) -> dict[str, Any]:
    assert span.context is not None
    return {
        "name": span.name,
        "kind": span.kind,
        "parent": None if span.parent is None else span.parent.span_id,
        "state": span.context.trace_state.to_header(),
        "attributes": dict(span.attributes or {}),
        "events": [(event.name, dict(event.attributes or {})) for event in span.events],
        "status": (span.status.status_code, span.status.description),
        "scope": span.instrumentation_scope.name if span.instrumentation_scope else None,
    }


@pytest.mark.parametrize("path", _REQUESTS)
def test_both_kinds_of_spans_say_the_same(path: str) -> None:
    """Routes, queries, parents, ids, users, refusals and errors: the same span, whether or not it was an object."""
    told = []
    for brief in (True, False):
        with rigged(brief=brief) as rig:
            app = _application()
            for _ in range(2):  # the second one finds what the first one has worked out
                get(app, path, **_REQUESTS[path])
                told.append(_told(rig.only()))
            assert rig.lines == []
    assert told[0] == told[1] == told[2] == told[3]
    assert told[0]["kind"] is SpanKind.SERVER


@pytest.mark.parametrize(
    "client",
    [
        None,
        (),
        [],
        ["192.0.2.7", 1],
        ("192.0.2.7",),
        Address("192.0.2.7", 1),
        (["a"], 1),
        (7, 1),
        {"host": "a"},
        "a",
        7,
    ],
)
def test_an_odd_client_costs_no_span(client: Any) -> None:
    """Whatever a server puts in the place of address and port, the request has its span, with an address or without."""
    for brief in (True, False):
        with rigged(brief=brief) as rig:
            app = _application()
            for _ in range(2):
                get(app, "/items/7", client=client)
                span = rig.only()
                address = "192.0.2.7" if "192.0.2.7" in repr(client) else None
                assert (span.attributes or {}).get("client.address") == address
            assert rig.lines == []


@pytest.mark.parametrize("given", ["abc", 7, None, ["a"], bytearray(b"abc")])
def test_what_is_no_header_is_no_id(given: Any) -> None:
    """A middleware that puts text or anything else where a header's bytes belong gets its span and an id of ours."""
    for brief in (True, False):
        with rigged({"OTEL_DISTRO_REQUEST_ID": "accept,echo"}, brief=brief) as rig:
            scope = scope_of("/items/7")
            scope["headers"].append((b"x-request-id", given))
            start, _ = asyncio.run(drive(_application(), scope))
            (answered,) = [value for name, value in start["headers"] if name == b"x-request-id"]
            assert (type(answered), len(answered)) == (bytes, 32)
            assert "request.id" not in (rig.only().attributes or {})
            assert rig.lines == []


@pytest.mark.parametrize(
    "odd",
    [
        {"query_string": 5},
        {"query_string": "a=1&token=canary"},
        {"headers": [(b"host", bytearray(b"a")), (b"user-agent", bytearray(b"b"))]},
        {"headers": [(b"host", ["a"]), (b"user-agent", ["b"])]},
        {"headers": [(b"host", "a"), (b"user-agent", "b")]},
    ],
)
def test_odd_parts_of_a_scope_cost_no_span(odd: dict[str, Any]) -> None:
    """What is not of the type that ASGI says is told as its text, or not at all."""
    told = []
    for brief in (True, False):
        with rigged(brief=brief) as rig:
            app = Starlette(routes=[Route("/odd", lambda request: PlainTextResponse("fine"))])
            asyncio.run(drive(app, {**scope_of("/odd"), **odd}))
            told.append(_told(rig.only())["attributes"])
            assert rig.lines == []
    assert told[0] == told[1]
    assert "canary" not in repr(told)


def test_a_secret_in_a_path_is_hidden() -> None:
    """Parameters of a path's segments are redacted by name, whether the span is put together or not."""
    for brief in (True, False):
        with rigged(brief=brief) as rig:
            get(_application(), "/items;token=canary/7;v=1")
            assert (rig.only().attributes or {})["url.path"] == "/items;token=REDACTED/7;v=1"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("http://joe:canary@shop.test/items/7", "http://REDACTED:REDACTED@shop.test/items/7"),
        ("//joe:canary@shop.test/;token=canary", "//REDACTED:REDACTED@shop.test/;token=REDACTED"),
        ("/items//joe@shop.test", "/items//joe@shop.test"),
    ],
)
def test_a_user_in_place_of_a_path_is_hidden(path: str, shown: str) -> None:
    """A target that names the server as for a proxy tells no password, however many requests are encoded at once."""
    for brief, requests in ((True, 1), (True, 70), (False, 1)):
        with rigged(brief=brief) as rig:
            for _ in range(requests):
                asyncio.run(drive(_application(), scope_of(path)))
            assert {(span.attributes or {})["url.path"] for span in rig.spans} == {shown}


def test_a_scope_without_a_client_has_a_span() -> None:
    """ASGI says that it may be missing."""
    for brief in (True, False):
        with rigged(brief=brief) as rig:
            scope = scope_of("/items/7")
            del scope["client"]
            asyncio.run(drive(_application(), scope))
            assert (rig.only().attributes or {})["url.path"] == "/items/7"
            assert rig.lines == []


def test_nothing_is_put_together_where_nobody_looks() -> None:
    """A plain request's span has no dictionary of its own: its processor is given what it needs to encode it."""
    spans: list[LateSpan] = []
    with rigged() as rig:
        get(_application(spans.append), "/items/7")
        assert rig.only().name == "GET /items/{item}"
    (span,) = spans
    assert span._seen is None
    assert not span.is_recording()


def test_a_span_that_has_ended_can_still_be_read() -> None:
    """Who kept the span of a request finds its name and all its attributes, however late."""
    spans: list[LateSpan] = []
    with rigged() as rig:
        get(_application(spans.append), "/items/7", headers={"x-request-id": "r-3"})
        exported = rig.only()
    (span,) = spans
    assert span.name == exported.name
    assert span.attributes == exported.attributes
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["request.id"] == "r-3"


def _rename(span: LateSpan) -> None:
    span.update_name("mine")


def _link(span: LateSpan) -> None:
    span.add_link(SpanContext(1, 2, True), {"why": "test"})


def _fail(span: LateSpan) -> None:
    span.set_status(StatusCode.ERROR, "mine")


def _raise(span: LateSpan) -> None:
    span.record_exception(ValueError("handled"))


def _attribute(span: LateSpan) -> None:
    assert span.attributes["http.route"] == "/items/{item}"
    span.set_attribute("url.path", "hidden")


@pytest.mark.parametrize("touch", [_rename, _link, _fail, _raise, _attribute])
def test_what_the_application_does_to_the_span_is_kept(touch: Callable[[LateSpan], object]) -> None:
    """A name, a link, a status, an event or an attribute of the application's leaves with the span."""
    with rigged() as rig:
        get(_application(touch), "/items/7")
        span = rig.only()
    assert span.attributes is not None
    assert span.attributes["http.route"] == "/items/{item}"
    assert span.attributes["http.response.status_code"] == 200
    found = {
        "_rename": span.name == "mine",
        "_link": [link.context.span_id for link in span.links] == [2],
        "_fail": span.status.description == "mine",
        "_raise": [event.name for event in span.events] == ["exception"],
        "_attribute": span.attributes["url.path"] == "hidden",
    }
    assert found[touch.__name__]


def test_a_processor_that_comes_later_gets_objects() -> None:
    """With a second processor, whoever it is, every span is one that can be read."""

    class Second:
        def __init__(self, rig: Rig) -> None:
            self.names: list[str] = []
            rig.tracer_provider.add_span_processor(self)  # type: ignore[arg-type]

        def on_end(self, span: ReadableSpan) -> None:
            self.names.append(span.name)

        def __getattr__(self, name: str) -> Any:
            return lambda *_, **__: True

    with rigged() as rig:
        app: App = _application()
        get(app, "/items/7")
        second = Second(rig)
        get(app, "/items/7")
        assert [span.name for span in rig.take()] == ["GET /items/{item}"] * 2
    assert second.names == ["GET /items/{item}"]


def test_an_end_of_the_applications_own_counts() -> None:
    """Who ends the request's span itself has ended it: nothing leaves twice."""
    with rigged() as rig:
        get(_application(lambda span: span.end()), "/items/7")
        assert rig.only().name == "GET /items/{item}"
