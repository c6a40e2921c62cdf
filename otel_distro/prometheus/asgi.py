"""`/metrics` as an ASGI application, for those who want it on the application's own port."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from otel_distro import loops
from otel_distro.guard import Guard
from otel_distro.propagation import join_headers

from .scraper import Answer

Message = MutableMapping[str, Any]
Scrape = Callable[[str, str], Answer]
_MOST: Final = 32
"""Scrapes at a time, as many as the port takes."""


class MetricsRoute:
    """Answers GET and HEAD with the metrics, in threads of its own.

    The event loop's pool is the application's: a scrape that waits would keep a place in it and hold up the end, and
    one that finds no place would wait for the application's work.

    Args:
        scrape: such as `Endpoint.scrape`; gets the request's `Accept` and `Accept-Encoding`.
        guard: gets a scrape that fails; the client then gets status 500.
    """

    def __init__(self, scrape: Scrape, guard: Guard) -> None:
        self._scrape = scrape
        self._guard = guard
        self._running: set[threading.Thread] = set()

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
        if len(self._running) >= _MOST:
            await _send(send, 503, ((b"content-type", b"text/plain"),), b"503 Service Unavailable\n")
            return
        given = join_headers((bytes(name).lower(), bytes(value)) for name, value in scope["headers"])
        accept, encoding = (given.get(name, b"").decode("latin-1") for name in (b"accept", b"accept-encoding"))
        try:
            answer = await self._in_thread(accept, encoding)
        except Exception as error:  # noqa: BLE001 - the next scrape may succeed
            self._guard.failed("prometheus scrape", error)
            await _send(send, 500, ((b"content-type", b"text/plain"),), b"500 Internal Server Error\n")
            return
        headers = [(name.encode(), value.encode()) for name, value in answer.headers]
        headers.append((b"content-length", str(len(answer.body)).encode()))
        await _send(send, 200, tuple(headers), b"" if scope["method"] == "HEAD" else answer.body)

    async def _in_thread(self, accept: str, encoding: str) -> Answer:
        scraped = loops.running().waiter()
        answers: list[Answer | Exception] = []

        def run() -> None:
            try:
                answers.append(self._scrape(accept, encoding))
            except Exception as error:  # noqa: BLE001 - told where the scrape was asked for
                answers.append(error)
            self._running.discard(thread)
            scraped.end()

        thread = threading.Thread(target=run, name="otel-distro-scrape", daemon=True)
        self._running.add(thread)
        try:
            thread.start()
        except RuntimeError:
            self._running.discard(thread)
            raise
        await scraped.ended()
        [answer] = answers
        if isinstance(answer, Exception):
            raise answer
        return answer


async def _send(
    send: Callable[[Message], Awaitable[None]], status: int, headers: tuple[tuple[bytes, bytes], ...], body: bytes
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
