"""Who instruments which library, as far as that is known without any import: ours, and contrib's that may wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Own(NamedTuple):
    """An instrumentation of ours, known without importing it.

    Attributes:
        name: the entry-point name that users know.
        modules: importing any of these is the moment to patch it.
        target: `module:class`.
        replaces: contrib's instrumentors that must not be loaded beside it.
    """

    name: str
    modules: tuple[str, ...]
    target: str
    replaces: tuple[str, ...]


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
        name="httpx2",
        modules=("httpx2", "opentelemetry.instrumentation.httpx"),
        target="otel_distro.instrumentation.httpx:Httpx2Instrumentation",
        replaces=("httpx2",),
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

CONTRIB_MODULES: Mapping[str, str] = {
    "aio_pika": "aio_pika",
    "aiokafka": "aiokafka",
    "aiopg": "aiopg",
    "asyncclick": "asyncclick",
    "asyncpg": "asyncpg",
    "boto": "boto",
    "boto3": "boto3",
    "botocore": "botocore",
    "cassandra": "cassandra",
    "celery": "celery",
    "click": "click",
    "confluent_kafka": "confluent_kafka",
    "django": "django",
    "elasticsearch": "elasticsearch",
    "falcon": "falcon",
    "flask": "flask",
    "grpc_client": "grpc",
    "grpc_server": "grpc",
    "jinja2": "jinja2",
    "kafka": "kafka",
    "mysql": "mysql.connector",
    "mysqlclient": "MySQLdb",
    "pika": "pika",
    "psycopg": "psycopg",
    "psycopg2": "psycopg2",
    "pymemcache": "pymemcache",
    "pymongo": "pymongo",
    "pymssql": "pymssql",
    "pymysql": "pymysql",
    "pyramid": "pyramid",
    "remoulade": "remoulade",
    "sqlite3": "sqlite3",
    "taskiq": "taskiq",
    "tornado": "tornado",
    "tortoiseorm": "tortoise",
}
"""Instrumentors of others, contrib's and libraries' own, that may wait for an import: what, by entry-point name."""

CONTRIB_AFTER: Mapping[str, str] = {
    # it reads the settings, and where the application has not named them yet it puts empty ones in their place for good
    "django": "setup",
}
"""The function of the library after whose first return an instrumentor is loaded, by entry-point name."""
