"""Redis from the Debian package, in memory only."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from tests.servers.base import Server
from tests.servers.binaries import debian_binary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class RedisServer(Server):
    """A Redis server; a restart forgets its keys, as a cache may."""

    def __init__(self, logs: Path, name: str = "redis") -> None:
        super().__init__(name, logs)

    @property
    def url(self) -> str:
        """`redis://` URL of database 0."""
        return f"redis://127.0.0.1:{self.ports['main']}/0"

    def command(self) -> Sequence[str]:
        program = debian_binary("redis-server", "redis-server")
        return [program, "--bind", "127.0.0.1", "--port", str(self.ports["main"]), "--save", "", "--appendonly", "no"]

    def healthy(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.ports["main"]), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
