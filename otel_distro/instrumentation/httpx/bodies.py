"""Bodies of answers that tell when they have been read, closed or lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from otel_distro.instrumentation.http_client import Exchange

if TYPE_CHECKING:
    from httpx import AsyncByteStream, SyncByteStream

Make = Callable[[Any, Exchange], Any]
"""Makes a body of the library's own stream."""


def bodies_of(httpx: ModuleType) -> tuple[Make, Make]:
    """The two classes below as kinds of the library's own streams, which is what it asks for: sync and async."""
    sync = type("SyncBody", (SyncBody, httpx.SyncByteStream), {})
    return sync, type("AsyncBody", (AsyncBody, httpx.AsyncByteStream), {})


class SyncBody:
    """The body of an answer.

    Args:
        stream: httpx's own.
        exchange: ends with it: when it is closed, when reading fails, or when it is garbage that nobody closed.
    """

    def __init__(self, stream: SyncByteStream, exchange: Exchange) -> None:
        self._stream = stream
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except Exception as error:
            self._exchange.fail(error)
            raise

    def close(self) -> None:
        """Close httpx's stream and end the span."""
        try:
            self._stream.close()
        finally:
            self._exchange.end()

    def __del__(self) -> None:
        if self._exchange.started is not None:
            self._exchange.end()


class AsyncBody:
    """The same, asynchronous."""

    def __init__(self, stream: AsyncByteStream, exchange: Exchange) -> None:
        self._stream = stream
        self._exchange = exchange

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Chunks(self._stream, self._exchange)

    async def aclose(self) -> None:
        """Close httpx's stream and end the span."""
        try:
            await self._stream.aclose()
        finally:
            self._exchange.end()

    def __del__(self) -> None:
        if self._exchange.started is not None:
            self._exchange.end()


class _Chunks:
    """Reads a body once; the event loop would have to keep track of a generator.

    Only the reader holds it: when that stops, httpx's generator is garbage, as without us, and frees the connection.
    """

    __slots__ = ("_chunks", "_exchange", "_next")

    def __init__(self, stream: AsyncByteStream, exchange: Exchange) -> None:
        self._chunks: Any = stream.__aiter__()
        self._next = self._chunks.__anext__
        self._exchange = exchange

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._next()
        except StopAsyncIteration:
            raise
        except Exception as error:
            self._exchange.fail(error)
            raise

    # the rest of a generator: httpx2 closes one whose reader has stopped, and knows it by these methods
    async def asend(self, value: object) -> bytes:
        """Hand on."""
        sent: bytes = await self._chunks.asend(value)
        return sent

    async def athrow(self, *error: Any) -> bytes:
        """Hand on."""
        thrown: bytes = await self._chunks.athrow(*error)
        return thrown

    async def aclose(self) -> None:
        """Close httpx's generator; another kind of iterator has nothing to close."""
        close = getattr(self._chunks, "aclose", None)
        if close is not None:
            await close()
