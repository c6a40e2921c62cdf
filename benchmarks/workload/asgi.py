"""Requests without a server: an application is called with a prepared scope, receive and send."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextvars import ContextVar
from typing import Any

from starlette.routing import BaseRoute

Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]

_CHUNK = 64 * 1024  # as large as uvicorn's own pieces of a body
_HEADERS = (
    (b"host", b"127.0.0.1:8000"),
    (b"user-agent", b"bench/1.0"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"x-request-id", b"6f1c2c1e5b1f4d0c"),
    (b"content-type", b"application/octet-stream"),
)


class Request:
    """One kind of request, prepared once and sent many times.

    Args:
        app: The ASGI application.
        method: HTTP method.
        path: Path without a query.
        size: Bytes of the body.
        fails: Whether the application is expected to raise.
    """

    def __init__(self, app: App, method: str, path: str, *, size: int = 0, fails: bool = False) -> None:
        self._app = app
        self._fails = fails
        headers = [*_HEADERS, (b"content-length", str(size).encode())] if size else list(_HEADERS)
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 54321),
            "server": ("127.0.0.1", 8000),
        }
        pieces = [b"x" * min(_CHUNK, size - start) for start in range(0, size, _CHUNK)] or [b""]
        self._messages = [
            {"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1}
            for number, piece in enumerate(pieces)
        ]

    async def send(self) -> None:
        """Runs the request in a task of its own, as a server does, and swallows the failure it expects."""
        task = asyncio.ensure_future(self._call(_ignore))
        await task

    async def status(self) -> int:
        """Runs the request and gives the status of its response."""
        seen = []

        async def record(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.append(message["status"])

        await asyncio.ensure_future(self._call(record))
        return int(seen[0])

    async def _call(self, send: Callable[[Message], Awaitable[None]]) -> None:
        messages = iter(self._messages)

        async def receive() -> Message:
            message = next(messages, None)
            return {"type": "http.disconnect"} if message is None else dict(message)

        scope = {**self._scope, "headers": list(self._scope["headers"]), "state": {}}
        if self._fails:
            try:
                await self._app(scope, receive, send)
            except ValueError:
                pass
        else:
            await self._app(scope, receive, send)


async def _ignore(message: Message) -> None:
    """The other end of the connection: takes everything."""


def wrapped(app: App, kind: str) -> App:
    """The limits of what is possible: `app` in a wrapper that does nothing ("noop") or sets and resets one
    context variable ("contextvar")."""
    if kind == "noop":
        return _Noop(app)
    if kind == "contextvar":
        return _Contextvar(app)
    return app


class Walk:
    """`app`, but all routes of another application are matched in vain before.

    Args:
        app: What answers.
        routes: Of the other one.
    """

    __slots__ = ("_app", "_routes")

    def __init__(self, app: App, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        asked = {**scope, "path": "/elsewhere"}
        for route in self._routes:
            route.matches(asked)
        await self._app(scope, receive, send)


class _Noop:
    __slots__ = ("_app",)

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


class _Contextvar:
    __slots__ = ("_app", "_variable")

    def __init__(self, app: App) -> None:
        self._app = app
        self._variable: ContextVar[object] = ContextVar("bench")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        token = self._variable.set(scope)
        try:
            await self._app(scope, receive, send)
        finally:
            self._variable.reset(token)
