"""Shadower Analytics: queries over workspaces, a cache in front, jobs and a WebSocket service beside.

What the team still says: user and workspace of a request, spans of its own steps, credits, active users.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
from celery import Celery
from fastapi import FastAPI, Header, HTTPException
from redis.asyncio import Redis
from sqlalchemy import Column, Integer, MetaData, String, Table, func, insert, select, text
from sqlalchemy.ext.asyncio import create_async_engine

from otel_distro import add_attributes, breadcrumb, capture_exception, health, operation, set_context, set_user
from otel_distro.measure import Counter, Gauge, observe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

logger = logging.getLogger(__name__)

engine = create_async_engine(os.environ["DATABASE_URL"])
redis = Redis.from_url(os.environ["REDIS_URL"])
main_app = httpx.AsyncClient(base_url=os.environ["MAIN_APP_URL"], timeout=10)
jobs = Celery("analytics", broker=os.environ["REDIS_URL"])

health.check_celery(jobs)
health.check_http("websocket", os.environ["WEBSOCKET_URL"])
health.check_http("main_app", os.environ["MAIN_APP_URL"])

metadata = MetaData()
events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("workspace_id", String(40)),
    Column("user_id", String(40)),
)

active_users = Gauge("analytics.active_users", unit="{user}", description="Users seen in a workspace.")
credits_consumed = Counter("analytics.credits.consumed", unit="{credit}", description="Credits that queries cost.")
queries = Counter("analytics.queries", unit="{query}", description="Analytics queries by kind.")
cached_bytes: dict[str, int] = {}
observe("analytics.cache.size", lambda: sum(cached_bytes.values()), unit="By", description="Bytes put into the cache.")
observe("analytics.cache.items", lambda: len(cached_bytes), unit="{item}", description="Items put into the cache.")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        rows = [{"workspace_id": f"ws-{n % 2}", "user_id": f"u{n}"} for n in range(10)]
        await connection.execute(insert(events), rows)
    yield
    await main_app.aclose()
    await redis.aclose()
    await engine.dispose()


app = FastAPI(title="Shadower Analytics", lifespan=lifespan)


@operation("calculate_analytics")
async def calculate_analytics(workspace_id: str) -> dict[str, Any]:
    """The users of a workspace, from the cache or the database."""
    add_attributes(workspace_id=workspace_id)
    key = f"workspace:{workspace_id}"
    cached = await redis.get(key)
    if cached is not None:
        return dict(json.loads(cached))
    breadcrumb("cache miss", category="cache", workspace_id=workspace_id)
    statement = select(func.count(func.distinct(events.c.user_id))).where(events.c.workspace_id == workspace_id)
    async with engine.connect() as connection:
        users = (await connection.execute(statement)).scalar_one()
    result = {"workspace_id": workspace_id, "users": users}
    body = json.dumps(result)
    await redis.set(key, body, ex=60)
    cached_bytes[key] = len(body)
    active_users.set(users, workspace=workspace_id)
    return result


@app.get("/api/v1/analytics/{workspace_id}")
async def analytics(workspace_id: str, x_user: str = Header("anonymous")) -> dict[str, Any]:
    set_user(x_user)
    set_context(workspace=workspace_id)
    result = await calculate_analytics(workspace_id)
    (await main_app.get(f"/workspaces/{workspace_id}")).raise_for_status()
    queries.add(kind="users")
    credits_consumed.add(5, workspace=workspace_id)
    logger.info("analytics calculated", extra={"users": result["users"]})
    return result


@app.get("/api/v1/broken/{workspace_id}")
async def broken(workspace_id: str, x_user: str = Header("anonymous")) -> None:
    set_user(x_user)
    set_context(workspace=workspace_id)
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT x FROM missing_table"))
    except Exception as error:
        capture_exception(error, workspace_id=workspace_id)
        raise HTTPException(500, "the query failed") from error


@app.get("/api/v1/crash")
async def crash() -> None:
    breadcrumb("about to divide", category="calculation")
    raise ZeroDivisionError("an unhandled error")
