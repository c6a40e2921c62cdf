"""redis-py against a real Redis, alone and as a cluster."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator, Sequence

import pytest
import redis
import redis.asyncio
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.cluster import RedisCluster

from otel_distro.instrumentation.redis import RedisInstrumentation
from tests.recording import Recording, instrumented
from tests.servers import RedisServer
from tests.servers.binaries import debian_binary
from tests.servers.waiting import wait_until

ALL_SLOTS = 16384


class ClusterServer(RedisServer):
    """A cluster of one node that holds every slot."""

    port_names = ("main", "bus")

    def command(self) -> Sequence[str]:
        return [*super().command(), "--cluster-enabled", "yes", "--cluster-port", str(self.ports["bus"])]

    def take_slots(self) -> None:
        """Make the node the whole cluster."""
        self.ask("CLUSTER", "ADDSLOTSRANGE", "0", str(ALL_SLOTS - 1))
        wait_until(lambda: "cluster_state:ok" in self.ask("CLUSTER", "INFO"), seconds=10, what="the cluster to be up")

    def ask(self, *command: str) -> str:
        """What the node answers."""
        program = [debian_binary("redis-cli", "redis-tools"), "-p", str(self.ports["main"])]
        return subprocess.run([*program, *command], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server."""
    with RedisServer(tmp_path_factory.mktemp("logs")) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServer]:
    """A cluster of one node."""
    with ClusterServer(tmp_path_factory.mktemp("logs"), "redis-cluster") as server:
        server.take_slots()
        yield server


@pytest.fixture
def recording() -> Iterator[Recording]:
    """redis-py, instrumented; nothing of the distro may have failed in a test."""
    recording = Recording()
    with instrumented(RedisInstrumentation, recording):
        yield recording
    assert recording.failures == []


def test_a_server_that_dies_is_an_error_and_comes_back(server: RedisServer, recording: Recording) -> None:
    """Commands fail as without us while the server is away, and succeed when it is back; each is a span."""
    with redis.Redis.from_url(server.url, retry=None, socket_timeout=2) as client:
        client.set("user:1", "x")
        recording.take()
        server.kill()
        with pytest.raises(redis.ConnectionError):
            client.get("user:1")
        server.start()
        assert client.get("user:1") is None
    failed, well = (span for span in recording.spans if span.name == "GET")
    assert (failed.attributes or {})["error.type"] == "ConnectionError"
    assert "error.type" not in (well.attributes or {})


def test_locks_and_scripts_hide_their_arguments(server: RedisServer, recording: Recording) -> None:
    """Scripts, their keys and their arguments are placeholders."""
    with redis.Redis.from_url(server.url) as client, client.lock("lock:joe", timeout=5):
        client.eval("return ARGV[1]", 1, "user:joe", "secret")
    texts = {str((span.attributes or {})["db.query.text"]) for span in recording.spans}
    assert "EVAL ? ? ? ?" in texts
    assert not any("joe" in text or "secret" in text or "ARGV" in text for text in texts)


def test_a_cluster_client(cluster: ClusterServer, recording: Recording) -> None:
    """Commands and pipelines of a cluster client are one span each, with the address it was configured with."""
    port = cluster.ports["main"]
    client = RedisCluster("127.0.0.1", port)
    recording.take()
    client.set("user:1", "x")
    client.pipeline().get("user:1").get("user:2").execute()
    client.close()
    command, pipeline = (span for span in recording.spans if span.name in {"SET", "PIPELINE GET"})
    for span in (command, pipeline):
        attributes = span.attributes or {}
        assert (attributes["db.system.name"], attributes["db.namespace"]) == ("redis", "0")
        assert (attributes["server.address"], attributes["server.port"]) == ("127.0.0.1", port)
    assert (pipeline.attributes or {})["db.query.text"] == "GET user:?\nGET user:?"
    assert (pipeline.attributes or {})["db.operation.batch.size"] == 2


def test_an_asynchronous_cluster_client(cluster: ClusterServer, recording: Recording) -> None:
    """The same, asynchronous."""

    async def work() -> None:
        async with AsyncRedisCluster("127.0.0.1", cluster.ports["main"]) as client:
            await client.set("user:1", "x")
            await client.pipeline().get("user:1").get("user:2").execute()

    asyncio.run(work())
    command, pipeline = (span for span in recording.spans if span.name in {"SET", "PIPELINE GET"})
    assert (command.attributes or {})["server.port"] == cluster.ports["main"]
    assert (pipeline.attributes or {})["db.operation.batch.size"] == 2


STRATEGIES = pytest.mark.skipif(
    not hasattr(redis.cluster, "TransactionStrategy"), reason="this redis-py has no transactions of clusters"
)


@STRATEGIES
def test_a_clusters_transaction_shows_what_it_watches(cluster: ClusterServer, recording: Recording) -> None:
    """What runs between WATCH and MULTI runs at once, and is a span each, as with one server."""
    with RedisCluster("127.0.0.1", cluster.ports["main"]) as client:
        client.set("user:1", "x")
        recording.take()
        with client.pipeline(transaction=True) as pipeline:
            pipeline.watch("user:1")
            assert pipeline.get("user:1") == b"x"
            pipeline.multi()
            pipeline.set("user:1", "y")
            pipeline.execute()
    texts = [(span.attributes or {})["db.query.text"] for span in recording.spans]
    assert texts == ["WATCH user:?", "GET user:?", "SET user:? ?"]


@STRATEGIES
def test_an_asynchronous_clusters_transaction_shows_what_it_watches(
    cluster: ClusterServer, recording: Recording
) -> None:
    """The same, asynchronous."""

    async def work() -> None:
        async with AsyncRedisCluster("127.0.0.1", cluster.ports["main"]) as client:
            await client.set("user:1", "x")
            recording.take()
            pipeline = client.pipeline(transaction=True)
            await pipeline.watch("user:1")
            assert await pipeline.get("user:1") == b"x"
            pipeline.multi()
            pipeline.set("user:1", "y")
            await pipeline.execute()

    asyncio.run(work())
    texts = [(span.attributes or {})["db.query.text"] for span in recording.spans]
    assert texts == ["WATCH user:?", "GET user:?", "SET user:? ?"]
