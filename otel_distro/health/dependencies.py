"""What a check does: a database, a Redis, a URL, the workers of a queue, a loop of the application's own."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Collection
from typing import Any

REACHABLE = range(100, 500)
"""Statuses by which a server shows that it is there and not failing."""

_Check = Callable[[], Any]


def database(engine: Any) -> _Check:
    """A check that sends the smallest statement through the pool that the application uses.

    A pool with no free connection is a database that nobody here can use, so it counts as down.

    Args:
        engine: SQLAlchemy's `Engine` or `AsyncEngine`, which is not kept alive.
    """
    reference = weakref.ref(getattr(engine, "sync_engine", engine))

    def ask() -> None:
        engine = reference()
        if engine is not None:
            with engine.connect() as connection:
                connection.execute(_one())

    async def ask_async() -> None:
        from sqlalchemy.ext.asyncio import AsyncEngine

        engine = reference()
        if engine is not None:
            async with AsyncEngine(engine).connect() as connection:
                await connection.execute(_one())

    return ask_async if getattr(reference(), "dialect").is_async else ask  # noqa: B009 - it may be any version's class


def _one() -> Any:
    # not a text: Oracle wants FROM DUAL, which the dialect knows
    from sqlalchemy import literal_column, select

    return select(literal_column("1"))


def redis(client_or_pool: Any, timeout: float) -> _Check:
    """A check that connects as the client does, says PING and leaves.

    A connection of its own, because the client's retries would take seconds to say that the server refuses, and
    without any socket timeout a hung server would keep the thread.

    Args:
        client_or_pool: a client of redis-py, sync or async, of a cluster as well, or a client's pool; not kept alive.
        timeout: seconds of the sockets.
    """
    pool = getattr(client_or_pool, "connection_pool", client_or_pool)
    reference = weakref.ref(pool if hasattr(pool, "connection_kwargs") else client_or_pool)
    return _async_ping(reference, timeout) if ".asyncio." in _module(reference()) else _ping(reference, timeout)


def _ping(reference: weakref.ref[Any], timeout: float) -> _Check:
    def ask() -> None:
        target = reference()
        if target is None:
            return
        if not hasattr(target, "connection_kwargs"):
            target.ping()
            return
        from redis import Redis

        pool = _pool_of_one(target, timeout)
        try:
            Redis(connection_pool=pool or target).ping()
        finally:
            if pool is not None:
                pool.disconnect()

    return ask


def _async_ping(reference: weakref.ref[Any], timeout: float) -> _Check:
    async def ask() -> None:
        target = reference()
        if target is None:
            return
        if not hasattr(target, "connection_kwargs"):
            await target.ping()
            return
        from redis.asyncio import Redis

        pool = _pool_of_one(target, timeout)
        try:
            await Redis(connection_pool=pool or target).ping()
        finally:
            if pool is not None:
                await pool.disconnect()

    return ask


def _pool_of_one(pool: Any, timeout: float) -> Any:
    """A pool like this one, for one connection without retries; None for Sentinel's, which needs its manager."""
    kind = next((kind for kind in type(pool).__mro__ if kind.__name__ == "ConnectionPool"), None)
    if kind is None or "sentinel_manager" in vars(pool):
        return None
    options = {key: value for key, value in pool.connection_kwargs.items() if key not in _CONNECTION_STATE}
    options |= {"socket_timeout": timeout, "retry": None, "retry_on_timeout": False, "retry_on_error": []}
    if "path" not in options:
        options["socket_connect_timeout"] = timeout
    return kind(connection_class=pool.connection_class, max_connections=1, **options)


_CONNECTION_STATE = frozenset({"maint_notifications_pool_handler", "maint_notifications_config", "event_dispatcher"})
"""What a pool puts into its connections' arguments for itself."""


def _module(thing: Any) -> str:
    return " ".join(f"{kind.__module__}." for kind in type(thing).__mro__)


def url(address: str, timeout: float, statuses: Collection[int] = REACHABLE, method: str = "HEAD") -> _Check:
    """A check that asks a URL once, follows nothing and reads no body.

    Args:
        address: `http`, `https`, `ws` or `wss`; the last two must accept a WebSocket.
        timeout: seconds for connecting, and for the answer's first byte.
        statuses: that are good.
        method: of the request; `HEAD` costs the other side least.

    Raises:
        ValueError: it is no such URL.
    """
    from .web import WebCheck

    return WebCheck(address, timeout=timeout, statuses=statuses, method=method)


def celery(app: Any, workers: int, timeout: float) -> _Check:
    """A check that broadcasts a ping and waits for answers of Celery's workers.

    Args:
        app: the Celery application.
        workers: that must answer at least.
        timeout: seconds, most of which the answers may take.
    """

    def ask() -> dict[str, int]:
        # with a limit it returns with the last answer that is needed, not at its timeout
        replies = app.control.ping(timeout=timeout * 0.8, limit=workers) or []
        if len(replies) < workers:
            raise ConnectionError(f"{len(replies)} of {workers} workers answered")
        return {"workers": len(replies)}

    return ask


class Heartbeat:
    """A sign of life of something that runs by itself in this process: a consumer's loop, a WebSocket's reader.

    Args:
        max_age: seconds without a beat after which it counts as down.
    """

    def __init__(self, max_age: float) -> None:
        self._max_age = max_age
        self._last = time.monotonic()

    def beat(self) -> None:
        """It is alive; costs next to nothing and may be called from any thread."""
        self._last = time.monotonic()

    async def ask(self) -> dict[str, float]:
        """The check itself; asynchronous, because reading a clock needs no thread.

        Raises:
            TimeoutError: the last beat is too long ago.
        """
        age = time.monotonic() - self._last
        if age > self._max_age:
            raise TimeoutError(f"no beat for {age:.0f} s")
        return {"age_seconds": round(age, 3)}
