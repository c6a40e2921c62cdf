"""The server span: what it says, when it ends, and what it says about failures."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, WebSocket
from opentelemetry import baggage, trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from tests.asgi_rig import drive, get, rigged, scope_of, test_client

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def _ok(request: Any) -> PlainTextResponse:
    return PlainTextResponse("fine")


def _starlette(handler: Any = _ok, path: str = "/p/{x}", **more: Any) -> Starlette:
    return Starlette(routes=[Route(path, handler, methods=["GET", "POST", "PUT"])], **more)


@pytest.fixture(params=[True, False], ids=["lean", "upstream"])
def rig(request):
    """The instrumentation over our providers and over upstream's."""
    with rigged(lean=request.param) as made:
        yield made


def test_attributes_of_a_request(rig):
    """A server span carries exactly what the stable HTTP conventions ask for."""
    get(_starlette(), "/p/1?page=2")
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
        get(_starlette(), "/p/1", headers=headers, server=server, scheme=scheme)
        attributes = rig.only().attributes
        assert (attributes.get("server.address"), attributes.get("server.port")) == (
            address,
            port if address else None,
        )


def test_without_a_host_header_the_socket_tells_the_server():
    """HTTP/1.0 has no Host header; then the address the server listens on stands for it."""
    with rigged() as rig:
        get(_starlette(), "/p/1", http_version="1.0")
        scope = scope_of("/p/1")
        scope["headers"] = []
        asyncio.run(drive(_starlette(), scope))
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
        get(_starlette(), "/p/1", query_string=query)
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
        get(_starlette(), "/p/1", method)
        span = rig.only()
        assert span.name == name
        assert span.attributes["http.request.method"] == known
        assert span.attributes.get("http.request.method_original") == original


def test_known_methods_are_a_setting():
    """`OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS` replaces the list."""
    with rigged({"OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS": "BREW"}) as rig:
        get(_starlette(), "/p/1", "BREW")
        get(_starlette(), "/p/1", "GET")
        assert [span.attributes["http.request.method"] for span in rig.take()] == ["BREW", "_OTHER"]


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(200, "UNSET", None), (304, "UNSET", None), (404, "UNSET", None), (499, "UNSET", None), (503, "ERROR", "503")],
)
def test_only_server_errors_are_errors(rig, status, code, error):
    """On a server 4xx is the client's affair; 5xx is an error and its number the error's type."""
    get(_starlette(lambda request: PlainTextResponse("", status_code=status)), "/p/1")
    span = rig.only()
    assert span.status.status_code.name == code
    assert span.attributes.get("error.type") == error
    assert span.attributes["http.response.status_code"] == status
    assert not span.events


class Broken(RuntimeError):
    """What the applications of these tests raise."""


def _raising_apps() -> dict[str, Any]:
    async def dependency() -> None:
        raise Broken("no database")

    handler, depends, middleware, unhandled = FastAPI(), FastAPI(), FastAPI(), FastAPI()

    @handler.get("/p/{x}")
    async def in_handler(x: int) -> None:
        raise Broken("no database")

    @depends.get("/p/{x}", dependencies=[Depends(dependency)])
    def in_dependency(x: int) -> None:
        return None

    @middleware.middleware("http")
    async def in_middleware(request: Any, call_next: Any) -> None:
        raise Broken("no database")

    @unhandled.get("/p/{x}")
    def raises_another(x: int) -> None:
        raise LookupError("first")

    @unhandled.exception_handler(LookupError)
    async def in_exception_handler(request: Any, error: Any) -> None:
        raise Broken("no database")

    return {"handler": handler, "dependency": depends, "middleware": middleware, "exception handler": unhandled}


