"""Servers that misbehave below HTTP, certificates, and senders that report what they say."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from otel_distro.guard import Guard
from otel_distro.otlp._batch import Encoded
from otel_distro.otlp.backoff import Backoff
from otel_distro.otlp.exporters import build_encoder, build_sender
from otel_distro.otlp.sender import Sender
from otel_distro.settings import Distro, Otlp
from tests.servers.base import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
QUICK = Backoff(0.02, 0.1)

Script = Callable[[socket.socket, int], None]


def read_request(connection: socket.socket) -> bytes:
    """One whole request with a Content-Length; empty when the client has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        body += chunk
    return head + b"\r\n\r\n" + body


class RawServer:
    """Accepts connections on 127.0.0.1 and runs `script(connection, number)` for each, in a thread of its own."""

    def __init__(self, script: Script, context: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self.errors: list[str] = []
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []

    @property
    def url(self) -> str:
        return f"http{'s' if self._context else ''}://127.0.0.1:{self.port}/v1/traces"

    def __enter__(self) -> Self:
        self._serve(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for connection in self._sockets:
            connection.close()

    def _serve(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(connection)
            number = self.connections
            self._serve(lambda connection=connection, number=number: self._run(connection, number))  # type: ignore[misc]

    def _run(self, connection: socket.socket, number: int) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
                self._sockets.append(connection)
            self._script(connection, number)
        except OSError as error:
            self.errors.append(str(error))
        finally:
            with contextlib.suppress(OSError):
                connection.close()


def keep_answering(answer: bytes, seen: list[bytes] | None = None) -> Script:
    """A script that reads requests and gives the same answer to each; they are added to `seen`."""

    def script(connection: socket.socket, _: int) -> None:
        while request := read_request(connection):
            if seen is not None:
                seen.append(request)
            connection.sendall(answer)

    return script


def is_answered(sender: Sender) -> bool:
    """Whether the answer to what an application's thread has sent lies in the kernel, or has been read."""
    with sender.lock:
        connection = sender._client._connection
        if sender._express.begun is None or connection is None or connection._socket is None:
            return True
        return bool(select.select([connection._socket], [], [], 0)[0])


def refused_url() -> str:
    """An address where nobody listens, nor soon will: a port that was just given back may be anybody's next one."""
    return f"http://127.0.0.1:{free_port()}/v1/traces"


class Speaking:
    """A sender of spans with all its lines in `lines`, shut down at the end of the `with` block."""

    def __init__(
        self, url: str, *, distro: Distro | None = None, backoff: Backoff = QUICK, signal: str = "traces", **otlp: Any
    ) -> None:
        self.lines: list[str] = []
        self.guard = Guard(output=lambda level, text: self.lines.append(text))
        settings = Otlp(endpoint=url, **otlp)
        encoder = build_encoder(signal, settings.protocol)
        self.sender: Sender = build_sender(settings, encoder, distro or Distro(), self.guard, backoff=backoff)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sender.shutdown(1.0)

    def send(self, number: int = 1, *, seconds: float = 10.0) -> bool:
        """Submit a batch of one span and flush."""
        self.sender.submit(batch(number))
        return self.sender.flush(seconds)


def batch(first: int, count: int = 1, padding: int = 0) -> Encoded:
    """An encoded request with spans named by number; span ids are the numbers."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.trace import SpanContext, SpanKind, Status

    from otel_distro.otlp.encode_traces import SpanEncoder
    from tests.otlp_data import Thing

    resource, status = Resource({"service.name": "s"}), Status()
    spans: list[Any] = [
        Thing(
            name=f"span {number}",
            context=SpanContext(7, number, False),
            parent=None,
            kind=SpanKind.SERVER,
            start_time=1,
            end_time=2,
            attributes={"padding": "x" * padding} if padding else {},
            events=(),
            links=(),
            status=status,
            resource=resource,
            instrumentation_scope=None,
            dropped_attributes=0,
            dropped_events=0,
            dropped_links=0,
        )
        for number in range(first, first + count)
    ]
    return SpanEncoder().encode(spans)


class Certificates:
    """An authority, a server's and a client's certificate, and wrong ones, made by the `openssl` program."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.authority = self._authority("authority")
        self.stranger = self._authority("stranger")
        self.server = self._signed("server", "authority", days="2")
        self.expired = self._signed("expired", "authority", days="-1")
        self.elsewhere = self._signed("elsewhere", "authority", days="2", names="DNS:collector.test")
        self.client = self._signed("client", "authority", days="2")
        self.strange_client = self._signed("strange_client", "stranger", days="2")
        self.locked_key = directory / "locked.key"
        self._openssl("rsa", "-in", self.client[1], "-aes128", "-passout", "pass:secret", "-out", self.locked_key)

    def server_context(self, pair: tuple[Path, Path], clients_of: Path | None = None) -> ssl.SSLContext:
        """A server's context with one of the pairs; with `clients_of`, clients must show a certificate of it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
        if clients_of is not None:
            context.load_verify_locations(clients_of)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _authority(self, name: str) -> Path:
        key, certificate = self._directory / f"{name}.key", self._directory / f"{name}.pem"
        self._openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"),
            *("-keyout", key, "-out", certificate),
        )
        return certificate

    def _signed(
        self, name: str, authority: str, days: str, names: str = "IP:127.0.0.1,DNS:localhost"
    ) -> tuple[Path, Path]:
        key, request = self._directory / f"{name}.key", self._directory / f"{name}.csr"
        certificate, extensions = self._directory / f"{name}.pem", self._directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
        self._openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        )
        self._openssl(
            *("x509", "-req", "-in", request, "-days", days, "-extfile", extensions, "-out", certificate),
            *("-CA", self._directory / f"{authority}.pem", "-CAkey", self._directory / f"{authority}.key"),
            *("-CAcreateserial",),
        )
        return certificate, key

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)
