"""Checks that are asked often, hang, raise or answer nonsense."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from opentelemetry.context import get_current

from otel_distro.health.registry import MOST
from otel_distro.health.result import Result
from otel_distro.tracing.context import suppressed
from tests.health_rig import HERE, HealthRig
from tests.threads import no_threads

FLOOD = 1000


async def flood(rig: HealthRig, probes: int = FLOOD) -> list[int]:
    return [code for code, _ in await asyncio.gather(*(rig.ask("/ready") for _ in range(probes)))]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_flood_of_probes_costs_one_run_a_cache_time(kind: str) -> None:
    """A thousand probes at once run the check once; once its result is too old, a thousand more run it once again."""
    ran: list[float] = []

    def count() -> None:
        ran.append(time.monotonic())
        time.sleep(0.02)

    async def count_async() -> None:
        ran.append(time.monotonic())
        await asyncio.sleep(0.02)

    async def twice() -> None:
        rig = HealthRig()
        rig.check("database", count if kind == "sync" else count_async, cache=600.0, timeout=60)
        assert set(await flood(rig)) == {200}
        assert set(await flood(rig, 10)) == {200}
        assert len(ran) == 1
        rig.health.registry.probes()[0].forget()
        assert set(await flood(rig)) == {200}
        assert len(ran) == 2

    asyncio.run(twice())


def test_a_result_is_used_until_it_is_too_old() -> None:
    """A cache time of nothing runs the check for each probe, one after another."""
    rig = HealthRig()
    rig.check("each", lambda: None, cache=0)

    async def thrice() -> None:
        for _ in range(3):
            await rig.ask("/ready")

    asyncio.run(thrice())
    assert rig.runs("each") == 3


def test_a_check_that_hangs_is_down_after_its_timeout_and_holds_up_nothing_else() -> None:
    """The others' results count, the event loop runs on, and while it hangs no second run is started."""
    release = threading.Event()

    async def asked() -> None:
        rig = HealthRig({"OTEL_DISTRO_HEALTH_TIMEOUT": "100", "OTEL_DISTRO_HEALTH_CACHE": "0"})
        rig.check("hangs", lambda: release.wait(60))
        ticked = threading.Event()
        # up when the loop has run on, however long that takes on a busy machine
        rig.check("fine", lambda: ticked.wait(50), timeout=60)

        async def tick() -> None:
            for _ in range(10):
                await asyncio.sleep(0.001)
            ticked.set()

        ticking = asyncio.create_task(tick())
        code, body = await rig.ask("/ready", **HERE)
        await ticking
        assert code == 503
        assert body["checks"]["hangs"]["error"] == "no answer within 0.1 s"
        assert body["checks"]["hangs"]["latency_ms"] is None
        assert body["checks"]["fine"]["status"] == "up"
        for _ in range(20):
            assert (await rig.ask("/ready"))[0] == 503
        assert rig.runs("hangs") == 1
        assert sum(thread.name == "otel-distro-check-hangs" for thread in threading.enumerate()) == 1
        assert len(rig.lines) == 1
        release.set()
        await until_ready(rig)

    asyncio.run(asked())


async def until_ready(rig: HealthRig) -> None:
    while (await rig.ask("/ready"))[0] != 200:  # noqa: ASYNC110 - a probe is what it waits by
        await asyncio.sleep(0.01)


def test_an_asynchronous_check_that_ignores_its_cancellation_is_not_waited_for() -> None:
    """It is down, and its task runs alone until it ends."""
    cancelled = 0

    async def stubborn() -> None:
        nonlocal cancelled
        while not done.is_set():
            try:
                await done.wait()
            except asyncio.CancelledError:
                cancelled += 1

    async def asked() -> None:
        rig = HealthRig({"OTEL_DISTRO_HEALTH_TIMEOUT": "50", "OTEL_DISTRO_HEALTH_CACHE": "0"})
        rig.check("stubborn", stubborn)
        for _ in range(5):
            assert (await rig.ask("/ready"))[0] == 503
        assert rig.runs("stubborn") == 1
        assert cancelled == 1
        done.set()
        await until_ready(rig)

    done = asyncio.Event()
    asyncio.run(asked())


def test_a_run_whose_event_loop_is_gone_is_begun_again() -> None:
    """A test client makes an event loop for each of its blocks; a check of the last one must not hang for ever."""
    rig = HealthRig({"OTEL_DISTRO_HEALTH_TIMEOUT": "30", "OTEL_DISTRO_HEALTH_CACHE": "0"})
    calls = 0

    async def first_hangs() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.sleep(3600)

    rig.check("loop", first_hangs)
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(rig.ask("/ready"))[0] == 503
    loop.close()
    # a busy machine may not come to an answer in the time of the one that hangs
    asyncio.run(asyncio.wait_for(until_ready(rig), 60))
    assert calls > 1


