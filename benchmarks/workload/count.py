"""Requests that are counted: as many again as were sent to warm up, and all that is flushed after them."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
from collections.abc import Callable

from cases import CASES
from drive import Driver, beating
from setups import setup


def count(name: str, wrap: str, case_name: str, requests: int, tell: Callable[[str], object]) -> None:
    """Sends `requests` twice, the second time between `tell("on")` and `tell("off")`; flushes each time.

    Raises:
        RuntimeError: the application did not answer as the case wants.
        subprocess.CalledProcessError: callgrind could not be told.
    """
    wiring = setup(name)
    driver = Driver(wiring, wrap)
    case = next(case for case in CASES if case.name == case_name)

    async def run() -> None:
        beat = asyncio.create_task(beating())
        await driver.warm(case, requests)
        request = driver.request(case)
        gc.collect()
        tell("on")
        for _ in range(requests):
            await request.send()
        wiring.flush()
        tell("off")
        beat.cancel()

    asyncio.run(run())
    # what ends a process is no request's
    os._exit(0)


def callgrind(what: str) -> None:
    """Has callgrind, under which this process runs, count `on` or `off`."""
    # a perl script, which the peers' own variables must not reach
    environment = {"PATH": os.environ["PATH"]}
    subprocess.run(
        ["callgrind_control", "-i", what, str(os.getpid())],
        env=environment,
        check=True,
        capture_output=True,
    )
