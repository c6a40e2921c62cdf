"""The application that every peer watches: no line of telemetry in it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import fastapi
import httpx
import redis.asyncio
import requests
from opentelemetry import trace
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import StaticPool

_SELECT = text("SELECT name, price FROM items WHERE id = :id")


@dataclass(frozen=True, slots=True)
class Backends:
    """The clients of the application: SQLite in memory, a real Redis, a local HTTP server."""

    engine: Engine
    cache: redis.asyncio.Redis | None
    http: httpx.AsyncClient
    session: requests.Session
    http_url: str


def connect() -> Backends:
    """Clients by BENCH_REDIS_URL (may be missing) and BENCH_HTTP_URL; SQLite holds 100 rows."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, price REAL)"))
        rows = [{"id": number, "name": f"item {number}", "price": number / 4} for number in range(100)]
        connection.execute(text("INSERT INTO items VALUES (:id, :name, :price)"), rows)
    url = os.environ.get("BENCH_REDIS_URL")
    return Backends(
        engine=engine,
        cache=redis.asyncio.Redis.from_url(url) if url else None,
        http=httpx.AsyncClient(),
        session=requests.Session(),
        http_url=os.environ.get("BENCH_HTTP_URL", ""),
    )


def small(routes: int = 1) -> fastapi.FastAPI:
    """An application of `routes` routes, of which the last is `/last/{item_id}`."""
    app = fastapi.FastAPI()

    async def item(item_id: int) -> dict[str, object]:
        return {"id": item_id, "name": "item", "price": 2.5}

    for number in range(routes - 1):
        app.get(f"/route-{number}/{{item_id}}")(item)
    app.get("/last/{item_id}")(item)
    return app


def full(backends: Backends) -> fastapi.FastAPI:
    """The application with one route a case."""

    @asynccontextmanager
    async def lifespan(_: fastapi.FastAPI) -> AsyncIterator[None]:
        yield
        await backends.http.aclose()
        if backends.cache is not None:
            await backends.cache.aclose()

    app = fastapi.FastAPI(lifespan=lifespan)
    _plain_routes(app)
    _backend_routes(app, backends)
    return app


def _plain_routes(app: fastapi.FastAPI) -> None:
    tracer = trace.get_tracer("bench")

    @app.get("/items/{item_id}")
    async def item(item_id: int) -> dict[str, object]:
        return {"id": item_id, "name": "item", "price": 2.5}

    @app.post("/body")
    async def body(request: fastapi.Request) -> fastapi.Response:
        return fastapi.Response(await request.body(), media_type="application/octet-stream")

    @app.get("/error")
    async def error() -> None:
        raise ValueError("an error that nobody handles")

    @app.get("/spans/{count}")
    async def spans(count: int) -> dict[str, int]:
        for number in range(count):
            with tracer.start_as_current_span("step") as span:
                span.set_attribute("step.number", number)
        return {"count": count}


def _backend_routes(app: fastapi.FastAPI, backends: Backends) -> None:
    engine, cache = backends.engine, backends.cache

    @app.get("/mixed/{item_id}")
    async def mixed(item_id: int) -> dict[str, object]:
        assert cache is not None
        cached = await cache.get(f"item:{item_id}")
        with engine.connect() as connection:
            row = connection.execute(_SELECT, {"id": item_id}).one()
        await cache.set(f"item:{item_id}", row.name)
        return {"id": item_id, "name": row.name, "cached": cached is not None}

    @app.get("/sql/{count}")
    async def sql(count: int) -> dict[str, int]:
        with engine.connect() as connection:
            for number in range(count):
                connection.execute(_SELECT, {"id": number % 100}).one()
        return {"count": count}

    @app.get("/redis/{count}")
    async def redis_calls(count: int) -> dict[str, int]:
        assert cache is not None
        for number in range(count):
            await cache.get(f"item:{number}")
        return {"count": count}

    @app.get("/httpx/{count}")
    async def httpx_calls(count: int) -> dict[str, int]:
        for _ in range(count):
            (await backends.http.get(backends.http_url)).raise_for_status()
        return {"count": count}

    @app.get("/requests/{count}")
    async def requests_calls(count: int) -> dict[str, int]:
        for _ in range(count):
            backends.session.get(backends.http_url, timeout=5).raise_for_status()
        return {"count": count}
