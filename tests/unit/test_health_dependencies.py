"""What checks ask: databases, Redis, URLs, workers; and how they are found."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import sqlalchemy
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from redis.exceptions import ConnectionError as RedisConnectionError

from otel_distro.answers import Answers
from otel_distro.guard import Guard
from otel_distro.health import dependencies
from otel_distro.health.found import Finder, living
from otel_distro.health.gauges import Gauges
from otel_distro.import_hooks import ImportHooks
from otel_distro.metrics import LeanMeterProvider
from tests.asgi_rig import one_route, scope_of
from tests.health_rig import HERE, HealthRig
from tests.servers.base import free_port


def run(function: Any) -> Any:
    """Run a check's function as the event loop or a thread would."""
    value = function()
    return asyncio.run(value) if asyncio.iscoroutine(value) else value


@contextmanager
def server(status: int, seen: list[tuple[str, str, dict[str, str]]]) -> Iterator[str]:
    """An HTTP server that answers everything with one status; gives `host:port`."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            self.send_response(status)
            self.end_headers()

        do_GET = do_HEAD = _answer  # noqa: N815 - the base class's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            return

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{listening.server_address[1]}"
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


@pytest.mark.parametrize(("status", "good"), [(200, True), (404, True), (401, True), (500, False), (503, False)])
def test_a_url_is_up_as_long_as_it_does_not_fail(status: int, good: bool) -> None:
    """An API that wants credentials is there; one that answers 5xx is not."""
    seen: list[tuple[str, str, dict[str, str]]] = []
    with server(status, seen) as address:
        function = dependencies.url(f"http://joe:pw@{address}/v1/ping?x=1", 5, range(100, 500), "HEAD")
        if good:
            assert function() == {"http_status": status}
        else:
            with pytest.raises(ConnectionError, match=f"^status {status}$"):
                function()
    method, path, headers = seen[0]
    assert (method, path, headers["authorization"]) == ("HEAD", "/v1/ping?x=1", "Basic am9lOnB3")


@pytest.mark.parametrize(("status", "good"), [(101, True), (200, False)])
def test_a_websocket_is_up_when_it_accepts_one(status: int, good: bool) -> None:
    """The handshake is what is asked, and a plain answer is none."""
    seen: list[tuple[str, str, dict[str, str]]] = []
    with server(status, seen) as address:
        function = dependencies.url(f"ws://{address}/ws", 5, range(100, 500), "HEAD")
        if good:
            function()
        else:
            with pytest.raises(ConnectionError):
                function()
    method, _, headers = seen[0]
    assert (method, headers["upgrade"], headers["sec-websocket-version"]) == ("GET", "websocket", "13")


@pytest.mark.parametrize("text", ["", "db:5432", "ftp://x/", "http://", "postgresql://x/y", "http://[", "http://x:y/"])
def test_what_is_no_url_is_refused_when_it_is_declared(text: str) -> None:
    """A typing error is an error at the start, not an outage."""
    with pytest.raises(ValueError):  # noqa: PT011 - urllib's own texts
        dependencies.url(text, 1, range(100, 500), "HEAD")


def finder(rig: HealthRig) -> Finder:
    return Finder(rig.health)


def names(rig: HealthRig) -> list[str]:
    return [probe.check.name for probe in rig.health.registry.probes()]


def test_engines_are_checked_under_names_of_their_own_while_they_live(tmp_path: Path) -> None:
    """The first is `database`, further ones have a name of their own, one that is gone is no longer checked."""
    rig = HealthRig()
    engines = [sqlalchemy.create_engine(f"sqlite:///{tmp_path}/{n}.db") for n in range(2)]
    for engine in engines:
        finder(rig).engine(engine)
        finder(rig).engine(engine)
    finder(rig).engine(sqlalchemy.create_engine("sqlite://"))
    assert names(rig) == ["database", "database-2"]
    code, body = asyncio.run(rig.ask("/ready", **HERE))
    assert code == 200
    assert {check["status"] for check in body["checks"].values()} == {"up"}
    assert {check["critical"] for check in body["checks"].values()} == {True}
    for engine in engines:
        engine.dispose()
    del engine, engines
    gc.collect()
    assert names(rig) == []


def test_an_engine_that_is_declared_is_not_found_as_well(tmp_path: Path) -> None:
    """A name that the application gives replaces the one that was found, whichever came first."""
    rig = HealthRig()
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/x.db")
    finder(rig).engine(engine)
    rig.health.registry.claim(engine.dialect)
    finder(rig).engine(engine)
    assert names(rig) == []
    engine.dispose()


def test_a_database_that_cannot_be_opened_is_down(tmp_path: Path) -> None:
    """The driver's reason is told without the statement."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/missing/x.db")
    rig = HealthRig()
    finder(rig).engine(engine)
    code, body = asyncio.run(rig.ask("/ready", **HERE))
    assert code == 503
    assert "unable to open database file" in body["checks"]["database"]["error"]


