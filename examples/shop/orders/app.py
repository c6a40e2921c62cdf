"""The orders service, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import async_sessionmaker

from shop import config as configuration

from .cache import ProductCache
from .database import open_engine
from .routes import router
from .stock import Stock


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    config = configuration.load(
        sqlite="orders.db", sqlite_driver="sqlite+aiosqlite", postgresql_driver="postgresql+asyncpg"
    )
    engine = await open_engine(config)
    app.state.sessions = async_sessionmaker(engine)
    async with (
        httpx.AsyncClient(base_url=config.inventory_url, timeout=5) as client,
        Redis.from_url(config.redis_url) as redis,
    ):
        app.state.stock = Stock(client)
        app.state.cache = ProductCache(redis)
        yield
    await engine.dispose()


app = FastAPI(title="orders", lifespan=lifespan)
app.include_router(router)
