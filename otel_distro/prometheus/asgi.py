"""`/metrics` as an ASGI application, for those who want it on the application's own port."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from otel_distro.guard import Guard

from .scraper import Answer

Message = MutableMapping[str, Any]
Scrape = Callable[[str, str], Answer]


class MetricsRoute:
    """Answers GET and HEAD with the metrics, in a thread of the event loop's pool.

    Args:
        scrape: such as `Endpoint.scrape`; gets the request's `Accept` and `Accept-Encoding`.
        guard: gets a scrape that fails; the client then gets status 500.
    """

    def __init__(self, scrape: Scrape, guard: Guard) -> None:
        self._scrape = scrape
        self._guard = guard

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """The ASGI interface; scopes other than HTTP are ignored."""
        if scope["type"] != "http":
            return
        if scope["method"] not in {"GET", "HEAD"}:
            await _send(send, 405, ((b"allow", b"GET, HEAD"),), b"")
            return
        given = {bytes(name).lower(): bytes(value).decode("latin-1") for name, value in scope["headers"]}
        try:
            answer = await asyncio.get_running_loop().run_in_executor(
                None, self._scrape, given.get(b"accept", ""), given.get(b"accept-encoding", "")
            )
        except Exception as error:  # noqa: BLE001 - the next scrape may succeed
            self._guard.failed("prometheus scrape", error)
            await _send(send, 500, ((b"content-type", b"text/plain"),), b"500 Internal Server Error\n")
            return
        headers = [(name.encode(), value.encode()) for name, value in answer.headers]
        headers.append((b"content-length", str(len(answer.body)).encode()))
        await _send(send, 200, tuple(headers), b"" if scope["method"] == "HEAD" else answer.body)


async def _send(
    send: Callable[[Message], Awaitable[None]], status: int, headers: tuple[tuple[bytes, bytes], ...], body: bytes
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
