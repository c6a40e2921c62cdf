"""The drills' backend: a recording OTLP receiver (gRPC and HTTP), a process of its own, bad when told to be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.servers.base import Server
from tests.servers.binaries import sink_binary
from tests.servers.waiting import http_get, http_ok, http_post, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class RecorderServer(Server):
    """Counts every span it stored, by id, over restarts: Jaeger's API hides duplicates, this does not."""

    port_names = ("grpc", "http")

    def __init__(
        self,
        logs: Path,
        name: str,
        *,
        certificate: tuple[Path, Path] | None = None,
        token_file: Path | None = None,
    ) -> None:
        """With `certificate` (certificate and key, read at every handshake) the gRPC port speaks TLS."""
        super().__init__(name, logs)
        self.certificate = certificate
        self.token_file = token_file

    @property
    def otlp_endpoint(self) -> str:
        """`host:port` of OTLP/gRPC."""
        return f"127.0.0.1:{self.ports['grpc']}"

    @property
    def url(self) -> str:
        """Base URL of OTLP/HTTP."""
        return f"http://127.0.0.1:{self.ports['http']}"

    def command(self) -> Sequence[str]:
        secure = [f"-cert={self.certificate[0]}", f"-key={self.certificate[1]}"] if self.certificate else []
        token = [f"-token-file={self.token_file}"] if self.token_file else []
        addresses = [f"-grpc={self.otlp_endpoint}", f"-http=127.0.0.1:{self.ports['http']}"]
        return [sink_binary(), *addresses, f"-file={self.data / 'ids'}", *secure, *token]

    def healthy(self) -> bool:
        return http_ok(f"{self.url}/stats")

    def behave(self, **mood: int | bool) -> None:
        """How requests are answered from now on: `code`, `status`, `delay_ms`, `store`, `garbage`, `partial`, `only`.

        Nothing given: as a healthy backend.
        """
        status = http_post(f"{self.url}/control", json.dumps(mood).encode(), {})
        assert status == 200, f"{self.name} does not understand {mood}"

    def stored(self) -> dict[str, int]:
        """Span id in hex to how often it was stored."""
        lines = http_get(f"{self.url}/ids").decode().splitlines()
        return {span: int(times) for span, times in (line.split() for line in lines)}

    def stats(self) -> dict[str, int]:
        """`requests`, `spans`, `distinct` (spans of different ids) and `duplicates` so far."""
        found: dict[str, int] = json.loads(http_get(f"{self.url}/stats"))
        return found

    def requests(self) -> int:
        """Requests so far, in this process, whatever they were answered with."""
        return self.stats()["requests"]

    def wait_for_spans(self, count: int, *, seconds: float = 20.0) -> None:
        """Wait until `count` different spans were stored.

        Raises:
            TimeoutError: they were not after `seconds`.
        """
        wait_until(
            lambda: self.stats()["distinct"] >= count,
            seconds=seconds,
            what=f"{count} spans in {self.name}",
        )
