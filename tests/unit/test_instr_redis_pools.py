"""redis-py's pools: what they hold is seen when somebody collects, and no other."""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis
import redis.asyncio

from otel_distro.instrumentation.redis import RedisInstrumentation
from otel_distro.instrumentation.redis.pools import name_of
from tests.recording import Recording, recorded

NAME, STATE = "db.client.connection.pool.name", "db.client.connection.state"


@pytest.fixture
def recording() -> Iterator[Recording]:
    """redis-py, instrumented; nothing of the distro may have failed in a test."""
    with recorded(RedisInstrumentation) as recording:
        yield recording


def held(recording: Recording) -> dict[tuple[str, str], int]:
    return {(a[NAME], a[STATE]): value for a, value in recording.points("db.client.connection.count")}


@pytest.mark.parametrize("pool_class", [redis.ConnectionPool, redis.BlockingConnectionPool])
def test_a_pool_reports_its_connections(recording: Recording, port: int, pool_class: Any) -> None:
    """Used, idle and allowed connections are read at collection, of plain and of blocking pools."""
    pool = pool_class(host="127.0.0.1", port=port, db=2, max_connections=7)
    name = f"127.0.0.1:{port}/2"
    client = redis.Redis(connection_pool=pool)
    client.get("a")
    assert held(recording) == {(name, "used"): 0, (name, "idle"): 1}
    # the oldest redis-py wants to know the command's name, newer ones warn of it
    asked = inspect.signature(pool.get_connection).parameters.get("command_name")
    named = ("PING",) if asked is not None and asked.default is inspect.Parameter.empty else ()
    taken = [pool.get_connection(*named) for _ in range(3)]
    assert held(recording) == {(name, "used"): 3, (name, "idle"): 0}
    for connection in taken:
        pool.release(connection)
    assert held(recording) == {(name, "used"): 0, (name, "idle"): 3}
    assert recording.points("db.client.connection.max") == [({NAME: name}, 7)]
    client.close()
    pool.disconnect()


def test_pools_of_one_name_are_added_up(recording: Recording, port: int) -> None:
    """Two clients of one database are one line."""
    name = f"127.0.0.1:{port}/0"
    clients = [redis.Redis("127.0.0.1", port, max_connections=5) for _ in range(2)]
    for client in clients:
        client.get("a")
    assert held(recording) == {(name, "used"): 0, (name, "idle"): 2}
    assert recording.points("db.client.connection.max") == [({NAME: name}, 10)]
    for client in clients:
        client.close()


def test_an_asynchronous_pool_reports_as_well(recording: Recording, port: int) -> None:
    """The same of redis.asyncio."""

    async def main() -> dict[tuple[str, str], int]:
        async with redis.asyncio.Redis(host="127.0.0.1", port=port) as client:
            await client.get("a")
            return held(recording)

    assert asyncio.run(main()) == {(f"127.0.0.1:{port}/0", "used"): 0, (f"127.0.0.1:{port}/0", "idle"): 1}


def test_a_pool_that_is_garbage_is_forgotten(recording: Recording, port: int) -> None:
    """Telemetry keeps no pool alive."""
    with redis.Redis("127.0.0.1", port) as client:
        client.get("a")
    del client
    gc.collect()
    assert held(recording) == {}


@pytest.mark.parametrize(
    ("options", "service", "name"),
    [
        ({"host": "h", "port": 1, "db": 2}, None, "h:1/2"),
        ({}, None, "localhost:6379/0"),
        ({"path": "/run/redis.sock", "db": None}, None, "/run/redis.sock/0"),
        ({"db": 1, "password": "hunter2", "username": "joe"}, "mymaster", "mymaster/1"),
    ],
)
def test_a_pool_is_called_by_where_it_leads(options: dict[str, Any], service: str | None, name: str) -> None:
    """Address, port and database, or the master's name; no credentials."""
    pool = SimpleNamespace(connection_kwargs=options, **({"service_name": service} if service else {}))
    assert name_of(pool) == name


@pytest.mark.skipif(not hasattr(redis, "observability"), reason="a redis-py without metrics of its own")
def test_connections_are_not_counted_twice(recording: Recording, port: int) -> None:
    """Where the application lets redis-py measure its pools, it is the only one."""
    providers = importlib.import_module("redis.observability.providers")
    config = importlib.import_module("redis.observability.config")
    with redis.Redis("127.0.0.1", port) as client:
        client.get("a")
        assert held(recording)
        instance = providers.ObservabilityInstance()
        instance.init(config.OTelConfig(metric_groups=[config.MetricGroup.COMMAND]))
        assert held(recording)
        instance.init(config.OTelConfig(metric_groups=[config.MetricGroup.CONNECTION_BASIC]))
        assert held(recording) == {}