@pytest.mark.parametrize("where", ["handler", "dependency", "middleware", "exception handler"])
def test_an_exception_nobody_handles(rig, where):
    """It still reaches the server, the client gets its 500, and the span tells type, message and where it came from."""
    app = _raising_apps()[where]
    with pytest.raises(Broken, match="no database"):
        get(app, "/p/1")
    span = rig.only()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "Broken: no database"
    assert span.attributes["error.type"] == f"{__name__}.Broken"
    assert span.attributes["http.response.status_code"] == 500
    [event] = span.events
    assert event.name == "exception"
    assert event.attributes["exception.type"] == f"{__name__}.Broken"
    assert "raise Broken" in event.attributes["exception.stacktrace"]


def test_a_handler_for_every_exception_does_not_hide_it(rig):
    """A user's 500 page is sent, and the exception that Starlette raises again behind it is on the span."""

    async def page(request: Any, error: Exception) -> JSONResponse:
        return JSONResponse({"sorry": True}, status_code=500)

    def raising(request: Any) -> None:
        raise Broken("no database")

    with pytest.raises(Broken):
        get(_starlette(raising, exception_handlers={Exception: page}), "/p/1")
    span = rig.only()
    assert span.attributes["error.type"] == f"{__name__}.Broken"
    assert len(span.events) == 1


def test_a_handled_exception_is_none(rig):
    """`HTTPException` and exceptions with a handler are answers, not failures."""
    app = FastAPI()

    @app.get("/p/{x}")
    def teapot(x: int) -> None:
        raise HTTPException(418)

    get(app, "/p/1")
    span = rig.only()
    assert span.status.status_code is StatusCode.UNSET
    assert not span.events


def test_an_exception_in_the_middle_of_a_stream(rig):
    """The status that went out stays 200, and the span is an error all the same."""

    async def body() -> Any:
        yield b"some"
        raise Broken("no database")

    # older versions of Starlette raise what their task group made of it
    with pytest.raises((Broken, ExceptionGroup)) as raised:
        get(_starlette(lambda request: StreamingResponse(body())), "/p/1")
    span = rig.only()
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["error.type"].endswith(raised.type.__name__)
    assert span.status.status_code is StatusCode.ERROR


def test_the_span_ends_with_the_last_byte_and_background_tasks_have_their_own(rig):
    """Background tasks run when the server span has ended, below it; what they raise is on their span alone."""
    app = FastAPI()
    finished: list[int] = []

    async def later() -> None:
        finished.append(len(rig.spans))
        raise Broken("afterwards")

    @app.get("/p/{x}")
    async def handler(x: int, tasks: BackgroundTasks) -> int:
        tasks.add_task(later)
        return x

    with pytest.raises(Broken):
        get(app, "/p/1")
    assert finished == [1]
    server, task = rig.take()
    assert server.status.status_code is StatusCode.UNSET
    assert task.name == "BackgroundTask later"
    assert task.parent.span_id == server.context.span_id
    assert task.status.status_code is StatusCode.ERROR
    assert len(task.events) == 1


def test_background_tasks_of_excluded_requests_have_no_span():
    """Where the request makes no telemetry, its tasks make none."""
    app = FastAPI()
    ran: list[int] = []

    @app.get("/p/{x}")
    async def handler(x: int, tasks: BackgroundTasks) -> None:
        tasks.add_task(ran.append, x)

    with rigged({"OTEL_PYTHON_EXCLUDED_URLS": "p/1"}) as rig:
        get(app, "/p/1")
        assert ran == [1]
        assert rig.take() == []


def test_a_server_error_waits_for_its_exception_but_not_with_its_end_time():
    """A 503 with a slow background task ends, on paper, with its last byte."""
    app = Starlette()
    moments: list[int] = []

    class Ends(SpanProcessor):
        def on_end(self, span: Any) -> None:
            if span.kind is SpanKind.SERVER:
                moments.append(span.end_time - span.start_time)

    async def handler(request: Any) -> PlainTextResponse:
        from starlette.background import BackgroundTask

        return PlainTextResponse("", status_code=503, background=BackgroundTask(asyncio.sleep, 0.3))

    app.add_route("/p/{x}", handler)
    with rigged() as rig:
        rig.tracer_provider.add_span_processor(Ends())
        get(app, "/p/1")
        [lasted] = moments
        assert lasted < 300_000_000


