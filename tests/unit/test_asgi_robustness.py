"""Nothing the client, the application or the telemetry does to us changes what the application does."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler
from starlette.applications import Starlette
from starlette.routing import Mount

from otel_distro.instrumentation.asgi import FastApiInstrumentation
from otel_distro.instrumentation.asgi.exchange import Exchange
from otel_distro.records import replace
from tests.asgi_rig import MODULES, get, rigged, scope_of

_header_names = st.one_of(
    st.sampled_from(
        [b"host", b"user-agent", b"traceparent", b"tracestate", b"baggage", b"content-length", b"transfer-encoding"]
    ),
    st.binary(max_size=8),
)
_headers = st.one_of(
    st.none(),
    st.lists(st.tuples(_header_names, st.binary(max_size=60)), max_size=8),
    st.lists(st.lists(st.binary(max_size=4), max_size=3), max_size=3),
    st.just(()),
    st.just([("host", "text")]),
    st.just("host: x"),
)
_addresses = st.sampled_from(
    [None, (), ("1.2.3.4",), ("1.2.3.4", 5), ["::1", None], ("/run/sock", None), (b"x", "y"), 7]
)
_texts = st.one_of(st.none(), st.text(max_size=12), st.binary(max_size=12), st.integers())
_scopes = st.fixed_dictionaries(
    {"type": st.sampled_from(["http", "http", "http", "websocket", "lifespan", "odd"])},
    optional={
        "method": _texts,
        "scheme": _texts,
        "http_version": _texts,
        "path": st.one_of(st.just("/m/x"), st.text(max_size=12)),
        "query_string": st.one_of(st.binary(max_size=30), st.none(), st.just("text=1")),
        "root_path": st.sampled_from(["", "/base", "/base/"]),
        "client": _addresses,
        "server": _addresses,
        "headers": _headers,
    },
)
_bodies = st.one_of(st.binary(max_size=5), st.none(), st.just("text"), st.just(memoryview(b"view")))
_messages = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("http.response.start")},
        optional={
            "status": st.one_of(st.sampled_from([200, 204, 404, 500, 503, 10**30, -1]), st.just("200"), st.none()),
            "headers": st.one_of(
                st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=6)), max_size=3), st.none()
            ),
            "trailers": st.booleans(),
        },
    ),
    st.fixed_dictionaries(
        {"type": st.just("http.response.body")}, optional={"body": _bodies, "more_body": st.booleans()}
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["http.response.trailers", "http.response.pathsend", "websocket.close"])}
    ),
    st.just({}),
    st.just({"type": 7}),
)
_Boom = type("_Boom", (Exception,), {})


def _acting(actions: list[Any], raises: bool) -> Any:
    """An ASGI application that sends these messages and may then raise."""

    async def app(scope: Any, receive: Any, send: Any) -> str:
        for action in actions:
            if action == "receive":
                await receive()
            else:
                await send(action)
        if raises:
            raise _Boom
        return "a value, which ASGI does not know"

    return app


async def _observed(app: Any, scope: Any, sending_fails: int) -> tuple[Any, ...]:
    """Everything the ASGI server can see of a request."""
    sent: list[Any] = []
    received = 0

    async def receive() -> Any:
        nonlocal received
        received += 1
        return {"type": "http.request", "body": b"abc", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == sending_fails:
            raise OSError("gone")

    try:
        await app(scope, receive, send)
    except Exception as error:
        return sent, received, type(error), str(error), sorted(map(str, scope))
    return sent, received, None, "", sorted(map(str, scope))


@given(
    _scopes,
    st.lists(st.one_of(_messages, st.just("receive")), max_size=5),
    st.booleans(),
    st.sampled_from([0, 0, 0, 1, 2]),
    st.sampled_from(["mounted", "starlette", "fastapi"]),
)
def test_the_application_behaves_as_if_it_were_alone(scope, actions, raises, sending_fails, kind):
    """Whatever the scope and the messages, the server sees the same messages, the same exception and the same scope."""

    def app() -> Any:
        acting = _acting(actions, raises)
        if kind == "mounted":
            return Starlette(routes=[Mount("/m", app=acting)])
        made = Starlette() if kind == "starlette" else FastAPI(openapi_url=None)
        made.build_middleware_stack = lambda: acting  # type: ignore[method-assign]
        return made

    bare = asyncio.run(_observed(app(), dict(scope), sending_fails))
    environ = {
        "OTEL_PYTHON_EXCLUDED_URLS": "never",
        "OTEL_DISTRO_REQUEST_ID": "accept",  # the echo is the one change of an answer that is meant
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": ".*",
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE": ".*",
    }
    with rigged(environ) as rig:
        ours = asyncio.run(_observed(app(), dict(scope), sending_fails))
        assert len(rig.take()) <= 1
        assert all(point.value == 0 for point in rig.points("http.server.active_requests"))
    assert ours == bare


def _asgi_ok() -> Starlette:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    return Starlette(routes=[Mount("/m", app=app)])


@pytest.mark.parametrize(
    "odd",
    [
        {"client": ()},
        {"client": None},
        {"server": ()},
        {"query_string": b"\xff\xff=\xfe"},
        {"path": "/m/\udcff"},
        {"headers": {"host": "\xff\xff"}},
        {"headers": {"user-agent": "\xff" * 1_000_000}},
        {"headers": {"traceparent": "0" * 1_000_000, "tracestate": "," * 1_000_000, "baggage": "a=1," * 250_000}},
        {"headers": {"content-length": "9" * 100_000}},
        {"method": ""},
        {"scheme": ""},
        {"http_version": ""},
    ],
    ids="-".join,
)
def test_odd_requests_have_their_span_all_the_same(odd):
    """What breaks contrib's path (no address, bytes that are no text, megabytes) leaves ours one span, in silence."""
    with rigged({"OTEL_PYTHON_EXCLUDED_URLS": "never"}) as rig:
        sent = get(_asgi_ok(), odd.pop("path", "/m/x"), **odd)
        assert [message.get("status", message.get("body")) for message in sent] == [200, b"ok"]
        assert rig.only().attributes["http.response.status_code"] == 200
        assert rig.lines == []


