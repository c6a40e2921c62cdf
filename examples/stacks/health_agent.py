"""Health agent: users log meals over a REST API and a Telegram bot, a language model answers.

What the team still says: who a request or an update is for, and which calls of a model cost how many tokens.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import FastAPI, Header, HTTPException
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select
from sqlalchemy.ext.asyncio import create_async_engine

from otel_distro import add_attributes, capture_exception, operation, set_user
from otel_distro.measure import Cache, ModelCalls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MODELS = {"claude": ("anthropic", "claude-opus-4-5"), "gpt4": ("openai", "gpt-4")}
logger = logging.getLogger(__name__)

engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=5)
agent_api = httpx.AsyncClient(base_url=os.environ["AGENT_URL"], timeout=30)
if os.environ.get("BREAK_AT_START"):
    raise RuntimeError("a configuration that cannot work")

metadata = MetaData()
users = Table("users", metadata, Column("id", Integer, primary_key=True), Column("name", String(40)))
food_entries = Table(
    "food_entries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", Integer),
    Column("food", String(80)),
)

models = {name: ModelCalls(provider) for name, (provider, _) in MODELS.items()}
answers: dict[str, str] = {}
answer_cache = Cache("answers")
updates: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=1000)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        if (await connection.execute(select(users.c.id))).first() is None:
            await connection.execute(insert(users), [{"id": n, "name": f"user {n}"} for n in range(1, 4)])
    polling = asyncio.create_task(poll())
    yield
    polling.cancel()
    await agent_api.aclose()
    await engine.dispose()


app = FastAPI(title="Health agent", lifespan=lifespan)


@operation("agent call")
async def ask(agent: str, question: str) -> str:
    """The answer of a model."""
    if question in answers:
        answer_cache.hit()
        return answers[question]
    answer_cache.miss()
    model = MODELS[agent][1]
    add_attributes(agent=agent, model=model)
    with models[agent](model) as call:
        answer = await agent_api.post("/v1/messages", json={"model": model, "messages": [question]})
        answer.raise_for_status()
        usage = answer.json()["usage"]
        call.tokens(input=usage["input_tokens"], output=usage["output_tokens"])
    answers[question] = answer.json()["text"]
    return answers[question]


async def user_exists(user_id: int) -> bool:
    async with engine.connect() as connection:
        return (await connection.execute(select(users.c.id).where(users.c.id == user_id))).first() is not None


async def save_food_entry(user_id: int, food: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(insert(food_entries).values(user_id=user_id, food=food))


@app.post("/food", status_code=201)
async def log_food(food: str, x_user: int = Header()) -> dict[str, str]:
    set_user(x_user)
    if not await user_exists(x_user):
        raise HTTPException(404, "no such user")
    await save_food_entry(x_user, food)
    logger.info("food entry saved", extra={"food_length": len(food)})
    return {"status": "saved"}


@app.post("/chat")
async def chat(question: str, agent: str = "claude", x_user: int = Header()) -> dict[str, str]:
    set_user(x_user)
    return {"answer": await ask(agent, question)}


@app.post("/telegram", status_code=202)
async def webhook(update: dict[str, Any]) -> dict[str, str]:
    await updates.put(update)
    return {"status": "queued"}


@operation("telegram.update")
async def handle(update: dict[str, Any]) -> None:
    """One message to the bot; no request is under way here."""
    set_user(update["from"])
    logger.info("bot update", extra={"chat": update["chat"]})
    try:
        await ask("claude", update["text"])
    except Exception as error:  # noqa: BLE001 - what one update does wrong must not end the bot
        capture_exception(error, chat=update["chat"])


async def poll() -> None:
    """The bot's loop."""
    while True:
        await handle(await updates.get())
