"""Cases of other packages' issue trackers that no other test here is about; `docs/robustness.md` lists them all."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa
from opentelemetry.metrics import Meter
from opentelemetry.sdk.resources import Resource
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from otel_distro.instrumentation.aiohttp_client import AiohttpClientInstrumentation
from otel_distro.instrumentation.sqlalchemy import SqlalchemyInstrumentation
from otel_distro.metrics import LeanMeterProvider
from tests.asgi_rig import get, rigged
from tests.recording import Recording, instrumented


class CountingMeters(LeanMeterProvider):
    """Counts how often it is asked for a meter."""

    asked = 0

    def get_meter(self, *arguments: Any, **named: Any) -> Meter:
        """As the base class."""
        self.asked += 1
        return super().get_meter(*arguments, **named)


def test_a_session_of_aiohttp_asks_for_no_meter_of_its_own() -> None:
    """Contrib's makes a meter for each ClientSession, which are never let go (contrib #4991)."""
    recording = Recording()
    meters = CountingMeters(resource=Resource({}), guard=recording.guard, readers=[])
    object.__setattr__(recording.toolbox, "meter_provider", meters)

    async def work() -> None:
        for _ in range(20):
            async with aiohttp.ClientSession():
                pass

    with instrumented(AiohttpClientInstrumentation, recording):
        asyncio.run(work())
        before = meters.asked
        asyncio.run(work())
        assert meters.asked == before <= 3


@pytest.mark.skipif(sa.__version__ < "2", reason="the asynchronous engine of SQLAlchemy 1.4 is another one")
def test_an_asynchronous_engine_is_traced_once() -> None:
    """`create_async_engine` gets two tracers from contrib, and one of their spans never ends (contrib #2149)."""
    from sqlalchemy.ext.asyncio import create_async_engine

    async def work() -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))
        await engine.dispose()

    recording = Recording()
    with instrumented(SqlalchemyInstrumentation, recording):
        asyncio.run(work())
    assert [span.name for span in recording.spans] == ["SELECT"]
    assert recording.failures == []


def test_requests_one_after_the_other_have_traces_of_their_own() -> None:
    """No request sees the trace of the one before it on the same connection (opentelemetry-python #4396)."""

    async def handler(request: Any) -> PlainTextResponse:
        return PlainTextResponse("ok")

    app = Starlette(routes=[Route("/x", handler)])
    with rigged() as rig:
        for _ in range(5):
            get(app, "/x")
        traces = [span.context.trace_id for span in rig.take()]
    assert len(set(traces)) == 5