def test_redis_is_asked_by_a_connection_of_its_own() -> None:
    """Sync and async clients answer, and clients of one pool are one dependency."""
    host = fakeredis.FakeServer()
    clients = [fakeredis.FakeRedis(server=host), fakeredis.FakeAsyncRedis(server=host)]
    rig = HealthRig()
    for client in (*clients, *clients):
        finder(rig).client(client)
    assert names(rig) == ["redis", "redis-2"]
    _, body = asyncio.run(rig.ask("/ready", **HERE))
    assert [check["status"] for check in body["checks"].values()] == ["up", "up"]
    host.connected = False
    for client in clients:
        with pytest.raises(RedisConnectionError):
            run(dependencies.redis(client, 1.0))


def test_a_redis_that_refuses_says_so_at_once_and_only_degrades() -> None:
    """The client's retries, which take seconds, do not hide the reason; a cache takes nobody out of the rotation."""
    import redis

    client = redis.Redis(port=free_port())
    rig = HealthRig({"OTEL_DISTRO_HEALTH_TIMEOUT": "20000"})
    finder(rig).client(client)
    code, body = asyncio.run(rig.ask("/ready", **HERE))
    assert code == 200
    assert "refused" in body["checks"]["redis"]["error"]
    critical = HealthRig({"OTEL_DISTRO_HEALTH_CRITICAL": "redis"})
    finder(critical).client(client)
    assert asyncio.run(critical.ask("/ready"))[0] == 503
    client.close()


def test_what_is_made_later_or_was_made_before_is_found(tmp_path: Path) -> None:
    """Engines and clients tell about themselves, and those that are older are looked up; what a check makes is not."""
    import redis

    gc.collect()  # clients that earlier tests left would be found, and go between two looks
    older = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/older.db")
    before = {
        kind: kind.__init__ for kind in (sqlalchemy.engine.Engine, redis.Redis, redis.asyncio.Redis, redis.RedisCluster)
    }
    cluster = redis.asyncio.RedisCluster.__init__
    rig = HealthRig()
    hooks = ImportHooks(rig.health.guard)
    try:
        finder(rig).watch(hooks)
        later = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/later.db")
        client = redis.Redis(port=free_port())
        found = len(names(rig))
        asyncio.run(rig.ask("/ready"))
        assert len(names(rig)) == found
        probes = {id(reference()) for reference, _ in rig.health.registry._found.values()}
        assert {id(older.dialect), id(later.dialect), id(client.connection_pool)} <= probes
    finally:
        for kind, original in before.items():
            kind.__init__ = original  # type: ignore[misc]
        redis.asyncio.RedisCluster.__init__ = cluster  # type: ignore[method-assign]
    client.close()
    older.dispose()
    later.dispose()


