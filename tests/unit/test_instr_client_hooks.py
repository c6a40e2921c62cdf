"""Hooks and options given to contrib's instrumentors of requests, urllib3 and aiohttp work on our one span."""

from __future__ import annotations

import asyncio
import importlib
from contextvars import copy_context
from typing import Any

import aiohttp
import pytest
import requests
import urllib3
from opentelemetry import baggage, context

from otel_distro.instrumentation.aiohttp_client import AiohttpClientInstrumentation
from otel_distro.instrumentation.requests import RequestsInstrumentation
from otel_distro.instrumentation.urllib3 import Urllib3Instrumentation
from tests.http_echo import Echo
from tests.recording import Recording, instrumented

MISTAKE = "a hook's own mistake"


def test_requests(echo: Echo) -> None:
    """requests: both hooks, `excluded_urls` and `uninstrument_session`."""
    contrib = importlib.import_module("opentelemetry.instrumentation.requests")
    recording = Recording()

    def on_response(span: Any, request: Any, response: Any) -> None:
        span.set_attribute("hook.status", response.status_code)
        raise ValueError(MISTAKE)

    with instrumented(RequestsInstrumentation, recording) as instrumentation, requests.Session() as session:
        instrumentation.instrument(contrib)
        contrib.RequestsInstrumentor().instrument(
            request_hook=lambda span, request: span.update_name(request.url[-3:]),
            response_hook=on_response,
            excluded_urls="status/404, none",
        )
        session.get(f"{echo.url}/status/201", timeout=5)
        session.get(f"{echo.url}/status/404", timeout=5)
        contrib.RequestsInstrumentor.uninstrument_session(session)
        session.get(f"{echo.url}/status/200", timeout=5)
    span = recording.one()
    assert span.name == "201"
    assert (span.attributes or {})["hook.status"] == 201
    assert recording.failures == [f"requests hook: ValueError: {MISTAKE}"]
    assert "instrument" not in vars(contrib.RequestsInstrumentor)


@pytest.mark.parametrize("name", ["requests", "urllib3"])
def test_an_empty_text_takes_excluded_urls_away(echo: Echo, name: str) -> None:
    """`excluded_urls=""` given to contrib's instrumentor leaves no URL excluded, also none of the settings."""
    contrib = importlib.import_module(f"opentelemetry.instrumentation.{name}")
    recording = Recording({"OTEL_PYTHON_EXCLUDED_URLS": "status/200"})
    kind, instrumentor = {
        "requests": (RequestsInstrumentation, "RequestsInstrumentor"),
        "urllib3": (Urllib3Instrumentation, "URLLib3Instrumentor"),
    }[name]
    with instrumented(kind, recording) as instrumentation, urllib3.PoolManager() as pool:
        instrumentation.instrument(contrib)
        getattr(contrib, instrumentor)().instrument(excluded_urls="")
        if name == "requests":
            requests.get(f"{echo.url}/status/200", timeout=5)
        else:
            pool.request("GET", f"{echo.url}/status/200")
    assert (recording.one().attributes or {})["http.response.status_code"] == 200


def test_context_that_a_request_hook_sets_stays_for_the_request(echo: Echo) -> None:
    """What a hook makes current goes out with the request, and is current below it and in the response's hook."""
    contrib = importlib.import_module("opentelemetry.instrumentation.requests")
    recording = Recording()
    seen: list[object] = []

    def on_request(span: Any, request: Any) -> None:
        context.attach(baggage.set_baggage("k", "v"))

    def on_response(span: Any, request: Any, response: Any) -> None:
        seen.append(baggage.get_baggage("k"))

    def work() -> None:
        with instrumented(RequestsInstrumentation, recording) as instrumentation, requests.Session() as session:
            instrumentation.instrument(contrib)
            contrib.RequestsInstrumentor().instrument(request_hook=on_request, response_hook=on_response)
            echo.asked.clear()
            session.get(f"{echo.url}/status/200", timeout=5)

    copy_context().run(work)
    assert seen == ["v"]
    assert echo.asked[0]["baggage"] == "k=v"
    assert recording.failures == []


def test_urllib3(echo: Echo) -> None:
    """urllib3: both hooks and `url_filter`."""
    contrib = importlib.import_module("opentelemetry.instrumentation.urllib3")
    recording = Recording()
    seen: list[Any] = []
    with instrumented(Urllib3Instrumentation, recording) as instrumentation, urllib3.PoolManager() as pool:
        instrumentation.instrument(contrib)
        contrib.URLLib3Instrumentor().instrument(
            request_hook=lambda span, pool, request: seen.append((request.method, request.body)),
            response_hook=lambda span, pool, response: span.set_attribute("hook.status", response.status),
            url_filter=lambda url: url.split("?")[0],
        )
        pool.request("POST", f"{echo.url}/status/200?x=1", body=b"abc")
    span = recording.one()
    assert seen == [("POST", b"abc")]
    assert (span.attributes or {})["hook.status"] == 200
    assert (span.attributes or {})["url.full"] == f"{echo.url}/status/200"
    assert recording.failures == []