class Unspeakable(Exception):
    """Its text raises."""

    def __str__(self) -> str:
        raise ValueError


def leaves() -> None:
    raise SystemExit(3)


def cancelled() -> None:
    raise asyncio.CancelledError  # as the result of a task that was cancelled does


def unspeakable() -> None:
    raise Unspeakable


class Endless:
    """Its text raises as well."""

    __str__ = __repr__ = unspeakable


ODD: dict[str, tuple[Any, str]] = {
    "a number": (lambda: 3, "the check returned int, not None, a boolean or a mapping"),
    "an object without a text": (Endless, "the check returned Endless, not None, a boolean or a mapping"),
    "no": (lambda: False, "the check says no"),
    "an exit": (leaves, "SystemExit: 3"),
    "a cancelled result": (cancelled, "CancelledError"),
    "an exception without a text": (unspeakable, "Unspeakable"),
    "wrong arguments": (lambda x: x, "TypeError: "),
}


@pytest.mark.parametrize(("function", "reason"), ODD.values(), ids=ODD)
def test_nonsense_is_down_with_a_reason_and_said_once(function: Any, reason: str) -> None:
    """Whatever a check does, the probe is answered, and one line says it."""
    rig = HealthRig({"OTEL_DISTRO_HEALTH_CACHE": "0"})
    rig.check("odd", function)
    for _ in range(3):
        code, body = asyncio.run(rig.ask("/ready", **HERE))
        assert code == 503
        assert body["checks"]["odd"]["error"].startswith(reason)
    assert len(rig.lines) == 1
    assert "odd" in rig.lines[0]


def test_details_that_are_no_json_are_shown_as_text_and_bounded() -> None:
    """A mapping may hold anything; what cannot be shown does not break the answer."""
    rig = HealthRig()
    rig.check("big", lambda: {str(n): float("nan") for n in range(1000)})
    rig.check("odd", lambda: {"x": Endless(), "y": object})
    _, body = asyncio.run(rig.ask("/health/detailed", **HERE))
    assert len(body["checks"]["big"]["details"]) == 32
    assert body["checks"]["odd"]["details"]["x"] == "Endless"


def test_a_check_that_returns_something_to_await_is_awaited() -> None:
    """A synchronous function that gives a coroutine is asynchronous all the same."""

    async def answer() -> bool:
        return False

    rig = HealthRig()
    rig.check("lazy", lambda: answer())  # noqa: PLW0108 - a plain function that gives a coroutine
    assert asyncio.run(rig.ask("/ready", **HERE))[1]["checks"]["lazy"]["error"] == "the check says no"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_check_makes_no_telemetry_and_sees_nothing_of_the_request(kind: str) -> None:
    """Its context asks for silence and holds nothing else."""
    seen: list[tuple[bool, int]] = []

    def look() -> None:
        seen.append((suppressed(), len(get_current())))

    async def look_async() -> None:
        look()

    rig = HealthRig()
    rig.check("silent", look if kind == "sync" else look_async)
    asyncio.run(rig.ask("/ready"))
    assert seen
    assert seen[0][0] is True


def test_checks_are_bounded() -> None:
    """Not more checks than can hang in threads without harm; the rest is named once."""
    rig = HealthRig()
    for number in range(MOST + 10):
        rig.check(f"check {number}", lambda: None)
    rig.check("check 3", lambda: False)
    assert len(rig.health.registry.probes()) == MOST
    assert len(rig.lines) == 1
    assert asyncio.run(rig.ask("/ready"))[0] == 503


def test_a_beat_keeps_a_loop_alive() -> None:
    """A heartbeat is up as long as somebody beats in time."""
    from otel_distro.health.dependencies import Heartbeat

    alive, dead = Heartbeat(3600), Heartbeat(-1)
    alive.beat()
    rig = HealthRig()
    rig.check("alive", alive.ask)
    rig.check("dead", dead.ask, critical=False)
    _, body = asyncio.run(rig.ask("/ready", **HERE))
    assert [check["status"] for check in body["checks"].values()] == ["up", "down"]


def test_a_process_that_cannot_start_a_thread_answers_all_the_same() -> None:
    """The check is down with that reason, the next probe tries again."""
    from otel_distro.health.check import Check
    from otel_distro.health.probe import Probe

    rig = HealthRig()
    probe = Probe(Check("x", lambda: None, True, 1.0, 0.0), rig.health.guard)

    async def asked() -> Result:
        return await probe.result(probe.begin())

    with no_threads():
        result = asyncio.run(asked())
    assert result.reason is not None
    assert result.reason.startswith("the check could not start")
    assert asyncio.run(asked()).reason is None