def test_looking_for_what_is_there_breaks_no_other_thread() -> None:
    """A tuple that another thread fills from an iterator while somebody looks is built all the same."""
    half, ready = threading.Event(), threading.Event()
    built: list[tuple[int, ...]] = []

    class Kind(type):
        def __subclasscheck__(cls, other: type) -> bool:
            if not half.is_set():
                half.set()
                thread.join()
            return super().__subclasscheck__(other)

    class Engine(metaclass=Kind):
        pass

    class Special(Engine):
        pass

    def numbers() -> Iterator[int]:
        yield 0
        ready.set()
        half.wait()
        yield from range(1, 100)

    thread = threading.Thread(target=lambda: built.append(tuple(numbers())))
    thread.start()
    ready.wait()
    things = [Engine(), Special()]
    assert {*map(id, living(Engine))} == {*map(id, things)}
    assert built == [tuple(range(100))]


@contextmanager
def gauges_of(rig: HealthRig) -> Iterator[InMemoryMetricReader]:
    """What reads the gauges of this process's health."""
    reader = InMemoryMetricReader()
    provider = LeanMeterProvider(resource=Resource({}), guard=Guard(level=logging.ERROR), readers=[reader])
    Gauges(rig.health, provider)
    yield reader
    provider.shutdown()


def test_results_are_gauges_that_run_nothing() -> None:
    """Up, degraded, duration and readiness; a check that nobody has asked for has no value."""
    rig = HealthRig()
    rig.check("database", lambda: None)
    rig.check("cache", lambda: False, critical=False)
    with gauges_of(rig) as reader:
        assert reader.get_metrics_data() is None or not points(reader)
        assert rig.runs("database") == 0
        asyncio.run(rig.ask("/ready"))
        found = points(reader)
        assert found["health.check.up", "database"] == 1
        assert found["health.check.up", "cache"] == 0
        assert found["health.check.degraded", "cache"] == 0
        assert found["health.ready", None] == 1
        assert found["health.check.duration", "database"] >= 0
        assert rig.runs("database") == 1


def test_the_gauges_show_what_was_told_lately_whenever_its_run_began() -> None:
    """A check that hangs for long stays down there as in the answers, and so it does where the wall clock is set."""
    rig = HealthRig()
    rig.check("database", lambda: False)
    with gauges_of(rig) as reader:
        asyncio.run(rig.ask("/ready"))
        [probe] = rig.health.registry.probes()
        assert probe.last is not None
        probe.last = replace(probe.last, at=0.0)
        found = points(reader)
        assert (found["health.check.up", "database"], found["health.ready", None]) == (0, 0)


def test_what_nobody_has_asked_for_within_two_minutes_is_told_no_more() -> None:
    """Of several workers one may not be asked again for long, and a database that was away for a moment is back."""
    rig = HealthRig()
    rig.check("database", lambda: False)
    with gauges_of(rig) as reader:
        asyncio.run(rig.ask("/ready"))
        [probe] = rig.health.registry.probes()
        for told in (True, False):
            probe.told_at -= 70
            rig.health.asked_at -= 70
            assert bool(points(reader)) is told


def points(reader: InMemoryMetricReader) -> dict[tuple[str, Any], Any]:
    data = reader.get_metrics_data()
    return {
        (metric.name, (point.attributes or {}).get("health.check.name")): point.value  # type: ignore[union-attr]
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


def test_a_route_of_the_application_stays_and_one_for_anything_does_not() -> None:
    """Exactly its path, for GET: then it is the application's; a mount or a parameter takes nothing."""
    lines: list[str] = []
    answers = Answers(Guard(output=lambda _, text: lines.append(text)))

    async def answer(*_: Any) -> None:
        return

    answers["/ready"] = answer
    for path, ours in (("/ready", False), ("/{anything:path}", True), ("/other", True)):
        app = one_route(path=path)
        assert (answers.of(app, scope_of("/ready")) is answer) is ours
    assert len(lines) == 1
    assert answers.of(one_route(), scope_of("/v1/ready", root_path="/v1")) is answer
    assert answers.of(one_route(), scope_of("/v1/ready")) is None
    assert answers.of(one_route(), {**scope_of("/ready"), "type": "websocket"}) is None