def test_urllib3_keeps_the_pools_own_headers(echo: Echo) -> None:
    """Headers that a pool adds by default are sent as without us, and the caller's mapping is not touched."""
    recording = Recording()
    mine = {"x-mine": "1"}
    with (
        instrumented(Urllib3Instrumentation, recording),
        urllib3.HTTPConnectionPool("127.0.0.1", echo.port, headers={"x-pool": "2"}) as pool,
    ):
        echo.asked.clear()
        pool.urlopen("GET", "/status/200")
        pool.urlopen("GET", "/status/200", headers=mine)
    assert echo.asked[0]["x-pool"] == "2"
    assert echo.asked[1]["x-mine"] == "1"
    assert mine == {"x-mine": "1"}
    assert all("traceparent" in headers for headers in echo.asked)


def test_aiohttp(echo: Echo) -> None:
    """aiohttp: both hooks, `url_filter`, `trace_configs` and `uninstrument_session`."""
    contrib = importlib.import_module("opentelemetry.instrumentation.aiohttp_client")
    recording = Recording()
    seen: list[str] = []
    further = aiohttp.TraceConfig()

    async def on_start(session: Any, context: Any, params: Any) -> None:
        seen.append(params.method)

    further.on_request_start.append(on_start)

    async def work() -> None:
        async with aiohttp.ClientSession() as session:
            await (await session.get(f"{echo.url}/status/200?x=1")).read()
            contrib.AioHttpClientInstrumentor.uninstrument_session(session)
            await (await session.get(f"{echo.url}/status/200")).read()

    with instrumented(AiohttpClientInstrumentation, recording) as instrumentation:
        instrumentation.instrument(contrib)
        contrib.AioHttpClientInstrumentor().instrument(
            request_hook=lambda span, params: span.update_name(f"hooked {params.method}"),
            response_hook=lambda span, params: span.set_attribute("hook.status", params.response.status),
            url_filter=lambda url: str(url.with_query(None)),
            trace_configs=[further],
        )
        asyncio.run(work())
    span = recording.one()
    assert span.name == "hooked GET"
    assert (span.attributes or {})["hook.status"] == 200
    assert (span.attributes or {})["url.full"] == f"{echo.url}/status/200"
    assert seen == ["GET", "GET"]
    assert recording.failures == []


def test_aiohttp_keeps_the_sessions_own_trace_configurations(echo: Echo) -> None:
    """A session's own configurations run beside ours; the caller's list is not touched, and sessions may share it."""
    recording = Recording()
    seen: list[str] = []
    own = aiohttp.TraceConfig()

    async def on_end(session: Any, context: Any, params: Any) -> None:
        seen.append(params.method)

    own.on_request_end.append(on_end)
    configs = [own]

    async def work() -> None:
        for _ in range(2):
            async with aiohttp.ClientSession(trace_configs=configs) as session:
                await (await session.get(echo.url)).read()

    with instrumented(AiohttpClientInstrumentation, recording):
        asyncio.run(work())
    assert seen == ["GET", "GET"]
    assert configs == [own]
    assert len(recording.spans) == 2


def test_aiohttps_explicit_trace_configuration_makes_no_second_span(echo: Echo) -> None:
    """A session with contrib's `create_trace_config(...)` has one span, with that configuration's hooks."""
    contrib = importlib.import_module("opentelemetry.instrumentation.aiohttp_client")
    recording = Recording()

    async def work() -> None:
        config = contrib.create_trace_config(request_hook=lambda span, params: span.set_attribute("hook", "yes"))
        async with aiohttp.ClientSession(trace_configs=[config]) as hooked, aiohttp.ClientSession() as other:
            await (await hooked.get(echo.url)).read()
            await (await other.get(echo.url)).read()

    before = contrib.create_trace_config
    with instrumented(AiohttpClientInstrumentation, recording) as instrumentation:
        instrumentation.instrument(contrib)
        asyncio.run(work())
    assert {(span.attributes or {}).get("hook") for span in recording.spans} == {"yes", None}
    assert len(recording.spans) == 2
    assert contrib.create_trace_config is before
    assert recording.failures == []
