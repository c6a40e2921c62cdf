"""The application under load: answers after a moment, tells who answered, has no telemetry of its own."""

from __future__ import annotations

import asyncio
import os
import random

from fastapi import FastAPI

app = FastAPI()


@app.get("/health")
async def health() -> str:
    """Whether somebody serves."""
    return "ok"


@app.get("/job/{number}")
async def work(number: int) -> dict[str, int]:
    """A request that is in flight for up to 20 ms."""
    await asyncio.sleep(random.random() / 50)
    return {"number": number, "pid": os.getpid()}
