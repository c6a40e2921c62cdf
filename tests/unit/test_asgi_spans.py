"""The server span: what it says, when it ends, and what it says about failures."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest
from fastapi import FastAPI
from opentelemetry import baggage, trace
from opentelemetry.instrumentation.utils import suppress_http_instrumentation, suppress_instrumentation
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse

from tests.asgi_rig import Broken, drive, get, ok, one_route, rigged, scope_of, test_client
from tests.recording import named

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def test_attributes_of_a_request(rig):
    """A server span carries exactly what the stable HTTP conventions ask for."""
    get(one_route(), "/p/1?page=2")
    span = rig.only()
    assert span.kind is SpanKind.SERVER
    assert span.name == "GET /p/{x}"
    assert span.parent is None
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/p/{x}",
        "url.scheme": "http",
        "url.path": "/p/1",
        "url.query": "page=2",
        "server.address": "shop.test",
        "server.port": 8080,
        "client.address": "192.0.2.7",
        "network.protocol.version": "1.1",
        "user_agent.original": "probe/1",
    }
    assert span.end_time > span.start_time


@pytest.mark.parametrize(
    ("headers", "server", "scheme", "address", "port"),
    [
        ({"host": "a.test"}, None, "http", "a.test", 80),
        ({"host": "a.test"}, None, "https", "a.test", 443),
        ({"host": "a.test:81"}, ("10.0.0.1", 8000), "http", "a.test", 81),
        ({"host": "[::1]:81"}, None, "http", "::1", 81),
        ({"host": "[::1]"}, None, "http", "::1", 80),
        ({"host": ""}, ("10.0.0.1", 8000), "http", None, None),
        ({"host": "user:pw@a.test"}, None, "http", None, None),
        ({"host": "a.test/../b"}, None, "http", None, None),
        ({"host": "a.test:99999999"}, None, "http", None, None),
        ({"host": "a\xff b"}, None, "http", None, None),
    ],
)
def test_the_server_is_what_the_client_asked_for(headers, server, scheme, address, port):
    """`server.address` comes from the Host header; a header that is no host gives none rather than nonsense."""
    with rigged() as rig:
        get(one_route(), "/p/1", headers=headers, server=server, scheme=scheme)
        attributes = rig.only().attributes
        assert (attributes.get("server.address"), attributes.get("server.port")) == (
            address,
            port if address else None,
        )


def test_without_a_host_header_the_socket_tells_the_server():
    """HTTP/1.0 has no Host header; then the address the server listens on stands for it."""
    with rigged() as rig:
        get(one_route(), "/p/1", http_version="1.0")
        scope = scope_of("/p/1")
        scope["headers"] = []
        asyncio.run(drive(one_route(), scope))
        attributes = rig.take()[-1].attributes
        assert (attributes["server.address"], attributes["server.port"]) == ("10.0.0.1", 8000)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (b"token=abc&page=2", "token=REDACTED&page=2"),
        (b"sig=1&X-Goog-Signature=2&AWSAccessKeyId=3&Signature=4", None),
        (b"q=%C3%A4&x", "q=%C3%A4&x"),
        (b"\xff\xfe=1", "��=1"),
        (b"", ""),
    ],
)
def test_secrets_in_the_query_are_redacted(query, shown):
    """Values of sensitive parameters are hidden, all others stay, and bytes that are no text are shown as such."""
    with rigged() as rig:
        get(one_route(), "/p/1", query_string=query)
        got = rig.only().attributes.get("url.query", "")
        if shown is None:
            assert got == "sig=REDACTED&X-Goog-Signature=REDACTED&AWSAccessKeyId=REDACTED&Signature=REDACTED"
        else:
            assert got == shown


@pytest.mark.parametrize(
    ("method", "known", "original", "name"),
    [
        ("POST", "POST", None, "POST /p/{x}"),
        ("get", "GET", "get", "GET /p/{x}"),
        ("BREW", "_OTHER", "BREW", "HTTP /p/{x}"),
        ("QUERY", "QUERY", None, "QUERY /p/{x}"),
    ],
)
def test_methods(method, known, original, name):
    """Unknown methods become `_OTHER`, their span is named `HTTP`, and what was sent is kept beside it."""
    with rigged() as rig:
        get(one_route(), "/p/1", method)
        span = rig.only()
        assert span.name == name
        assert span.attributes["http.request.method"] == known
        assert span.attributes.get("http.request.method_original") == original


def test_known_methods_are_a_setting():
    """`OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS` replaces the list."""
    with rigged({"OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS": "BREW"}) as rig:
        get(one_route(), "/p/1", "BREW")
        get(one_route(), "/p/1", "GET")
        assert sorted(span.attributes["http.request.method"] for span in rig.take()) == ["BREW", "_OTHER"]


def test_the_remote_parent_is_the_callers(rig):
    """`traceparent`, `tracestate` and `baggage` of the request are what the span and the handler go on with."""
    seen: list[Any] = []

    def handler(request: Any) -> PlainTextResponse:
        seen.append(dict(baggage.get_all()))
        return ok(request)

    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=1,b=2", "baggage": "user=joe"}
    get(one_route(handler), "/p/1", headers=headers)
    span = rig.only()
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.parent.is_remote
    assert span.context.trace_state.to_header() == "a=1,b=2"
    assert seen == [{"user": "joe"}]


def test_a_malformed_parent_starts_a_trace(rig):
    """A header that breaks the grammar is as good as none, and nothing is said about it."""
    get(one_route(), "/p/1", headers={"traceparent": "00-zz-zz-01", "tracestate": "=,=", "baggage": "\xff,=,;"})
    assert rig.only().parent is None
    assert rig.lines == []


def test_without_a_header_the_current_span_is_the_parent(rig):
    """A request made within the process, as tests make it, belongs to the span it is made in."""
    tracer = rig.tracer_provider.get_tracer("test")

    async def request() -> None:
        with tracer.start_as_current_span("around"):
            await drive(one_route(), scope_of("/p/1"))

    asyncio.run(request())
    spans = named(rig.take())
    server, around = spans["GET /p/{x}"], spans["around"]
    assert server.parent.span_id == around.context.span_id
    assert server.kind is SpanKind.SERVER


def test_the_context_is_put_back(rig):
    """After the request no span is current, also when the application raised."""

    async def two() -> None:
        await drive(one_route(), scope_of("/p/1"))
        assert trace.get_current_span() is trace.INVALID_SPAN

        def raising(request: Any) -> None:
            raise Broken

        with pytest.raises(Broken):
            await drive(one_route(raising), scope_of("/p/1"))
        assert trace.get_current_span() is trace.INVALID_SPAN

    asyncio.run(two())


def test_a_scope_may_be_used_again(rig):
    """A middleware around the application that tries a request twice with one scope gets two spans."""
    app, scope = one_route(), scope_of("/p/1")
    before = dict(scope)
    asyncio.run(drive(app, scope))
    assert "fastapi.telemetry" not in scope
    asyncio.run(drive(app, {**before}))
    assert len(rig.take()) == 2


def test_unsampled_requests_carry_the_trace_on():
    """The sampler's no keeps the caller's trace id for what the handler calls, and exports nothing."""
    seen: list[Any] = []

    def handler(request: Any) -> PlainTextResponse:
        seen.append(trace.get_current_span().get_span_context())
        return ok(request)

    with rigged() as rig:
        get(one_route(handler), "/p/1", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
        assert rig.take() == []
    assert f"{seen[0].trace_id:032x}" == TRACE
    assert not seen[0].trace_flags.sampled


def test_samplers_of_third_parties_see_the_attributes():
    """Where a sampler is not ours, what it may decide by is there when the span starts."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

    seen: list[Any] = []

    class Looking(Sampler):
        def should_sample(self, parent_context, trace_id, name, *more: Any, **named: Any) -> Any:
            kind, attributes = (*more, named.get("kind"), named.get("attributes"))[:2]
            seen.append((name, kind, dict(attributes or {})))
            return ALWAYS_ON.should_sample(parent_context, trace_id, name, kind, attributes)

        def get_description(self) -> str:
            return "Looking"

    with rigged(lean=False) as rig:
        object.__setattr__(rig.tools, "tracer_provider", TracerProvider(sampler=Looking(), shutdown_on_exit=False))
        get(one_route(), "/p/1?a=1")
    [(name, kind, attributes)] = seen
    assert (name, kind) == ("GET", SpanKind.SERVER)
    assert attributes["url.path"] == "/p/1"
    assert attributes["url.query"] == "a=1"


