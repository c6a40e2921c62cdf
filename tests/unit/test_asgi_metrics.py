"""The server metrics: what is measured, by which attributes, and never mixed between requests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

from otel_distro.conventions import HTTP_DURATION_BOUNDARIES
from tests.asgi_rig import drive, get, rigged, scope_of

DURATION = "http.server.request.duration"
REQUEST_SIZE = "http.server.request.body.size"
RESPONSE_SIZE = "http.server.response.body.size"
ACTIVE = "http.server.active_requests"


def _app(handler: Any, path: str = "/p/{x}") -> Starlette:
    return Starlette(routes=[Route(path, handler, methods=["GET", "POST"])])


async def _reading(request: Request) -> PlainTextResponse:
    return PlainTextResponse("x" * len(await request.body()))


def test_duration(rig):
    """One histogram in seconds with the advised boundaries, by route and status and never by path."""
    for number in range(3):
        get(_app(_reading), f"/p/{number}")
    [point] = rig.points(DURATION)
    assert dict(point.attributes) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/p/{x}",
        "network.protocol.version": "1.1",
        "url.scheme": "http",
    }
    assert point.count == 3
    assert 0 < point.sum < 3
    assert tuple(point.explicit_bounds) == HTTP_DURATION_BOUNDARIES


def test_a_stranger_makes_no_series(rig):
    """Versions of HTTP that there are not, and schemes that are none, are not told apart."""
    for number in range(10):
        get(_app(_reading), "/p/1", http_version=f"{number}.{number + 2}", scheme=f"s{number}")
    [point] = rig.points(DURATION)
    assert dict(point.attributes) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/p/{x}",
        "url.scheme": "http",
    }


def test_failures_are_told_apart(rig):
    """`error.type` is the exception's or the status, and absent from what went well."""

    def handler(request: Request) -> PlainTextResponse:
        if request.path_params["x"] == "boom":
            raise LookupError
        return PlainTextResponse("", status_code=int(request.path_params["x"]))

    for path in ("200", "404", "503", "boom"):
        try:
            get(_app(handler), f"/p/{path}")
        except LookupError:
            pass
    found = {(p.attributes["http.response.status_code"], p.attributes.get("error.type")) for p in rig.points(DURATION)}
    assert found == {(200, None), (404, None), (503, "503"), (500, "LookupError")}


def test_active_requests_come_back_to_zero(rig):
    """A request counts while it lasts, however it ends."""
    during: list[Any] = []

    async def handler(request: Request) -> PlainTextResponse:
        during.extend(point.value for point in rig.points(ACTIVE))
        if request.path_params["x"] == "boom":
            raise LookupError
        return PlainTextResponse("")

    for path in ("fine", "boom"):
        try:
            get(_app(handler), f"/p/{path}")
        except LookupError:
            pass
    [point] = rig.points(ACTIVE)
    assert during == [1, 1]
    assert point.value == 0
    assert dict(point.attributes) == {"http.request.method": "GET", "url.scheme": "http"}


def test_body_sizes_by_content_length(rig):
    """What the request announced and what the response really sent, in bytes."""
    scope = scope_of("/p/1", "POST", headers={"content-length": "5"})
    asyncio.run(drive(_app(_reading), scope, [{"type": "http.request", "body": b"12345"}]))
    assert [(p.count, p.sum) for p in rig.points(REQUEST_SIZE)] == [(1, 5)]
    assert [(p.count, p.sum) for p in rig.points(RESPONSE_SIZE)] == [(1, 5)]


@pytest.mark.parametrize("how", [{"headers": {"transfer-encoding": "chunked"}}, {"http_version": "2"}])
def test_bodies_without_a_length_are_counted(rig, how):
    """A chunked request, or one of HTTP/2, is as long as what the application read of it."""
    chunks = [{"type": "http.request", "body": b"123", "more_body": True}, {"type": "http.request", "body": b"45"}]
    asyncio.run(drive(_app(_reading), scope_of("/p/1", "POST", **how), chunks))
    assert [(p.count, p.sum) for p in rig.points(REQUEST_SIZE)] == [(1, 5)]


