"""What waits on the event loop waits on asyncio's and on trio's."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

import anyio
import pytest
import trio

from otel_distro import loops
from otel_distro.guard import Guard
from otel_distro.prometheus import Answer, MetricsRoute
from tests.asgi_rig import drive, scope_of
from tests.health_rig import HERE, HealthRig

Run = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


def asyncio_run(program: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(program())


def eager_run(program: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    async def eager() -> Any:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        return await program()

    return asyncio.run(eager())


RUNS = [pytest.param(asyncio_run, id="asyncio"), pytest.param(trio.run, id="trio")]
if sys.version_info >= (3, 12):
    RUNS.append(pytest.param(eager_run, id="eager"))


@pytest.mark.parametrize("run", RUNS)
def test_every_kind_of_check_answers(run: Run) -> None:
    """Checks of each kind, those that hang too, give the same answer on any loop, side by side within one timeout."""
    rig = HealthRig()
    go = threading.Event()

    async def waits() -> None:
        await anyio.sleep(0.01)

    async def at_once() -> dict[str, int]:
        return {"size": 1}

    async def fails() -> None:
        raise ConnectionError("gone")

    async def hangs() -> None:
        await anyio.sleep(60)

    # those that answer have time for it on a busy machine
    for check in (waits, at_once, fails):
        rig.check(check.__name__, check, timeout=60)
    rig.check("hangs", hangs, timeout=0.5)
    rig.check("thread", lambda: True, timeout=60)
    rig.check("thread that awaits", waits.__call__, timeout=60)
    rig.check("awaitable", lambda: anyio.sleep(0.01), timeout=60)
    rig.check("thread that hangs", lambda: go.wait(60), timeout=0.5)
    began = time.monotonic()
    code, body = run(lambda: rig.ask("/ready", **HERE))
    go.set()
    assert code == 503
    assert time.monotonic() - began < 60
    late = "no answer within 0.5 s"
    assert {name: check.get("error") for name, check in body["checks"].items()} == {
        "waits": None,
        "at_once": None,
        "fails": "ConnectionError: gone",
        "hangs": late,
        "thread": None,
        "thread that awaits": None,
        "awaitable": None,
        "thread that hangs": late,
    }


@pytest.mark.parametrize("run", RUNS)
def test_metrics_are_scraped(run: Run) -> None:
    """The scrape route answers on any loop, and a scrape that fails has its status there as well."""
    pages = iter([b"a 1.0\n"])
    route = MetricsRoute(lambda accept, encoding: Answer(next(pages), ()), Guard(output=lambda level, text: None))

    async def twice() -> list[int]:
        return [(await drive(route, scope_of("/metrics")))[0]["status"] for _ in range(2)]

    assert run(twice) == [200, 500]


@pytest.mark.parametrize("run", RUNS)
def test_a_wait_ends_by_a_thread_or_by_its_time(run: Run) -> None:
    """Waiting lasts until another thread ends it, however often, and no longer than it was told."""

    async def program() -> None:
        waiter = loops.running().waiter()
        await waiter.ended(0.001)
        threading.Thread(target=lambda: (waiter.end(), waiter.end())).start()
        await waiter.ended()

    run(program)


@pytest.mark.parametrize("run", RUNS)
def test_work_has_a_context_of_its_own_and_can_be_cancelled(run: Run) -> None:
    """Work begins after the call that begins it, in its own context, and ends when it is cancelled from a thread."""
    ended: list[str] = []

    async def program() -> loops.Loop:
        loop = loops.running()
        over = loop.waiter()

        async def work() -> None:
            try:
                await anyio.sleep(60)
            except loop.cancelled:
                ended.append("cancelled")
                over.end()
                raise

        cancel = loop.begin(work, Context())
        assert ended == []
        await anyio.sleep(0.01)
        threading.Thread(target=cancel).start()
        await over.ended()
        return loop

    loop = run(program)
    assert ended == ["cancelled"]
    assert loop.closed


def test_what_ends_after_its_loop_harms_nobody() -> None:
    """A thread that ends a wait, or cancels work, of a loop that is gone raises nothing."""

    async def program() -> tuple[loops.Waiter, Callable[[], None]]:
        loop = loops.running()

        async def work() -> None:
            await anyio.sleep(60)

        return loop.waiter(), loop.begin(work, Context())

    for run in (asyncio_run, trio.run):
        waiter, cancel = run(program)
        waiter.end()
        cancel()


def test_without_a_loop_there_is_an_error() -> None:
    """Outside of a coroutine there is no loop to wait on."""
    with pytest.raises(RuntimeError):
        loops.running()
