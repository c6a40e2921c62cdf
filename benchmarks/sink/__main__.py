"""`python -m benchmarks.sink`: prints its port, then takes OTLP, Sentry and Datadog traffic until its input closes.

Bodies are only kept while a round runs and counted when `GET /counts` asks, so that counting takes no core from
what is measured. `GET /ok` answers a small JSON: the server that the httpx and requests cases call.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Callable

from benchmarks.sink.counting import datadog_spans, otlp_spans, sentry_spans

_OK = b'{"ok": true, "name": "item", "price": 2.5}'
_INFO = b'{"version": "7.60.0", "endpoints": ["/v0.4/traces", "/v0.5/traces", "/v0.6/stats"], "client_drop_p0s": true}'
_COUNTERS: tuple[tuple[str, Callable[[bytes], int]], ...] = (
    ("/v1/traces", otlp_spans),
    ("/v0.4/traces", datadog_spans),
    ("/v0.5/traces", datadog_spans),
    ("/envelope/", sentry_spans),
)


class Received:
    """Bodies by path since the last count."""

    def __init__(self) -> None:
        self._bodies: defaultdict[str, list[bytes]] = defaultdict(list)

    def add(self, path: str, body: bytes) -> None:
        self._bodies[path].append(body)

    def count(self) -> dict[str, dict[str, int]]:
        """By path: spans (where the path carries them), bodies and bytes; starts again at zero."""
        bodies, self._bodies = self._bodies, defaultdict(list)
        return {path: _summary(path, held) for path, held in bodies.items()}


def _summary(path: str, bodies: list[bytes]) -> dict[str, int]:
    counter = next((count for suffix, count in _COUNTERS if path.endswith((suffix, f"{suffix}/"))), None)
    spans = sum(counter(body) for body in bodies) if counter else 0
    return {"spans": spans, "bodies": len(bodies), "bytes": sum(map(len, bodies))}


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, as little of it as the peers speak: Content-Length or chunked bodies."""

    def __init__(self, received: Received) -> None:
        self._received = received
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            body = _body(head.lower(), self._buffer, end + 4)
            if body is None:
                return
            content, position = body
            self._buffer = self._buffer[position:]
            method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
            self._answer(method, path.partition("?")[0], content)

    def _answer(self, method: str, path: str, body: bytes) -> None:
        kind = b"application/json"
        if path == "/ok":
            answer = _OK
        elif path == "/info":
            answer = _INFO
        elif path == "/counts":
            answer = json.dumps(self._received.count()).encode()
        else:
            self._received.add(path, body)
            otlp = path.endswith(("/v1/traces", "/v1/metrics", "/v1/logs"))
            kind, answer = (b"application/x-protobuf", b"") if otlp else (kind, b"{}")
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(answer), answer)
        )


def _body(head: bytes, buffer: bytes, start: int) -> tuple[bytes, int] | None:
    """The body that starts at `start` and the position behind it; None while it is not complete."""
    if b"\r\ntransfer-encoding: chunked" in head:
        return _chunked(buffer, start)
    _, _, after = head.partition(b"\r\ncontent-length:")
    size = int(after.split(b"\r\n", 1)[0]) if after else 0
    return (buffer[start : start + size], start + size) if len(buffer) >= start + size else None


def _chunked(buffer: bytes, position: int) -> tuple[bytes, int] | None:
    pieces: list[bytes] = []
    while (line := buffer.find(b"\r\n", position)) >= 0:
        size = int(buffer[position:line].split(b";", 1)[0], 16)
        position = line + 2 + size + 2
        if len(buffer) < position:
            return None
        if size == 0:
            return b"".join(pieces), position
        pieces.append(buffer[line + 2 : line + 2 + size])
    return None


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    received = Received()
    server = await loop.create_server(lambda: Connection(received), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # ends with its parent


if __name__ == "__main__":
    asyncio.run(_serve())
