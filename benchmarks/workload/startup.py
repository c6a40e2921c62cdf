"""An application that imports the four libraries and ends: what its start costs."""

from __future__ import annotations

import json
from pathlib import Path


def report(name: str) -> None:
    """Imports, wires, makes one engine and one application, and prints the resident memory in bytes."""
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
    print(json.dumps({"rss": _resident(), "modules": [httpx.__name__, redis.__name__]}))


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS: this needs Linux")
