"""redis-py against a real Redis, alone and as a cluster."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator, Sequence

import pytest
import redis
import redis.asyncio
from opentelemetry.trace import StatusCode
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.cluster import RedisCluster
from redis.crc import key_slot

from otel_distro.instrumentation.redis import RedisInstrumentation
from tests.recording import Recording, recorded
from tests.servers import RedisServer
from tests.servers.binaries import debian_binary
from tests.servers.waiting import wait_until

ALL_SLOTS = 16384


class ClusterServer(RedisServer):
    """A node of a cluster, which is the whole of it or has another one beside it."""

    port_names = ("main", "bus")

    def command(self) -> Sequence[str]:
        return [*super().command(), "--cluster-enabled", "yes", "--cluster-port", str(self.ports["bus"])]

    def take_slots(self) -> None:
        """Make the node the whole cluster."""
        self.ask("CLUSTER", "ADDSLOTSRANGE", "0", str(ALL_SLOTS - 1))
        self.wait_for_all()

    def wait_for_all(self) -> None:
        """Wait until the node knows who has which slot."""
        wait_until(lambda: "cluster_state:ok" in self.ask("CLUSTER", "INFO"), seconds=20, what="the cluster to be up")

    def share(self, other: ClusterServer, moving: int) -> None:
        """Make a cluster with another node, which has the last slot and is being given one more.

        Keys of that slot that are not here are asked for there.
        """
        self.ask("CLUSTER", "ADDSLOTSRANGE", "0", str(ALL_SLOTS - 2))
        other.ask("CLUSTER", "ADDSLOTS", str(ALL_SLOTS - 1))
        self.ask("CLUSTER", "MEET", "127.0.0.1", str(other.ports["main"]), str(other.ports["bus"]))
        for node in (self, other):
            node.wait_for_all()
        here, there = self.ask("CLUSTER", "MYID").strip(), other.ask("CLUSTER", "MYID").strip()
        other.ask("CLUSTER", "SETSLOT", str(moving), "IMPORTING", here)
        self.ask("CLUSTER", "SETSLOT", str(moving), "MIGRATING", there)

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


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServer]:
    """A cluster of two nodes, of which the first moves the slot of `user:1` to the second."""
    logs = tmp_path_factory.mktemp("logs")
    with ClusterServer(logs, "redis-from") as server, ClusterServer(logs, "redis-to") as other:
        server.share(other, key_slot(b"user:1"))
        yield server


@pytest.fixture
def recording() -> Iterator[Recording]:
    """redis-py, instrumented; nothing of the distro may have failed in a test."""
    with recorded(RedisInstrumentation) as recording:
        yield recording


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


def test_a_script_that_is_not_loaded_yet_is_no_error(server: RedisServer, recording: Recording) -> None:
    """NOSCRIPT says "load it first", which redis-py does: neither span nor metric tells of a failure."""
    with redis.Redis.from_url(server.url) as client:
        client.script_flush()
        recording.take()
        assert client.register_script("return ARGV[1]")(args=["x"]) == b"x"
    assert [span.name for span in recording.spans] == ["EVALSHA", "SCRIPT LOAD", "EVALSHA"]
    assert all(span.status.status_code is StatusCode.UNSET for span in recording.spans)
    assert not any("error.type" in attributes for attributes, _ in recording.points("db.client.operation.duration"))


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
@pytest.mark.parametrize("transaction", [True, False])
def test_a_clusters_transaction_is_called_one(cluster: ClusterServer, recording: Recording, transaction: bool) -> None:
    """A transaction of a cluster has the name that it has with one server."""
    with RedisCluster("127.0.0.1", cluster.ports["main"]) as client:
        recording.take()
        client.pipeline(transaction=transaction).set("user:1", "x").set("user:1", "y").execute()
    assert recording.one().name == ("MULTI SET" if transaction else "PIPELINE SET")


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


def test_a_pipeline_that_is_redirected_is_one_span(moving: ClusterServer, recording: Recording) -> None:
    """Commands that a cluster's pipeline sends again, to where it was told, are no spans and lookups of their own."""
    with RedisCluster("127.0.0.1", moving.ports["main"]) as client:
        recording.take()
        client.pipeline().get("user:1").get("user:1").execute()
    assert [span.name for span in recording.spans] == ["PIPELINE GET"]
    assert sum(number for _, number in recording.points("cache.lookups")) == 2


def test_an_asynchronous_pipeline_that_is_redirected_is_one_span(moving: ClusterServer, recording: Recording) -> None:
    """The same, asynchronous."""

    async def work() -> None:
        async with AsyncRedisCluster("127.0.0.1", moving.ports["main"]) as client:
            recording.take()
            await client.pipeline().get("user:1").get("user:1").execute()

    asyncio.run(work())
    assert [span.name for span in recording.spans] == ["PIPELINE GET"]
    assert sum(number for _, number in recording.points("cache.lookups")) == 2
