"""The ASGI side: one small application for each path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from .report import Kind

if TYPE_CHECKING:
    from .process import Health

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
_METHODS = frozenset({"GET", "HEAD"})


class HealthRoute:
    """Answers one kind of question, to GET and HEAD.

    Args:
        health: of the process.
        kind: of the question.
    """

    def __init__(self, health: Health, kind: Kind) -> None:
        self._health = health
        self._kind = kind

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Message]], send: Send
    ) -> None:
        """The ASGI interface; scopes other than HTTP are ignored."""
        if scope["type"] != "http":
            return
        if scope.get("method") not in _METHODS:
            await _send(send, 405, b'{"status":"method not allowed"}', (b"allow", b"GET, HEAD"))
            return
        try:
            code, body = await self._health.answer(self._kind, scope)
        except Exception as error:  # noqa: BLE001 - a probe must get an answer
            self._health.guard.failed("health", error)
            # the process answers, so it lives; whether it is ready nobody knows
            code, body = (503, b'{"status":"unknown"}') if self._kind.checks else (200, b'{"status":"alive"}')
        await _send(send, code, b"" if scope["method"] == "HEAD" else body, (b"cache-control", b"no-store"), len(body))


async def _send(send: Send, code: int, body: bytes, header: tuple[bytes, bytes], length: int | None = None) -> None:
    size = str(len(body) if length is None else length).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", size), header]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