@pytest.mark.parametrize("suppress", [suppress_instrumentation, suppress_http_instrumentation])
def test_suppressed_requests_make_no_span(rig, suppress):
    """Within `suppress_instrumentation()` and its sister for HTTP the application runs without telemetry."""

    async def quiet() -> None:
        with suppress():
            await drive(one_route(), scope_of("/p/1"))

    asyncio.run(quiet())
    assert rig.take() == []


def test_an_application_made_before_is_covered():
    """The classes are patched, so it does not matter when the application was made."""
    app = one_route()
    get(app, "/p/1")
    with rigged() as rig:
        get(app, "/p/1")
        assert rig.only().name == "GET /p/{x}"
    get(app, "/p/1")
    assert rig.take() == []


def test_lifespan_is_left_alone(rig):
    """Start-up and shutdown pass through without a span."""
    events: list[str] = []

    async def lifespan(app: Any) -> Any:
        events.append("up")
        yield
        events.append("down")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        app = Starlette(lifespan=lifespan)
    with test_client(app):
        pass
    assert events == ["up", "down"]
    assert rig.take() == []


def test_the_test_client_gets_one_span_a_request(rig):
    """Through Starlette's `TestClient`, in its own thread and loop, each request has its one span."""
    app = FastAPI()

    @app.get("/p/{x}")
    def handler(x: int) -> int:
        return x

    with test_client(app) as client:
        assert [client.get(f"/p/{n}").json() for n in range(3)] == [0, 1, 2]
    assert [span.name for span in rig.take()] == ["GET /p/{x}"] * 3
