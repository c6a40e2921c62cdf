"""A Kafka broker of one node (KRaft), run by plain Java from the jars of scripts/build-tools."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import struct
import subprocess
import uuid
from typing import TYPE_CHECKING

from tests.servers.base import MissingBinary, Server, ServerError
from tests.servers.binaries import kafka_jars

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_HEAP = "-Xmx320m"
# The first tier of the compiler and the serial collector: it starts in half the time, and lives for a minute.
_JVM = (_HEAP, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")


# The question of every client's first request: API key 18 (ApiVersions), version 0, correlation id 1, no client id.
_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)


class KafkaServer(Server):
    """A broker on loopback; its log survives `kill` and `restart`. A topic is made when it is first written to."""

    port_names = ("broker", "controller")
    start_seconds = 90.0  # five on a quiet machine

    def __init__(self, logs: Path, *, partitions: int = 4, name: str = "kafka") -> None:
        """`partitions` is the number of every topic."""
        super().__init__(name, logs)
        self.partition_count = partitions

    @property
    def brokers(self) -> str:
        """`host:port`, as KAFKA_BROKERS takes it."""
        return f"127.0.0.1:{self.ports['broker']}"

    def prepare(self) -> None:
        """Write the configuration and format the storage."""
        shutil.rmtree(self.data / "log", ignore_errors=True)
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{self.ports['controller']}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{self.brokers},CONTROLLER://127.0.0.1:{self.ports['controller']}",
            "advertised.listeners": f"PLAINTEXT://{self.brokers}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self.data / "log",
            "num.partitions": self.partition_count,
            "message.max.bytes": 4194304,
            # A broker that was killed is let in again soon; one that was starved for a moment is not shut out.
            "broker.session.timeout.ms": 6000,
            "broker.heartbeat.interval.ms": 500,
            # One node: what is else kept three times.
            "offsets.topic.num.partitions": 1,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            # A member that was killed is missed soon, and the first member waits for nobody.
            "group.min.session.timeout.ms": 1000,
            "group.initial.rebalance.delay.ms": 200,
        }
        lines = "".join(f"{name}={value}\n" for name, value in settings.items())
        (self.data / "server.properties").write_text(lines)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # in one word: an id may begin with a dash
        self._tool(
            "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(self.data / "server.properties")
        )

    def command(self) -> Sequence[str]:
        return [*_java(), "kafka.Kafka", str(self.data / "server.properties")]

    def environment(self) -> Mapping[str, str]:
        return {name: value for name, value in os.environ.items() if name != "JAVA_TOOL_OPTIONS"}

    def healthy(self) -> bool:
        """Whether it answers what clients ask first."""
        with socket.create_connection(("127.0.0.1", self.ports["broker"]), timeout=2) as connection:
            connection.sendall(_VERSIONS)
            answer = connection.recv(10)
        return len(answer) == 10 and struct.unpack(">iih", answer)[1:] == (1, 0)

    def partitions(self, topic: str) -> dict[int, bytes]:
        """What each partition of a topic holds, as it lies on the disk: the messages where nothing is compressed."""
        folders = (self.data / "log").glob(f"{topic}-*")
        return {
            int(folder.name.rpartition("-")[2]): b"".join(path.read_bytes() for path in sorted(folder.glob("*.log")))
            for folder in folders
        }

    def _tool(self, main: str, *arguments: str) -> None:
        command = [*_java(), main, *arguments]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        with self.log.open("a") as log:
            log.write(f"--- {main}\n{done.stdout}{done.stderr}")
        if done.returncode:
            raise ServerError(f"{main} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")


def _java() -> list[str]:
    java = shutil.which("java")
    if java is None:
        raise MissingBinary(
            "java not found: a Java runtime of version 11 or newer is needed, e.g. openjdk-17-jre-headless"
        )
    return [java, *_JVM, "-cp", f"{kafka_jars()}/*"]
