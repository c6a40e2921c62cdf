"""An application that imports the four libraries and ends, before or after its first request: what its start costs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def report(name: str, *, used: bool = False) -> None:
    """Imports, wires, makes one engine and one application, and prints the resident memory in bytes.

    Args:
        name: of the wiring; see `setups`.
        used: whether a request, an SQL statement and an HTTP call come before.
    """
    import httpx
    import redis
    from fastapi import FastAPI
    from sqlalchemy import create_engine

    if name not in ("nothing", "opentelemetry"):  # those two need no line of code, so none is paid for
        from setups import setup

        wiring = setup(name)
        wiring.before()
    engine = create_engine("sqlite://")
    app = FastAPI()
    if name not in ("nothing", "opentelemetry"):
        wiring.wire(app, engine)
    if used:
        _use(app, engine, httpx)
    print(json.dumps({"rss": _resident(), "modules": [httpx.__name__, redis.__name__]}))


def _use(app: Any, engine: Any, httpx: Any) -> None:
    """What telemetry that waits for the first use cannot put off any more; Redis's server is not part of a start."""
    import asyncio

    from sqlalchemy import text

    def answer() -> dict[str, int]:
        with engine.connect() as connection:
            return {"one": connection.execute(text("SELECT 1")).scalar_one()}

    app.add_api_route("/", answer)

    async def request() -> int:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://application") as client:
            return int((await client.get("/")).status_code)

    statuses = asyncio.run(request()), httpx.get(os.environ["BENCH_HTTP_URL"]).status_code
    if statuses != (200, 200):
        raise RuntimeError(f"the application answered {statuses}")


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS: this needs Linux")
