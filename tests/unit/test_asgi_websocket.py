"""WebSockets: one span for the life of a connection."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import WebSocket
from opentelemetry.trace import SpanKind, StatusCode

from tests.asgi_rig import Broken, drive, scope_of
from tests.websocket_rig import connect, websocket_app


def test_a_websocket_has_one_span_for_its_life(rig):
    """One span from the handshake to the end, named by the route, with the handshake's status."""

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    sent = connect(websocket_app(echo), {"type": "websocket.receive", "text": "hello"})
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    span = rig.only()
    assert span.name == "WS /ws/{room}"
    assert span.kind is SpanKind.SERVER
    assert span.attributes["http.response.status_code"] == 101
    assert span.attributes["url.scheme"] == "ws"
    assert span.attributes["network.protocol.name"] == "websocket"
    assert span.attributes["http.request.method"] == "GET"


def test_a_refused_handshake_says_so(rig):
    """Closing before accepting is the answer 403 (ASGI specification, WebSocket close)."""

    async def refuse(websocket: WebSocket) -> None:
        await websocket.close()

    connect(websocket_app(refuse))
    assert rig.only().attributes["http.response.status_code"] == 403


@pytest.mark.parametrize(
    ("code", "error"),
    [(1000, None), (1001, None), (1005, None), (1006, "WebSocketDisconnect"), (1011, "WebSocketDisconnect")],
)
def test_a_normal_disconnect_is_no_error(rig, code, error):
    """Only an abnormal end of the connection that nobody handled is one."""

    async def listen(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()

    scope = scope_of("/ws/lobby", type="websocket", scheme="ws", subprotocols=[])
    messages = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": code}]
    with pytest.raises(Exception, match=str(code)):
        asyncio.run(drive(websocket_app(listen), scope, messages))
    found = rig.only().attributes.get("error.type")
    assert found is None if error is None else found.endswith(error)


def test_a_failing_websocket_is_an_error(rig):
    """What nobody handled is on the span."""

    async def broken(websocket: WebSocket) -> None:
        await websocket.accept()
        raise Broken("no database")

    with pytest.raises(Broken):
        connect(websocket_app(broken))
    span = rig.only()
    assert span.status.status_code is StatusCode.ERROR
    assert len(span.events) == 1