def test_a_stream_is_measured_to_its_end(rig):
    """The span of a streaming response ends after its last chunk."""
    open_spans: list[int] = []

    async def body() -> Any:
        for _ in range(3):
            open_spans.append(len(rig.spans))
            yield b"chunk"

    get(_starlette(lambda request: StreamingResponse(body())), "/p/1")
    assert open_spans == [0, 0, 0]
    assert rig.only().attributes["http.response.status_code"] == 200


def test_trailers_are_waited_for(rig):
    """With trailers announced the last body message is not the end."""
    open_spans: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"x"})
        open_spans.append(len(rig.spans))
        await send({"type": "http.response.trailers", "headers": [], "more_trailers": False})
        open_spans.append(len(rig.spans))

    get(Starlette(routes=[Mount("/m", app=app)]), "/m/x")
    assert open_spans == [0, 1]


def test_a_client_that_leaves_a_stream_is_no_error(rig):
    """Server-sent events end by disconnection, always; that is no failure of the server."""

    async def body() -> Any:
        while True:
            yield b"data: 1\n\n"
            await asyncio.sleep(0.001)

    app = _starlette(lambda request: StreamingResponse(body(), media_type="text/event-stream"))
    sent = get(app, "/p/1", leaves=True)
    assert sent[-1].get("more_body") is not False
    span = rig.only()
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in span.attributes


def test_an_application_that_never_answers_is_an_error(rig):
    """No response at all is the server's failure."""

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        return None

    get(Starlette(routes=[Mount("/m", app=silent)]), "/m/x")
    span = rig.only()
    assert span.attributes["error.type"] == "incomplete_response"
    assert span.status.status_code is StatusCode.ERROR


def test_a_cancelled_request_ends_its_span(rig):
    """Cancellation passes through untouched, and leaves no span open."""

    async def waiting(request: Any) -> None:
        await asyncio.sleep(60)

    async def cancelled() -> None:
        task = asyncio.create_task(drive(_starlette(waiting), scope_of("/p/1")))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    span = rig.only()
    assert span.attributes["error.type"] == "asyncio.exceptions.CancelledError"
    assert not span.events


def test_the_remote_parent_is_the_callers(rig):
    """`traceparent`, `tracestate` and `baggage` of the request are what the span and the handler go on with."""
    seen: list[Any] = []

    def handler(request: Any) -> PlainTextResponse:
        seen.append(dict(baggage.get_all()))
        return _ok(request)

    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=1,b=2", "baggage": "user=joe"}
    get(_starlette(handler), "/p/1", headers=headers)
    span = rig.only()
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.parent.is_remote
    assert span.context.trace_state.to_header() == "a=1,b=2"
    assert seen == [{"user": "joe"}]


def test_a_malformed_parent_starts_a_trace(rig):
    """A header that breaks the grammar is as good as none, and nothing is said about it."""
    get(_starlette(), "/p/1", headers={"traceparent": "00-zz-zz-01", "tracestate": "=,=", "baggage": "\xff,=,;"})
    assert rig.only().parent is None
    assert rig.lines == []


def test_without_a_header_the_current_span_is_the_parent(rig):
    """A request made within the process, as tests make it, belongs to the span it is made in."""
    tracer = rig.tracer_provider.get_tracer("test")

    async def request() -> None:
        with tracer.start_as_current_span("around"):
            await drive(_starlette(), scope_of("/p/1"))

    asyncio.run(request())
    server, around = rig.take()
    assert server.parent.span_id == around.context.span_id
    assert server.kind is SpanKind.SERVER


