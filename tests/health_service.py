"""A service with checks, for tests that start it: what it depends on is said by variables."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from fastapi import FastAPI

app = FastAPI()
ran = 0

_lookup = socket.getaddrinfo


def _slowly(host: Any, *args: Any, **kwargs: Any) -> Any:
    # a resolver that does not answer: nothing can interrupt it
    if host == "slow.invalid":
        time.sleep(60)
    return _lookup(host, *args, **kwargs)


socket.getaddrinfo = _slowly

if "SYNC_DATABASE" in os.environ:
    from sqlalchemy import create_engine

    app.state.engine = create_engine(os.environ["SYNC_DATABASE"])
if "ASYNC_DATABASE" in os.environ:
    from sqlalchemy.ext.asyncio import create_async_engine

    app.state.async_engine = create_async_engine(os.environ["ASYNC_DATABASE"])
if "REDIS_PORT" in os.environ:
    import redis
    import redis.asyncio

    app.state.redis = redis.Redis(port=int(os.environ["REDIS_PORT"]))
    app.state.async_redis = redis.asyncio.Redis(port=int(os.environ["REDIS_PORT"]))
if "COUNTED" in os.environ:
    from otel_distro import health

    @health.check("counted", critical=False)
    def counted() -> None:
        """Counts its runs."""
        global ran  # noqa: PLW0603 - one number of the process
        ran += 1
        time.sleep(0.01)


if "MOUNTED" in os.environ:
    from otel_distro import health

    @health.check("declared")
    async def declared() -> dict[str, int]:
        """Says where it runs."""
        return {"pid": os.getpid()}

    health.mount(app)


@app.get("/work")
def work() -> dict[str, int]:
    """A route of the application."""
    return {"ran": ran, "pid": os.getpid()}


@app.get("/{anything:path}")
def anything(anything: str) -> str:
    """A route for whatever there is; a health path is not it."""
    return anything
