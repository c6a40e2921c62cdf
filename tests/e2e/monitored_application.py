"""A service that does everything the distro measures, well and badly; its own telemetry code is what only it knows."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from redis.asyncio import Redis
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine

from otel_distro import operation
from otel_distro.measure import Cache, Counter, ModelCalls, Quota, observe, timed

logger = logging.getLogger(__name__)
engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:"),
    pool_size=2,
    max_overflow=0,
    pool_timeout=0.1,
)
redis = Redis.from_url(os.environ["REDIS_URL"])
outside = httpx.AsyncClient(base_url=os.environ["OUTSIDE_URL"], timeout=5)

metadata = MetaData()
items = Table("items", metadata, Column("id", Integer, primary_key=True), Column("name", String(40)))

sold = Counter("items.sold", unit="{item}")
search = timed("items.search", active=True)
names = Cache("names")
quota = Quota("outside.quota", unit="{token}")
model = ModelCalls("anthropic")
known: dict[int, str] = {}
if os.environ.get("CALLBACK") == "broken":
    observe("items.broken", lambda: float("no number"))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    try:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
    except IntegrityError:  # the other worker has just made it
        logger.info("the table is there")
    yield
    await outside.aclose()
    await redis.aclose()
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/items/{item_id}", status_code=201)
async def add(item_id: int, item: dict[str, str]) -> dict[str, int]:
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM items WHERE id = :id"), {"id": item_id})
        await connection.execute(insert(items), [{"id": item_id, "name": item["name"]}])
    sold.add(plan="pro")
    return {"id": item_id}


@app.get("/items/{item_id}")
async def read(item_id: int) -> dict[str, Any]:
    """From this process, from Redis, or from the database."""
    if item_id in known:
        names.hit()
        return {"name": known.pop(item_id)}
    names.miss()
    cached = await redis.get(f"item:{item_id}")
    if cached is None:
        async with engine.connect() as connection:
            cached = (await connection.execute(select(items.c.name).where(items.c.id == item_id))).scalar() or "none"
        await redis.set(f"item:{item_id}", cached, ex=60)
    known[item_id] = str(cached)
    return {"name": str(cached)}


@app.get("/work")
async def work() -> str:
    """Operations, model calls and a quota: one of each goes well, one fails."""
    gc.collect()

    @operation("price")
    async def price(amount: int) -> float:
        return 10 / amount

    with search(kind="hybrid"):
        await price(2)
    with model("claude-opus-4-5") as call:
        call.tokens(input=500, output=300, cost=0.012)
    quota.set(used=850, limit=1000, property="web")
    try:
        with model("claude-opus-4-5"):
            await price(0)
    except ZeroDivisionError:
        logger.warning("no price")
    return "done"


@app.get("/outside/{what}")
async def ask(what: str) -> int:
    return (await outside.get(f"/{what}")).status_code


@app.get("/events")
async def events(count: int) -> StreamingResponse:
    async def sent() -> AsyncIterator[str]:
        for number in range(count):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.02)
        if count < 5:
            raise ConnectionError("the source of the events is gone")

    return StreamingResponse(sent(), media_type="text/event-stream")


@app.websocket("/talk")
async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    raise ConnectionError("somebody else is gone")


@app.get("/talked")
async def talked() -> list[str]:
    """A WebSocket's conversation as a server hands it to the application: no library for them is in the tests."""
    incoming = iter(({"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hello"}))
    said: list[str] = []

    async def receive() -> dict[str, Any]:
        return next(incoming, {"type": "websocket.disconnect", "code": 1000})

    async def send(message: Any) -> None:
        said.append(message["type"])

    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/talk",
        "raw_path": b"/talk",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "subprotocols": [],
    }
    with suppress(ConnectionError):
        await app(scope, receive, send)
    return said


@app.get("/crowd")
async def crowd() -> int:
    """More statements at once than the pool has connections for; how many waited in vain."""

    async def one() -> int:
        try:
            async with engine.connect() as connection:
                await connection.execute(text("SELECT pg_sleep(0.3)"))
        except PoolTimeout:
            return 1
        return 0

    return sum(await asyncio.gather(*(one() for _ in range(3))))


@app.get("/broken/sql")
async def broken_sql() -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT x FROM missing_table"))


@app.get("/broken/redis")
async def broken_redis() -> None:
    await redis.lpush("text", "a")
    await redis.get("text")


@app.get("/crash")
async def crash() -> None:
    raise ZeroDivisionError("nobody handles this")