def test_requests_without_a_body_have_no_size(rig):
    """A GET without a body does not fill the histogram with zeros."""
    get(_app(_reading), "/p/1")
    assert rig.points(REQUEST_SIZE) == []


@pytest.mark.parametrize("length", ["-1", "1e9", "", "9" * 40, "5, 5"])
def test_a_nonsensical_length_is_no_size(rig, length):
    """A content length that is no number is left out, and nothing fails."""
    get(_app(_reading), "/p/1", "POST", headers={"content-length": length})
    assert rig.points(REQUEST_SIZE) == []
    assert len(rig.points(DURATION)) == 1


def test_streams_are_counted(rig):
    """A response without a content length has the size of what was sent."""

    async def body() -> Any:
        for _ in range(3):
            yield b"1234"

    get(_app(lambda request: StreamingResponse(body())), "/p/1")
    assert [p.sum for p in rig.points(RESPONSE_SIZE)] == [12]


def test_files_sent_by_the_server_have_their_size(rig, tmp_path):
    """With `http.response.pathsend` the server reads the file, whose size counts all the same."""
    file = tmp_path / "file.txt"
    file.write_bytes(b"1234567")
    extensions = {"http.response.pathsend": {}}
    sent = get(_app(lambda request: FileResponse(file)), "/p/1", extensions=extensions)
    assert [p.sum for p in rig.points(RESPONSE_SIZE)] == [7]
    assert len(rig.take()) == 1
    assert sent[-1]["type"] in {"http.response.pathsend", "http.response.body"}


def test_websockets_are_not_measured(rig):
    """Connections that last for hours do not belong into a histogram of requests."""

    async def endpoint(websocket: Any) -> None:
        await websocket.accept()
        await websocket.close()

    scope = scope_of("/ws", type="websocket", scheme="ws", subprotocols=[])
    app = Starlette(routes=[WebSocketRoute("/ws", endpoint)])
    asyncio.run(drive(app, scope, [{"type": "websocket.connect"}]))
    assert len(rig.take()) == 1
    assert rig.points(DURATION) == []
    assert rig.points(ACTIVE) == []


def test_metrics_do_not_depend_on_sampling():
    """Every request is measured, sampled or not."""
    with rigged(sampler="always_off") as rig:
        for _ in range(4):
            get(_app(_reading), "/p/1")
        assert rig.take() == []
        assert [p.count for p in rig.points(DURATION)] == [4]


def test_exemplars_name_the_span():
    """A sampled request leaves its trace beside the number."""
    with rigged() as rig:
        get(_app(_reading), "/p/1")
        [point] = rig.points(DURATION)
        span = rig.only()
        assert [e.span_id for e in point.exemplars] == [span.context.span_id]


def test_applications_share_their_instruments():
    """Two applications measure into one metric, without a conflict of instruments."""
    with rigged() as rig:
        get(_app(_reading), "/p/1")
        get(_app(_reading), "/p/1")
        assert [p.count for p in rig.points(DURATION)] == [2]
        assert rig.lines == []


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=2, max_size=12))
def test_concurrent_requests_never_mix_sizes(sizes):
    """Whatever is in flight at the same time, each route's sizes are its own (contrib #5081)."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        number = int(scope["path"].rsplit("/", 1)[1])
        more = True
        while more:
            more = (await receive()).get("more_body")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(sizes[number][1]):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    app = Starlette(routes=[Mount(f"/n{number}", app=asgi) for number in range(len(sizes))])

    async def all_at_once() -> None:
        requests = []
        for number, (received, _) in enumerate(sizes):
            scope = scope_of(f"/n{number}/{number}", "POST", headers={"transfer-encoding": "chunked"})
            chunks = [{"type": "http.request", "body": b"y", "more_body": True}] * received
            requests.append(drive(app, scope, chunks))
        await asyncio.gather(*requests)

    with rigged() as rig:
        asyncio.run(all_at_once())
        for name, index in ((REQUEST_SIZE, 0), (RESPONSE_SIZE, 1)):
            found = {point.attributes["http.route"]: point.sum for point in rig.points(name)}
            assert found == {f"/n{number}/{{path}}": size[index] for number, size in enumerate(sizes)}
