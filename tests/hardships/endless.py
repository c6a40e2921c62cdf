"""An application in which nothing comes twice: names, keys, errors, hosts, statements, users; see `soak`."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator

import httpx
import redis.asyncio
from fastapi import FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool
from starlette.responses import StreamingResponse

from otel_distro import Cache, Counter, ModelCalls, Quota, add_attributes, operation, set_context, set_user, timed

engine = create_engine(f"sqlite:///{os.environ['SOAK_DATABASE']}", poolclass=QueuePool)
client = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"])
outgoing = httpx.AsyncClient(timeout=2)
app = FastAPI()
counter, cache, models, quota = Counter("soak.things"), Cache("soak"), ModelCalls("nobody"), Quota("soak.quota")


@app.get("/n/{number}")
async def plain(number: str) -> str:
    """A request of a user, a tenant and a log record of its own."""
    set_user(f"user-{number}")
    set_context(tenant=f"tenant-{number}", **{f"key_{number}": number})
    add_attributes(**{f"attribute.{number}": number})
    logging.getLogger("soak").warning("it is %s", number, extra={f"field_{number}": [number]})
    return number


@app.get("/sql/{number}")
def sql(number: str) -> str:
    """A statement that no one has seen before, and one that fails."""
    with engine.connect() as connection:
        connection.execute(text(f"select {number} as n{number}"))
        try:
            connection.execute(text(f"select * from nowhere_{number}"))
        except SQLAlchemyError:
            pass
    return number


@app.get("/redis/{number}")
async def keys(number: str) -> str:
    """Keys of words and of numbers."""
    words = "".join(chr(97 + int(digit)) for digit in number)
    await client.set(f"soak:{number}:{words}", number, ex=1)
    await client.get(f"{words}:{number}")
    await client.mget([f"{words}-{place}" for place in range(3)])
    return number


@app.get("/out/{number}")
async def out(number: str) -> str:
    """A call to a host of its own, by a name or a port that nobody has."""
    for url in (
        f"http://127.0.0.1:{1 + int(number) % 900}/{number}",
        f"{os.environ['SOAK_URL']}/n/{number}?q={number}",
    ):
        try:
            await outgoing.get(url)
        except httpx.HTTPError:
            pass
    return number


@app.get("/own/{number}")
async def own(number: str) -> str:
    """Operations, metrics and labels of its own."""
    with operation(f"job {number}"):
        counter.add(1, label=number)
        cache.hit()
        quota.set(used=int(number), limit=10**12, property=number)
    with timed("soak.timed")(kind=number):
        pass
    with models(f"model-{number}") as call:
        call.tokens(input=1, output=1)
    return number


@app.get("/fails/{number}")
async def fails(number: str) -> str:
    """An error of a class of its own, with another below it."""
    try:
        raise type(f"Inner{number}", (ValueError,), {})(number)
    except ValueError as inner:
        raise type(f"Outer{number}", (RuntimeError,), {})(f"it is {number}") from inner


@app.get("/events/{number}")
async def events(number: str) -> StreamingResponse:
    """A stream that its reader leaves."""

    async def parts() -> AsyncIterator[str]:
        for _ in range(1000):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(parts(), media_type="text/event-stream")


@app.get("/health")
async def health() -> str:
    """Answers when the application is up."""
    return "ok"
