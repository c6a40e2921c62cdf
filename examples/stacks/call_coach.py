"""Call Coach: a language model rates sales calls; a REST API, and the same as tools for MCP clients.

What the team still says: who a request is for, which calls of a model cost how many tokens, and its own numbers.
"""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import FastAPI, Header, HTTPException
from redis.asyncio import Redis
from sqlalchemy import Column, Float, Integer, MetaData, String, Table, insert, select
from sqlalchemy.ext.asyncio import create_async_engine

from otel_distro import capture_exception, operation, set_context, set_user
from otel_distro.measure import Cache, Counter, ModelCalls, observe, timed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MODEL = "claude-opus-4-5"
logger = logging.getLogger(__name__)

engine = create_async_engine(os.environ["DATABASE_URL"])
redis = Redis.from_url(os.environ["REDIS_URL"])
claude_api = httpx.AsyncClient(base_url=os.environ["ANTHROPIC_URL"], timeout=30)

metadata = MetaData()
calls = Table("calls", metadata, Column("id", Integer, primary_key=True), Column("rep_id", String(40)))
sessions = Table(
    "coaching_sessions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("call_id", Integer),
    Column("score", Float),
)

claude = ModelCalls("anthropic")
calls_analyzed = Counter("coaching.calls.analyzed", unit="{call}", description="Calls that were rated.")
sessions_created = Counter("coaching.sessions.created", unit="{session}", description="Coaching sessions.")
session_time = timed("coaching.session", description="From the request to the stored rating.")
rep_insights: dict[str, float] = {}
insights_cache = Cache("rep_insights")
observe("coaching.cache.size", lambda: len(rep_insights), label="cache", unit="{entry}", description="Entries held.")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        if (await connection.execute(select(calls.c.id))).first() is None:
            await connection.execute(insert(calls), [{"id": n, "rep_id": f"rep-{n}"} for n in range(1, 6)])
    yield
    await claude_api.aclose()
    await redis.aclose()
    await engine.dispose()


app = FastAPI(title="Call Coach", lifespan=lifespan)


@operation("ask claude")
async def ask_claude(transcript: str) -> float:
    """A rating, from 0 to 100."""
    with claude(MODEL) as call:
        answer = await claude_api.post("/v1/messages", json={"model": MODEL, "messages": [transcript]})
        answer.raise_for_status()
        usage = answer.json()["usage"]
        call.tokens(input=usage["input_tokens"], output=usage["output_tokens"])
    return float(answer.json()["score"])


@session_time
async def analyze(call_id: int, transcript: str) -> dict[str, Any]:
    """Rate a call and keep the rating."""
    async with engine.begin() as connection:
        rep_id = (await connection.execute(select(calls.c.rep_id).where(calls.c.id == call_id))).scalar_one_or_none()
        if rep_id is None:
            raise HTTPException(404, "no such call")
        set_context(call_id=call_id, rep_id=rep_id)
        score = await ask_claude(transcript)
        await connection.execute(insert(sessions).values(call_id=call_id, score=score))
    await redis.set(f"call:{call_id}", score, ex=60)
    calls_analyzed.add()
    sessions_created.add()
    logger.info("coaching session stored", extra={"dimension": "discovery", "score": score})
    return {"call_id": call_id, "rep_id": rep_id, "score": score}


@app.post("/api/calls/{call_id}/analyze")
async def analyze_call(call_id: int, transcript: str = "", x_user: str = Header("anonymous")) -> dict[str, Any]:
    set_user(x_user)
    try:
        return await analyze(call_id, transcript)
    except httpx.HTTPStatusError as error:
        capture_exception(error, call_id=call_id)
        raise HTTPException(502, "the model does not answer") from error


@app.get("/api/calls/{call_id}")
async def call_score(call_id: int) -> dict[str, Any]:
    score = await redis.get(f"call:{call_id}")
    return {"call_id": call_id, "score": None if score is None else float(score)}


@app.get("/api/reps/{rep_id}")
async def rep(rep_id: str) -> dict[str, Any]:
    if rep_id in rep_insights:
        insights_cache.hit()
    else:
        insights_cache.miss()
        async with engine.connect() as connection:
            rows = (await connection.execute(select(sessions.c.score))).scalars().all()
        rep_insights[rep_id] = sum(rows) / max(1, len(rows))
    return {"rep_id": rep_id, "mean": rep_insights[rep_id]}


@operation("mcp.tool analyze_call")
async def analyze_call_tool(call_id: int, transcript: str = "") -> dict[str, Any]:
    """The tool that MCP clients call; the same whether it came over HTTP or stdin."""
    logger.info("analyzing call", extra={"tool": "analyze_call"})
    return await analyze(call_id, transcript)


@app.post("/mcp")
async def mcp(request: dict[str, Any]) -> dict[str, Any]:
    result = await analyze_call_tool(**request["params"]["arguments"])
    return {"jsonrpc": "2.0", "id": request["id"], "result": {"structuredContent": result}}
