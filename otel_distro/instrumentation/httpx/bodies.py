"""Bodies of answers that tell when they have been read, closed or lost. Imported when httpx is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from httpx import AsyncByteStream, SyncByteStream

from otel_distro.instrumentation.http_client import Exchange


class SyncBody(SyncByteStream):
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


class AsyncBody(AsyncByteStream):
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

    __slots__ = ("_exchange", "_next")

    def __init__(self, stream: AsyncByteStream, exchange: Exchange) -> None:
        self._next = stream.__aiter__().__anext__
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
