"""The full application under a real uvicorn."""

from __future__ import annotations

import os

import uvicorn
from application import connect, full
from setups import setup


def serve(name: str, port: int) -> None:
    """Serves on 127.0.0.1:`port` until a signal, with one worker and no access log; prints its process id first."""
    wiring = setup(name)
    wiring.before()
    backends = connect()
    app = full(backends)
    wiring.wire(app, backends.engine)
    print(os.getpid(), flush=True)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
