"""A WebSocket of FastAPI, and a client of it driven by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, WebSocket

from tests.asgi_rig import App, Message, drive, scope_of


def websocket_app(behave: Callable[[WebSocket], Awaitable[None]]) -> FastAPI:
    """An application whose `/ws/{room}` does that with its connection."""
    app = FastAPI()

    @app.websocket("/ws/{room}")
    async def endpoint(websocket: WebSocket, room: str) -> None:
        await behave(websocket)

    return app


def connect(app: App, *incoming: Message) -> list[Message]:
    """What the application sends on a connection to `/ws/lobby` that says this and goes."""
    scope = scope_of("/ws/lobby", type="websocket", scheme="ws", subprotocols=[])
    del scope["method"]
    messages = [{"type": "websocket.connect"}, *incoming, {"type": "websocket.disconnect", "code": 1000}]
    return asyncio.run(drive(app, scope, messages))
