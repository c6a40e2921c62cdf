"""The same calls through contrib or through ours, in a process of its own; prints the spans as JSON.

python -m tests.conformance.client_traffic LIBRARY contrib|ours URL-OR-PORT
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.recording import Recording, TakingBrief

LIBRARIES: dict[str, tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str, str], ...]]] = {
    # contrib's instrumentors, ours with the module that is patched
    "sqlalchemy": (
        (("sqlalchemy", "SQLAlchemyInstrumentor"),),
        (("sqlalchemy", "SqlalchemyInstrumentation", "sqlalchemy"),),
    ),
    "redis": ((("redis", "RedisInstrumentor"),), (("redis", "RedisInstrumentation", "redis"),)),
    "httpx": ((("httpx", "HTTPXClientInstrumentor"),), (("httpx", "HttpxInstrumentation", "httpx"),)),
    "httpx2": ((("httpx", "HTTPX2ClientInstrumentor"),), (("httpx", "Httpx2Instrumentation", "httpx2"),)),
    "requests": (
        (("requests", "RequestsInstrumentor"), ("urllib3", "URLLib3Instrumentor")),
        (("requests", "RequestsInstrumentation", "requests"), ("urllib3", "Urllib3Instrumentation", "urllib3")),
    ),
    "urllib3": ((("urllib3", "URLLib3Instrumentor"),), (("urllib3", "Urllib3Instrumentation", "urllib3"),)),
    "aiohttp_client": (
        (("aiohttp_client", "AioHttpClientInstrumentor"),),
        (("aiohttp_client", "AiohttpClientInstrumentation", "aiohttp"),),
    ),
}


def _try(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return type(error).__name__


def sqlalchemy(_: str) -> list[Any]:
    """Statements of several kinds on SQLite; an engine made after instrumentation, as contrib wants it."""
    import sqlalchemy as sa
    from sqlalchemy.pool import StaticPool

    engine = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    users = sa.Table("users", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text))
    results: list[Any] = []
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)"))
        connection.execute(sa.insert(users), [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])
        results.append(connection.execute(sa.select(users).where(users.c.id == 1)).all()[0][1])
        results.append(connection.execute(sa.select(users).where(users.c.id.in_([1, 2]))).all()[1][1])
        results.append(connection.execute(sa.text("SELECT name FROM users WHERE name = 'a' LIMIT 1")).scalar())
        connection.execute(sa.update(users).values(name="c").where(users.c.id == 1))
        results.append(_try(lambda: connection.execute(sa.text("SELECT * FROM nowhere"))))
        results.append(connection.exec_driver_sql("SELECT 1").scalar())
    return results


def redis(port: str) -> list[Any]:
    """Commands, pipelines and errors, sync and async."""
    import redis
    import redis.asyncio

    results: list[Any] = []
    with redis.Redis("127.0.0.1", int(port), db=2, protocol=2, lib_name=None, lib_version=None) as client:
        client.set("user:1", "x")
        results.append(client.get("user:1"))
        results.append(client.mget("user:1", "user:2"))
        client.pipeline(transaction=False).set("user:1", 1).incr("user:1").execute()
        results.append(_try(lambda: client.lpush("user:1", "x")))

    async def work() -> None:
        options: dict[str, Any] = {"db": 2, "protocol": 2, "lib_name": None, "lib_version": None}
        async with redis.asyncio.Redis(host="127.0.0.1", port=int(port), **options) as client:
            results.append(await client.get("user:1"))
            async with client.pipeline() as pipeline:
                await pipeline.get("user:1").get("user:2").execute()

    asyncio.run(work())
    return [str(result) for result in results]


def _http(url: str, call: Callable[..., Any]) -> list[Any]:
    return [
        call("GET", f"{url}/status/200?page=2"),
        call("POST", f"{url}/status/404"),
        call("PUT", f"{url}/status/500"),
        call("GET", f"{url}/redirect"),
        call("BREW", f"{url}/status/200"),
        call("GET", f"{url}/status/200?sig=secret"),
        _try(lambda: call("GET", "http://127.0.0.1:1/")),
    ]


def httpx(url: str) -> list[Any]:
    """Requests, sync and async."""
    return _httpx(url, importlib.import_module("httpx"))


def httpx2(url: str) -> list[Any]:
    """The same."""
    return _httpx(url, importlib.import_module("httpx2"))


def _httpx(url: str, httpx: Any) -> list[Any]:
    def call_async(method: str, target: str) -> int:
        async def work() -> int:
            async with httpx.AsyncClient(follow_redirects=True) as client:
                return (await client.request(method, target)).status_code

        return asyncio.run(work())

    return _http(url, lambda m, u: httpx.request(m, u, follow_redirects=True).status_code) + _http(url, call_async)


def requests(url: str) -> list[Any]:
    """Requests by a session."""
    import requests

    with requests.Session() as session:
        return _http(url, lambda method, target: session.request(method, target, timeout=5).status_code)


def urllib3(url: str) -> list[Any]:
    """Requests by a pool manager; its redirects are calls of their own."""
    import urllib3

    with urllib3.PoolManager(retries=urllib3.Retry(2, connect=0)) as pool:
        return _http(url, lambda method, target: pool.request(method, target).status)


def aiohttp_client(url: str) -> list[Any]:
    """Requests by a session."""
    import aiohttp

    def call(method: str, target: str) -> int:
        async def work() -> int:
            async with aiohttp.ClientSession() as session, session.request(method, target) as response:
                return response.status

        return asyncio.run(work())

    return _http(url, call)


def main(library: str, side: str, where: str) -> None:
    """Instrument, call, print."""
    contribs, ours = LIBRARIES[library]
    memory = InMemorySpanExporter()
    if side == "contrib":
        provider: TracerProvider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(memory))
        trace.set_tracer_provider(provider)
        for module, name in contribs:
            instrumentor = getattr(importlib.import_module(f"opentelemetry.instrumentation.{module}"), name)
            instrumentor().instrument(skip_dep_check=True)
    else:
        recording = Recording()
        provider = recording.tracer_provider
        # alone, so that no span is an object before somebody looks at it
        taking = TakingBrief(memory)
        provider.pipeline.use((taking,))
        trace.set_tracer_provider(provider)
        for module, name, patched in ours:
            kind = getattr(importlib.import_module(f"otel_distro.instrumentation.{module}"), name)
            kind(recording.toolbox).instrument(importlib.import_module(patched))
    with trace.get_tracer("traffic").start_as_current_span("above"):
        results = globals()[library](where)
    if side == "ours":
        taking.settle()
    spans = sorted(memory.get_finished_spans(), key=lambda span: span.end_time or 0)
    names = {span.context.span_id: span.name for span in spans}
    print(json.dumps({"results": results, "spans": [_plain(span, names) for span in spans]}))


def _plain(span: ReadableSpan, names: dict[int, str]) -> dict[str, Any]:
    return {
        "name": span.name,
        "kind": span.kind.name,
        "parent": names.get(span.parent.span_id) if span.parent else None,
        "attributes": {key: list(v) if isinstance(v, tuple) else v for key, v in (span.attributes or {}).items()},
        "status": span.status.status_code.name,
        "description": span.status.description,
        "events": [
            {"name": event.name, "type": (event.attributes or {}).get("exception.type")} for event in span.events
        ],
        "links": len(span.links),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
