"""A real application, asked anything: byte for byte the same messages, calls and exceptions with us as without.

Its companion in `tests/unit/test_asgi_robustness.py` has an application that sends anything; here the framework routes,
parses, streams, upgrades, runs background tasks and handles errors, and the client does what it likes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, WebSocket, WebSocketDisconnect
from hypothesis import given
from hypothesis import strategies as st
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse

from tests.asgi_rig import rigged

_ENVIRON = {
    # the echo of a request id is the one change of an answer that is meant
    "OTEL_DISTRO_REQUEST_ID": "accept",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": ".*",
}


def application(events: list[str]) -> FastAPI:  # noqa: C901 - one handler a line of behaviour
    """An application that tells in `events` what its parts were asked to do."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        events.append("started")
        yield {"state": "kept"}
        events.append("stopped")

    app = FastAPI(lifespan=lifespan, openapi_url=None, telemetry={"tracing": False, "metrics": False, "logs": False})

    async def dependency() -> AsyncIterator[str]:
        events.append("dependency in")
        try:
            yield "d"
        finally:
            events.append("dependency out")

    @app.get("/n/{n}")
    async def number(n: int, d: str = Depends(dependency)) -> dict[str, Any]:
        return {"n": n, "d": d}

    @app.post("/body")
    async def body(request: Request, tasks: BackgroundTasks) -> PlainTextResponse:
        tasks.add_task(events.append, "background")
        return PlainTextResponse(await request.body(), background=tasks)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for piece in (b"a", b"bc", b""):
                events.append("piece")
                yield piece

        return StreamingResponse(pieces())

    @app.get("/raise")
    def fail(how: str = "plain") -> None:
        if how == "http":
            raise HTTPException(418, detail="teapot")
        if how == "group":
            raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])
        raise RuntimeError(how)

    @app.websocket("/ws/{name}")
    async def talk(socket: WebSocket, name: str) -> None:
        await socket.accept()
        try:
            while True:
                await socket.send_text(f"{name}: {await socket.receive_text()}")
        except WebSocketDisconnect as end:
            events.append(f"gone {end.code}")

    async def dispatch(request: Request, call_next: Any) -> Any:
        events.append(f"middleware {request.method}")
        return await call_next(request)

    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    mounted = FastAPI(openapi_url=None)

    @mounted.get("/inner")
    async def inner() -> str:
        return "inner"

    app.mount("/sub", mounted)
    return app


_headers = st.lists(
    st.tuples(
        st.sampled_from([b"host", b"traceparent", b"content-type", b"content-length", b"x-request-id", b"origin"])
        | st.binary(max_size=6),
        st.binary(max_size=20),
    ),
    max_size=5,
)
_paths = st.sampled_from(
    ["/n/7", "/n/x", "/body", "/stream", "/raise", "/ws/a", "/sub/inner", "/sub/", "/none", "/", "//n/7", "/n/7/"]
) | st.text(max_size=8).map(lambda text: "/" + text)
_received = st.sampled_from(
    [
        {"type": "http.request", "body": b"abc", "more_body": True},
        {"type": "http.request", "body": b"", "more_body": False},
        {"type": "http.request"},
        {"type": "http.disconnect"},
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "hello"},
        {"type": "websocket.receive", "bytes": b"\x00"},
        {"type": "websocket.disconnect", "code": 1001},
        {"type": "lifespan.startup"},
        {"type": "lifespan.shutdown"},
    ]
)
_scopes = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["http", "http", "http", "websocket", "lifespan", "other"]),
        "path": _paths,
        "headers": _headers,
        "query_string": st.sampled_from([b"", b"how=http", b"how=group", b"a=1;token=x", b"\xff"])
        | st.binary(max_size=9),
        "method": st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "get", "X" * 30]),
    },
    optional={
        "client": st.none() | st.just(("1.2.3.4", 5)),
        "root_path": st.sampled_from(["", "/root"]),
        "http_version": st.sampled_from(["1.1", "2", ""]),
        "scheme": st.sampled_from(["http", "wss", ""]),
        "subprotocols": st.just(["a"]),
        "extensions": st.just({"http.response.pathsend": {}, "websocket.http.response": {}}),
    },
)


async def observed(scope: dict[str, Any], received: list[Any], fails_at: int, cancel_at: int) -> tuple[Any, ...]:
    """Everything the server sees and the application did."""
    events: list[str] = []
    sent: list[Any] = []
    waiting = list(received)

    async def receive() -> Any:
        events.append("receive")
        if waiting:
            return dict(waiting.pop(0))
        return {"type": {"http": "http.disconnect", "websocket": "websocket.disconnect"}.get(scope["type"], "end")}

    async def send(message: Any) -> None:
        sent.append(dict(message))
        if len(sent) == fails_at:
            raise OSError("the client is gone")
        if len(sent) == cancel_at:
            task.cancel()
        await asyncio.sleep(0)

    asked = {**scope, "headers": list(scope["headers"]), "asgi": {"version": "3.0"}}
    if scope["type"] == "lifespan":
        asked["state"] = {}
    task = asyncio.ensure_future(application(events)(asked, receive, send))
    try:
        ended: Any = await asyncio.wait_for(asyncio.shield(asyncio.gather(task, return_exceptions=True)), 20)
    except asyncio.CancelledError:
        ended = ["cancelled"]
    return sent, events, [(type(end), str(end)) for end in ended], waiting


@given(_scopes, st.lists(_received, max_size=5), st.sampled_from([0, 0, 1, 2]), st.sampled_from([0, 0, 0, 1, 2]))
def test_an_application_behaves_as_if_it_were_alone(
    scope: dict[str, Any], received: list[Any], fails_at: int, cancel_at: int
) -> None:
    """Any request, body, disconnect, WebSocket talk, failing send or cancellation: both sides see the same."""
    bare = asyncio.run(observed(scope, received, fails_at, cancel_at))
    with rigged(_ENVIRON) as rig:
        ours = asyncio.run(observed(scope, received, fails_at, cancel_at))
        assert all(point.value == 0 for point in rig.points("http.server.active_requests"))
        assert rig.lines == []
    assert ours == bare