def test_the_context_is_put_back(rig):
    """After the request no span is current, also when the application raised."""

    async def two() -> None:
        await drive(_starlette(), scope_of("/p/1"))
        assert trace.get_current_span() is trace.INVALID_SPAN

        def raising(request: Any) -> None:
            raise Broken

        with pytest.raises(Broken):
            await drive(_starlette(raising), scope_of("/p/1"))
        assert trace.get_current_span() is trace.INVALID_SPAN

    asyncio.run(two())


def test_a_scope_may_be_used_again(rig):
    """A middleware around the application that tries a request twice with one scope gets two spans."""
    app, scope = _starlette(), scope_of("/p/1")
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
        return _ok(request)

    with rigged() as rig:
        get(_starlette(handler), "/p/1", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
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
        get(_starlette(), "/p/1?a=1")
    [(name, kind, attributes)] = seen
    assert (name, kind) == ("GET", SpanKind.SERVER)
    assert attributes["url.path"] == "/p/1"
    assert attributes["url.query"] == "a=1"


def test_suppressed_requests_make_no_span(rig):
    """Within `suppress_instrumentation()` the application runs without telemetry."""

    async def quiet() -> None:
        with suppress_instrumentation():
            await drive(_starlette(), scope_of("/p/1"))

    asyncio.run(quiet())
    assert rig.take() == []


def test_an_application_made_before_is_covered():
    """The classes are patched, so it does not matter when the application was made."""
    app = _starlette()
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


# --- WebSockets ------------------------------------------------------------------------------------------------------


def _websocket_app(behave: Any) -> FastAPI:
    app = FastAPI()

    @app.websocket("/ws/{room}")
    async def endpoint(websocket: WebSocket, room: str) -> None:
        await behave(websocket)

    return app


def _connect(app: Any, *incoming: dict[str, Any]) -> list[Any]:
    scope = scope_of("/ws/lobby", type="websocket", scheme="ws", subprotocols=[])
    del scope["method"]
    messages = [{"type": "websocket.connect"}, *incoming, {"type": "websocket.disconnect", "code": 1000}]
    return asyncio.run(drive(app, scope, messages))


def test_a_websocket_has_one_span_for_its_life(rig):
    """One span from the handshake to the end, named by the route, with the handshake's status."""

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    sent = _connect(_websocket_app(echo), {"type": "websocket.receive", "text": "hello"})
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    span = rig.only()
    assert span.name == "WS /ws/{room}"
    assert span.kind is SpanKind.SERVER
    assert span.attributes["http.response.status_code"] == 101
    assert span.attributes["url.scheme"] == "ws"
    assert span.attributes["network.protocol.name"] == "websocket"
    assert "http.request.method" not in span.attributes


def test_a_refused_handshake_says_so(rig):
    """Closing before accepting is the answer 403 (ASGI specification, WebSocket close)."""

    async def refuse(websocket: WebSocket) -> None:
        await websocket.close()

    _connect(_websocket_app(refuse))
    assert rig.only().attributes["http.response.status_code"] == 403


@pytest.mark.parametrize(("code", "error"), [(1000, None), (1001, None), (1011, "WebSocketDisconnect")])
def test_a_normal_disconnect_is_no_error(rig, code, error):
    """Only an abnormal end of the connection that nobody handled is one."""

    async def listen(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()

    scope = scope_of("/ws/lobby", type="websocket", scheme="ws", subprotocols=[])
    messages = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": code}]
    with pytest.raises(Exception, match=str(code)):
        asyncio.run(drive(_websocket_app(listen), scope, messages))
    found = rig.only().attributes.get("error.type")
    assert found is None if error is None else found.endswith(error)


def test_a_failing_websocket_is_an_error(rig):
    """What nobody handled is on the span."""

    async def broken(websocket: WebSocket) -> None:
        await websocket.accept()
        raise Broken("no database")

    with pytest.raises(Broken):
        _connect(_websocket_app(broken))
    span = rig.only()
    assert span.status.status_code is StatusCode.ERROR
    assert len(span.events) == 1


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["OTEL_PYTHON_EXCLUDED_URLS", "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS"])
def test_excluded_urls_make_no_telemetry(name):
    """Neither span nor metric, in mounted applications neither, and the others are not touched."""
    inner = _starlette()
    app = Starlette(routes=[Route("/health", _ok), Mount("/in", app=inner)])
    with rigged({name: "/health$,shop.test:8080/in/p/1"}) as rig:
        get(app, "/health")
        get(app, "/in/p/1")
        assert rig.take() == []
        assert rig.points("http.server.request.duration") == []
        get(app, "/in/p/2")
        get(app, "/health/more")
        assert len(rig.take()) == 2


def test_the_own_variable_replaces_the_general_one():
    """`OTEL_PYTHON_FASTAPI_EXCLUDED_URLS` is used instead of `OTEL_PYTHON_EXCLUDED_URLS`, not besides."""
    settings = {"OTEL_PYTHON_EXCLUDED_URLS": "p/1", "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "p/2"}
    with rigged(settings) as rig:
        for path in ("/p/1", "/p/2"):
            get(_starlette(), path)
        assert rig.only().attributes["url.path"] == "/p/1"


def test_an_expression_that_does_not_compile_is_left_out():
    """One bad expression is said once, and the good ones still exclude."""
    with rigged({"OTEL_PYTHON_EXCLUDED_URLS": "(,p/1"}) as rig:
        app = _starlette()
        get(app, "/p/1")
        get(app, "/p/2")
        assert rig.only().attributes["url.path"] == "/p/2"
        assert len(rig.lines) == 1


def test_captured_headers():
    """Headers are captured by name or expression; credentials and cookies only without their values."""
    settings = {
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": "X-Tenant,accept.*,Authorization,cookie,x-inner",
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE": ".*",
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS": "inner",
    }

    def handler(request: Any) -> PlainTextResponse:
        answer = PlainTextResponse("fine", headers={"X-Answer": "42"})
        answer.set_cookie("session", "secret")
        return answer

    headers = {"x-tenant": "acme", "accept": "*/*", "authorization": "Bearer s", "cookie": "a=s", "x-inner": "s"}
    with rigged(settings) as rig:
        scope = scope_of("/p/1", headers=headers)
        scope["headers"].append((b"x-tenant", b"other"))
        sent = asyncio.run(drive(_starlette(handler), scope))
        captured = {k: list(v) for k, v in rig.only().attributes.items() if ".header." in k}
    assert captured == {
        "http.request.header.x-tenant": ["acme", "other"],
        "http.request.header.accept": ["*/*"],
        "http.request.header.authorization": ["[REDACTED]"],
        "http.request.header.cookie": ["[REDACTED]"],
        "http.request.header.x-inner": ["[REDACTED]"],
        "http.response.header.x-answer": ["42"],
        "http.response.header.set-cookie": ["[REDACTED]"],
        "http.response.header.content-length": ["4"],
        "http.response.header.content-type": ["text/plain; charset=utf-8"],
    }
    assert (b"x-answer", b"42") in sent[0]["headers"]


def test_bots_are_told_from_people():
    """Known crawlers carry `user_agent.synthetic.type`, as contrib says it."""
    with rigged() as rig:
        get(_starlette(), "/p/1", headers={"user-agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"})
        assert rig.only().attributes["user_agent.synthetic.type"] == "bot"


def test_megabytes_stay_outside():
    """A megabyte of path, query or user agent is cut to what a span can hold."""
    with rigged() as rig:
        get(_starlette(), "/p/" + "x" * 1_000_000 + "?q=" + "y" * 1_000_000, headers={"user-agent": "z" * 1_000_000})
        assert sum(len(str(value)) for value in rig.only().attributes.values()) < 10_000
