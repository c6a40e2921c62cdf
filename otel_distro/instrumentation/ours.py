"""The table of our own instrumentations; their modules are imported when their libraries are."""

from __future__ import annotations

from .arbiter import Own

OURS: tuple[Own, ...] = (
    Own(
        name="logging",
        modules=("logging",),
        target="otel_distro.instrumentation.logs:LoggingInstrumentation",
        replaces=("logging", "structlog"),
    ),
    Own(
        name="fastapi",
        modules=(
            "starlette.background",
            "starlette.routing",
            "starlette.applications",
            "starlette.middleware.opentelemetry",
            "fastapi.applications",
            "opentelemetry.instrumentation.asgi",
            "opentelemetry.instrumentation.fastapi",
            "opentelemetry.instrumentation.starlette",
        ),
        target="otel_distro.instrumentation.asgi:FastApiInstrumentation",
        replaces=("fastapi", "starlette", "asgi"),
    ),
    Own(
        name="sqlalchemy",
        modules=(
            "sqlalchemy",
            "opentelemetry.instrumentation.sqlalchemy",
            "opentelemetry.instrumentation.dbapi",
            "opentelemetry.instrumentation.asyncpg",
        ),
        target="otel_distro.instrumentation.sqlalchemy:SqlalchemyInstrumentation",
        replaces=("sqlalchemy",),
    ),
    Own(
        name="redis",
        modules=("redis", "opentelemetry.instrumentation.redis"),
        target="otel_distro.instrumentation.redis:RedisInstrumentation",
        replaces=("redis",),
    ),
    Own(
        name="httpx",
        modules=("httpx", "opentelemetry.instrumentation.httpx"),
        target="otel_distro.instrumentation.httpx:HttpxInstrumentation",
        replaces=("httpx",),
    ),
    Own(
        name="requests",
        modules=("requests", "opentelemetry.instrumentation.requests"),
        target="otel_distro.instrumentation.requests:RequestsInstrumentation",
        replaces=("requests",),
    ),
    Own(
        name="urllib3",
        modules=("urllib3", "opentelemetry.instrumentation.urllib3"),
        target="otel_distro.instrumentation.urllib3:Urllib3Instrumentation",
        replaces=("urllib3",),
    ),
    Own(
        name="aiohttp-client",
        modules=("aiohttp", "opentelemetry.instrumentation.aiohttp_client"),
        target="otel_distro.instrumentation.aiohttp_client:AiohttpClientInstrumentation",
        replaces=("aiohttp-client",),
    ),
)
"""A contract test holds this table against the classes it names."""
