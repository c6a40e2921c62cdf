"""Voice Kraliki: calls are transcribed and answered by providers; several workers, PM2 or Kubernetes around.

What the team still says: the numbers of its calls, the steps of an analysis, and whom an error hit.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, insert, select

from otel_distro import capture_exception, operation, set_user
from otel_distro.measure import timed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

logger = logging.getLogger(__name__)

engine = create_engine(os.environ["DATABASE_URL"])
provider_api = httpx.AsyncClient(base_url=os.environ["PROVIDER_URL"], timeout=30)

metadata = MetaData()
voice_calls = Table(
    "voice_calls", metadata, Column("id", Integer, primary_key=True), Column("provider", String(40), nullable=False)
)
metadata.create_all(engine)

# a histogram whose count is the number of calls by outcome, and the calls under way
voice_call = timed("voice.call", description="Calls, by provider and outcome.", active=True)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await provider_api.aclose()
    engine.dispose()


app = FastAPI(title="Voice Kraliki", lifespan=lifespan)


class CallRequest(BaseModel):
    """A call that comes in."""

    provider: str
    user_id: str


@operation("call_analysis")
async def analyze(call: CallRequest) -> str:
    """Transcribe and answer."""
    with operation("transcribe"):
        text = await provider_api.post("/v1/transcribe", json={"provider": call.provider})
        text.raise_for_status()
    with operation("sentiment"):
        await asyncio.sleep(0)
    return str(text.json()["text"])


@app.post("/calls", status_code=201)
async def create_call(call: CallRequest) -> dict[str, str]:
    set_user(call.user_id)
    with voice_call(provider=call.provider):
        try:
            text = await analyze(call)
        except httpx.HTTPStatusError as error:
            capture_exception(error, feature="voice-api", provider=call.provider)
            raise HTTPException(502, "the provider does not answer") from error
    logger.info("call answered", extra={"provider": call.provider})
    await asyncio.to_thread(store, call.provider)
    return {"text": text}


def store(provider: str) -> None:
    with engine.begin() as connection:
        connection.execute(insert(voice_calls).values(provider=provider))


@app.get("/calls")
def list_calls() -> dict[str, int]:
    with engine.connect() as connection:
        return {"calls": len(connection.execute(select(voice_calls.c.id)).all())}


@app.get("/crash")
def crash() -> None:
    raise LookupError("nobody handles this")
