"""When the server span ends, and what it says about how."""

from __future__ import annotations

import asyncio
import socket
import threading
from time import perf_counter
from typing import Any

import pytest
import uvicorn
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount

from tests.asgi_rig import Broken, drive, get, one_route, rigged, scope_of
from tests.recording import named


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(200, "UNSET", None), (304, "UNSET", None), (404, "UNSET", None), (499, "UNSET", None), (503, "ERROR", "503")],
)
def test_only_server_errors_are_errors(rig, status, code, error):
    """On a server 4xx is the client's affair; 5xx is an error and its number the error's type."""
    get(one_route(lambda request: PlainTextResponse("", status_code=status)), "/p/1")
    span = rig.only()
    assert span.status.status_code.name == code
    assert span.attributes.get("error.type") == error
    assert span.attributes["http.response.status_code"] == status
    assert not span.events


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
    assert span.attributes["error.type"] == f"{Broken.__module__}.Broken"
    assert span.attributes["http.response.status_code"] == 500
    [event] = span.events
    assert event.name == "exception"
    assert event.attributes["exception.type"] == f"{Broken.__module__}.Broken"
    assert "raise Broken" in event.attributes["exception.stacktrace"]


def test_a_handler_for_every_exception_does_not_hide_it(rig):
    """A user's 500 page is sent, and the exception that Starlette raises again behind it is on the span."""

    async def page(request: Any, error: Exception) -> JSONResponse:
        return JSONResponse({"sorry": True}, status_code=500)

    def raising(request: Any) -> None:
        raise Broken("no database")

    with pytest.raises(Broken):
        get(one_route(raising, exception_handlers={Exception: page}), "/p/1")
    span = rig.only()
    assert span.attributes["error.type"] == f"{Broken.__module__}.Broken"
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
        get(one_route(lambda request: StreamingResponse(body())), "/p/1")
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
    spans = named(rig.take())
    server, task = spans["GET /p/{x}"], spans["BackgroundTask later"]
    assert server.status.status_code is StatusCode.UNSET
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

    async def later() -> None:
        began.append(perf_counter())
        await asyncio.sleep(0.3)

    async def handler(request: Any) -> PlainTextResponse:
        from starlette.background import BackgroundTask

        return PlainTextResponse("", status_code=503, background=BackgroundTask(later))

    app.add_route("/p/{x}", handler)
    with rigged() as rig:
        rig.tracer_provider.add_span_processor(Ends())
        began = [perf_counter()]
        get(app, "/p/1")
        [lasted] = moments
        assert lasted / 1e9 < began[1] - began[0] + 0.15


def test_a_stream_is_measured_to_its_end(rig):
    """The span of a streaming response ends after its last chunk."""
    open_spans: list[int] = []

    async def body() -> Any:
        for _ in range(3):
            open_spans.append(len(rig.spans))
            yield b"chunk"

    get(one_route(lambda request: StreamingResponse(body())), "/p/1")
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

    app = one_route(lambda request: StreamingResponse(body(), media_type="text/event-stream"))
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


def test_a_client_that_leaves_before_the_answer_is_no_error(rig):
    """Who notices under uvicorn that nobody waits any more, and answers nothing (MCP's servers), has not failed."""

    async def noticing(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        server.should_exit = True

    app = Starlette(routes=[Mount("/m", app=noticing)])
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        serving = threading.Thread(target=server.run, args=([taken],))
        serving.start()
        with socket.create_connection(taken.getsockname()) as client:
            client.sendall(b"GET /m/x HTTP/1.1\r\nHost: a\r\n\r\n")
        serving.join(20)
    span = rig.only()
    assert span.status.status_code is StatusCode.UNSET
    assert not {"error.type", "http.response.status_code"} & set(span.attributes)
    (duration,) = rig.points("http.server.request.duration")
    assert "error.type" not in duration.attributes


def test_a_cancelled_request_ends_its_span(rig):
    """Cancellation passes through untouched, and leaves no span open."""

    async def waiting(request: Any) -> None:
        await asyncio.sleep(60)

    async def cancelled() -> None:
        task = asyncio.create_task(drive(one_route(waiting), scope_of("/p/1")))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    span = rig.only()
    assert span.attributes["error.type"] == "asyncio.exceptions.CancelledError"
    assert not span.events
