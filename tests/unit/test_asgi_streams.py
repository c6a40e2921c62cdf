"""Server-sent events and WebSockets: active, duration, events and messages by route; plain requests stay out of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from starlette.responses import Response, StreamingResponse

from tests.asgi_rig import Broken, Rig, get, rigged
from tests.websocket_rig import connect, websocket_app


def streaming(*parts: bytes, seen: Callable[[], None] = lambda: None, **how: Any) -> FastAPI:
    """An application whose `/events/{topic}` sends these parts and calls `seen` after each."""
    app = FastAPI()

    async def body() -> AsyncIterator[bytes]:
        for part in parts:
            yield part
            seen()

    @app.get("/events/{topic}")
    async def events(topic: str) -> Response:
        return StreamingResponse(body(), **{"media_type": "text/event-stream", **how})

    return app


def found(rig: Rig, name: str) -> dict[tuple[tuple[str, Any], ...], Any]:
    """Value or count by attributes."""
    return {
        tuple(sorted(point.attributes.items())): getattr(point, "count", None) or getattr(point, "value", None)
        for point in rig.points(name)
    }


ROUTE = (("http.route", "/events/{topic}"),)
ROOM = ("http.route", "/ws/{room}")


@pytest.mark.parametrize(
    ("parts", "events"),
    [
        ([b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"], 3),
        ([b"data: 1\r\n\r\n", b"event: x\r\ndata: 2\r\n\r\n"], 2),
        ([b"data: 1\n\ndata: 2\n\n"], 2),
        ([b"id: 1\n", b"data: a\n", b"data: b\n\n"], 1),
        ([b"data: 1\n\n", b": ping\n\n", b": ping\r\n\r\n"], 1),
    ],
)
def test_events_are_counted_where_they_end(rig: Rig, parts: list[bytes], events: int) -> None:
    """An event is its blank line, in either line ending, however the body is cut; comments are none."""
    get(streaming(*parts), "/events/orders")
    assert found(rig, "sse.server.events") == {ROUTE: events}
    assert found(rig, "sse.server.connection.duration") == {ROUTE: 1}


def test_a_stream_is_active_while_it_lasts(rig: Rig) -> None:
    """Active and events are there while the connection is open, by route; at its end the first is zero again."""
    during: list[Any] = []
    app = streaming(
        b"data: 1\n\n",
        b"data: 2\n\n",
        seen=lambda: during.append(
            (found(rig, "sse.server.active_connections"), found(rig, "sse.server.events"))
        ),
    )  # fmt: skip
    get(app, "/events/orders")
    assert during == [({ROUTE: 1}, {ROUTE: 1}), ({ROUTE: 1}, {ROUTE: 2})]
    assert [p.value for p in rig.points("sse.server.active_connections")] == [0]


@pytest.mark.parametrize(
    "how",
    [
        {"media_type": "text/event-stream"},
        {"media_type": None, "headers": {"Content-Type": "text/event-stream"}},
        {"media_type": None, "headers": {"x": "y", "content-type": "Text/Event-Stream; charset=utf-8", "z": "1"}},
    ],
)
def test_a_stream_is_known_by_its_content_type(rig: Rig, how: dict[str, Any]) -> None:
    """Wherever the header stands and however it is spelled."""
    get(streaming(b"data: 1\n\n", **how), "/events/orders")
    assert found(rig, "sse.server.events") == {ROUTE: 1}


def test_other_answers_in_parts_are_no_streams(rig: Rig) -> None:
    """A file in pieces is a request like any other."""
    get(streaming(b"a\n\n", b"b\n\n", media_type="text/csv"), "/events/orders")
    assert found(rig, "sse.server.events") == {}
    assert found(rig, "sse.server.active_connections") == {}
    assert len(rig.points("http.server.request.duration")) == 1


def test_a_stream_that_breaks_has_its_error(rig: Rig) -> None:
    """The duration of a broken stream carries `error.type`, and nothing stays active."""

    def broken() -> None:
        raise Broken("lost")

    with pytest.raises(Exception, match=r"lost|TaskGroup"):  # older versions of Starlette leave it in its group
        get(streaming(b"data: 1\n\n", seen=broken), "/events/orders")
    ((attributes, count),) = found(rig, "sse.server.connection.duration").items()
    assert count == 1
    assert dict(attributes)["error.type"].endswith(("Broken", "ExceptionGroup"))
    assert [p.value for p in rig.points("sse.server.active_connections")] == [0]


def test_a_client_that_leaves_ends_the_stream(rig: Rig) -> None:
    """A browser tab that closes is no error; the connection is no longer active."""
    app = FastAPI()

    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b"data: tick\n\n"
            await asyncio.sleep(0.001)

    @app.get("/events/{topic}")
    async def events(topic: str) -> Response:
        return StreamingResponse(body(), media_type="text/event-stream")

    get(app, "/events/orders", leaves=True)
    assert [p.value for p in rig.points("sse.server.active_connections")] == [0]
    assert found(rig, "sse.server.connection.duration") == {ROUTE: 1}


def test_the_last_part_counts_too(rig: Rig) -> None:
    """An application without a framework may send its last event in the last message."""
    app = FastAPI()

    async def raw(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b"data: 2\n\n"})

    app.mount("/raw", raw)
    get(app, "/raw/x")
    ((_, events),) = found(rig, "sse.server.events").items()
    assert events == 2


def test_a_websockets_messages_are_counted_both_ways(rig: Rig) -> None:
    """Text and bytes, in and out, by route; the handshake's and the end's messages are none."""
    during: list[Any] = []

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        for _ in range(2):
            await websocket.send_text(await websocket.receive_text())
        await websocket.send_bytes(b"bye")
        during.append(found(rig, "websocket.server.active_connections"))
        await websocket.close()

    connect(websocket_app(echo), *[{"type": "websocket.receive", "text": "hello"}] * 2)
    assert during == [{(ROOM,): 1}]
    assert found(rig, "websocket.server.messages") == {
        (ROOM, ("network.io.direction", "transmit")): 3,
        (ROOM, ("network.io.direction", "receive")): 2,
    }
    assert found(rig, "websocket.server.connection.duration") == {(ROOM,): 1}
    assert [p.value for p in rig.points("websocket.server.active_connections")] == [0]
    assert not rig.points("http.server.request.duration")


def test_a_refused_websocket_was_never_open(rig: Rig) -> None:
    """Without a handshake there is no connection to count."""

    async def refuse(websocket: WebSocket) -> None:
        await websocket.close()

    connect(websocket_app(refuse))
    assert found(rig, "websocket.server.connection.duration") == {}
    assert found(rig, "websocket.server.active_connections") == {}


def test_without_metrics_streams_are_only_passed_on() -> None:
    """An application that wants no metrics has none of these either, and its answers are whole."""
    app = FastAPI(telemetry={"metrics": False}) if "telemetry" in FastAPI.__init__.__annotations__ else None
    if app is None:
        pytest.skip("this FastAPI has no telemetry of its own to switch off")
    app.mount("/x", streaming(b"data: 1\n\n", b"data: 2\n\n"))
    with rigged() as rig:
        sent = get(app, "/x/events/orders")
        assert b"".join(m.get("body", b"") for m in sent) == b"data: 1\n\ndata: 2\n\n"
        assert found(rig, "sse.server.events") == {}