@pytest.mark.parametrize(
    "missing", ["headers", "client", "server", "query_string", "scheme", "http_version", "root_path"]
)
def test_missing_keys_cost_nothing(missing):
    """Keys that are optional in ASGI may be absent."""
    scope = scope_of("/m/x")
    del scope[missing]

    async def send(message: Any) -> None:
        return None

    with rigged() as rig:
        asyncio.run(_asgi_ok()(scope, None, send))
        assert len(rig.take()) == 1
        assert rig.lines == []


def test_headers_that_are_an_iterator_are_left_to_the_application():
    """ASGI allows any iterable; looking at one that can be read only once would take it away."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])

    made = Starlette()
    made.build_middleware_stack = lambda: app  # type: ignore[method-assign]
    headers: Iterator[Any] = iter([(b"host", b"a.test")])
    with rigged() as rig:
        asyncio.run(_run(made, {**scope_of("/x"), "headers": headers}))
        assert len(rig.take()) == 1
    assert seen == [(b"host", b"a.test")]


async def _run(app: Any, scope: Any) -> None:
    await app(scope, None, None)


class _BrokenSampler(Sampler):
    def should_sample(self, *arguments: Any, **named: Any) -> Any:
        raise LookupError("sampler")

    def get_description(self) -> str:
        return "broken"


class _BrokenProcessor(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise LookupError("processor")

    def on_end(self, span: Any) -> None:
        raise LookupError("processor")


class _BrokenMeters(MeterProvider):
    def get_meter(self, *arguments: Any, **named: Any) -> Any:
        raise LookupError("meter")


def _broken_tracers(sampler: bool) -> TracerProvider:
    if sampler:
        return TracerProvider(sampler=_BrokenSampler(), shutdown_on_exit=False)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(_BrokenProcessor())
    return provider


@pytest.mark.parametrize("broken", ["sampler", "processor", "meter"])
def test_broken_telemetry_never_reaches_the_application(broken):
    """A provider of the user's that raises, at the start, at the end or for metrics, is counted and said once."""
    with rigged(modules=()) as rig:
        if broken == "meter":
            tools = replace(rig.tools, meter_provider=_BrokenMeters(shutdown_on_exit=False))
        else:
            tools = replace(rig.tools, tracer_provider=_broken_tracers(broken == "sampler"))
        rig.instrumentation = FastApiInstrumentation(tools)
        for name in MODULES:
            rig.patch(name)
        app = _asgi_ok()
        for _ in range(3):
            assert [message.get("status") for message in get(app, "/m/x")] == [200, None]
        assert len(rig.lines) == 1
        [failure] = rig.guard.failures
        assert "LookupError" in failure.reason


def test_caches_stay_bounded():
    """A client that invents methods, hosts and agents for every request does not fill the memory."""
    app = _asgi_ok()
    with rigged() as rig:
        for number in range(3_000):
            get(app, "/m/x", f"M{number}", headers={"host": f"h{number}", "user-agent": f"{number}" * 20})
        server = vars(app)["_otel_distro_server"]
        origins = server.origins
        assert len(origins._origins.known) < 500
        assert len(origins.callers.known) < 1_000
        assert len(rig.points("http.server.request.duration")) == 1


def _exchanges() -> int:
    return sum(isinstance(kept, Exchange) for kept in gc.get_objects())


@pytest.mark.parametrize("sampler", ["always_on", "always_off"])
def test_a_request_leaves_nothing_for_the_garbage_collector(sampler):
    """What a request needed is gone with it, without waiting for a collection that stops the event loop."""
    app = FastAPI()

    @app.get("/m/{x}")
    async def handler(x: int) -> int:
        return x

    with rigged(sampler=sampler) as rig:
        get(app, "/m/1")
        gc.collect()
        before = _exchanges()
        gc.disable()
        try:
            get(app, "/m/1")
            left = _exchanges()
        finally:
            gc.enable()
        assert left == before
        assert rig.lines == []
