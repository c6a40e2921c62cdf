"""The truth: how many requests a client sent, how many were answered whole, and how many nobody can know about."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Self

_PATIENCE = 60.0  # seconds for one answer: a busy machine may take long to start workers anew


@dataclass
class Truth:
    """What the client knows.

    Attributes:
        sent: requests that left the client.
        answered: of these, how many were answered with 200 and a whole body.
        refused: connections that never came about; nothing was sent on them.
        pids: processes that answered, with how many answers.
    """

    sent: int = 0
    answered: int = 0
    refused: int = 0
    pids: dict[int, int] = field(default_factory=dict)

    @property
    def unknown(self) -> int:
        """Requests whose connection broke: the server may have finished them or not."""
        return self.sent - self.answered


class Load:
    """Clients that send one request a connection, as fast as they are answered, until they are stopped.

    Args:
        port: of the application.
        clients: that send at the same time: the most requests in flight.
        path: requested, `{number}` filled in.
    """

    def __init__(self, port: int, clients: int = 16, path: str = "/job/{number}") -> None:
        self.truth = Truth()
        self.clients = clients
        self._port = port
        self._path = path
        self._ended = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> Truth:
        """Let every client finish its request; the truth is final then."""
        self._ended = True
        self._thread.join()
        return self.truth

    def wait_for(self, answered: int, seconds: float = 30.0) -> None:
        """Wait until so many requests have been answered.

        Raises:
            TimeoutError: they have not.
        """
        end = time.monotonic() + seconds
        while self.truth.answered < answered:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.truth} after {seconds:g} s, {answered} answers expected")
            time.sleep(0.02)

    async def _run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self.clients)))

    async def _client(self) -> None:
        while not self._ended:
            if not await self._one():
                await asyncio.sleep(random.uniform(0.01, 0.05))

    async def _one(self) -> bool:
        """One request on a connection of its own; whether it was answered."""
        truth = self.truth
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            truth.refused += 1
            return False
        try:
            truth.sent += 1
            path = self._path.format(number=truth.sent)
            writer.write(f"GET {path} HTTP/1.1\r\nhost: chaos\r\nconnection: close\r\n\r\n".encode())
            head, _, body = (await asyncio.wait_for(reader.read(-1), _PATIENCE)).partition(b"\r\n\r\n")
            pid = json.loads(body)["pid"] if head.startswith(b"HTTP/1.1 200") else 0
        except (OSError, ValueError, TimeoutError):
            return False
        finally:
            writer.close()
        if pid:
            truth.answered += 1
            truth.pids[pid] = truth.pids.get(pid, 0) + 1
        return bool(pid)
