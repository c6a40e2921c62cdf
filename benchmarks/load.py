"""`python -m benchmarks.load`: keep-alive connections that ask one path as fast as they are answered."""

from __future__ import annotations

import argparse
import asyncio
import json
from time import perf_counter


class Client(asyncio.Protocol):
    """One connection; the next request leaves when the last one is answered.

    Args:
        request: The request's bytes.
        latencies: Seconds of each answered request, added to.
        deadline: Time of `perf_counter` after which no request leaves.
    """

    def __init__(self, request: bytes, latencies: list[float], deadline: float) -> None:
        self._request = request
        self._latencies = latencies
        self._deadline = deadline
        self._buffer = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        size = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(self._buffer) < end + 4 + size:
            return
        if not head.startswith(b"http/1.1 200"):
            self.done.set_exception(RuntimeError(head.decode("latin-1")))
            return
        self._buffer = b""
        now = perf_counter()
        self._latencies.append(now - self._sent)
        if now < self._deadline:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        self._sent = perf_counter()
        self._transport.write(self._request)


async def load(port: int, path: str, connections: int, seconds: float) -> dict[str, float]:
    """Requests, seconds and latency percentiles (ms) of `connections` connections to 127.0.0.1:`port`.

    Raises:
        RuntimeError: an answer other than 200.
    """
    loop = asyncio.get_running_loop()
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n".encode()
    latencies: list[float] = []
    started = perf_counter()
    opened = [
        await loop.create_connection(lambda: Client(request, latencies, started + seconds), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(client.done for _, client in opened))
    wall = perf_counter() - started
    ordered = sorted(latencies)
    at = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    percentiles = {name: 1000 * ordered[int(share * (len(ordered) - 1))] for name, share in at.items()}
    return {"requests": len(ordered), "wall_s": wall, **percentiles}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(load(given.port, given.path, given.connections, given.seconds))))
