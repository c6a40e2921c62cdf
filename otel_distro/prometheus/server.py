"""A small HTTP server for scrapes: one thread, no connection can hold up another, and none reaches the application.

It binds when it is told to, never earlier: a thread or a socket made before a fork would be in every child.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from otel_distro.guard import Guard
from otel_distro.records import dataclass, field

from .scraper import Answer

_CONNECTIONS: Final = 32
_REQUEST: Final = 16 * 1024  # bytes
_PATIENCE: Final = 10.0  # seconds for a request to arrive, and for each part of an answer to leave
_IDLE: Final = 120.0  # seconds a scraper's connection is kept between two scrapes
_PIECE: Final = 64 * 1024
_PATHS: Final = frozenset({"/metrics", "/"})
_ORIGIN: Final = re.compile(r"^https?://[^/?#]*(?=/)", re.IGNORECASE)
_BODY: Final = frozenset({"content-length", "transfer-encoding"})

Scrape = Callable[[str, str], Answer]


@dataclass(slots=True)
class _Connection:
    """One client: what it has sent, and what it has still to get."""

    socket: socket.socket
    deadline: float
    received: bytearray = field(default_factory=bytearray)
    pending: memoryview = field(default_factory=lambda: memoryview(b""))
    last: bool = False


class Server:
    """Answers `GET /metrics`.

    Args:
        scrape: gets the request's `Accept` and `Accept-Encoding`.
        host: to bind; "", "0.0.0.0" and "::" mean all interfaces, the last one of IPv4 as well.
        port: to bind; 0 for any.
        guard: gets failures.
    """

    def __init__(self, scrape: Scrape, host: str, port: int, guard: Guard) -> None:
        self._scrape = scrape
        self._host = host.removeprefix("[").removesuffix("]")
        self._wanted = port
        self._guard = guard
        self._listener: socket.socket | None = None
        self._waker: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._connections: dict[int, _Connection] = {}
        self._wake_end: socket.socket | None = None

    @property
    def address(self) -> str:
        """What is to be bound, for people."""
        host = f"[{self._host}]" if ":" in self._host else self._host or "0.0.0.0"  # noqa: S104 - said, not bound
        return f"{host}:{self._wanted}"

    @property
    def exposed(self) -> bool:
        """Whether the port is bound on every interface of the machine."""
        return self._listener is not None and not any(socket.inet_pton(*_packed(self._listener)))

    @property
    def port(self) -> int:
        """The port that is bound, 0 while none is."""
        return self._listener.getsockname()[1] if self._listener is not None else 0

    def bind(self) -> None:
        """Take the port; answering begins with `start`.

        Raises:
            OSError: the port is taken, or the host is not of this machine.
        """
        host = self._host or "0.0.0.0"  # noqa: S104 - asked for by the setting
        found = socket.getaddrinfo(host, self._wanted, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # `localhost` is IPv4 to upstream and to most scrape configurations
        family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
        listener = socket.socket(family, kind, protocol)
        try:
            # a port whose last connections have not quite ended may be taken again; one that is in use may not
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6 and host == "::":
                # some systems leave IPv4 out of it
                with contextlib.suppress(OSError):
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(address)
            listener.listen(_CONNECTIONS)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        self._listener = listener

    def start(self) -> None:
        """Answer from a thread of its own until `stop`.

        Raises:
            OSError: there is no descriptor for its end; the port is given back.
            RuntimeError: there is no thread; the port is given back.
        """
        if self._listener is None or self._thread is not None:
            return
        try:
            self._waker, self._wake_end = socket.socketpair()
            self._wake_end.setblocking(False)
            self._thread = threading.Thread(target=self._run, name="otel-distro-metrics", daemon=True)
            self._thread.start()
        except (OSError, RuntimeError):
            # a port that nobody answers keeps every other process from it
            self._thread = None
            self._close()
            raise

    def stop(self, timeout: float = 1.0) -> None:
        """Give the port back; waits for the thread, at most `timeout` seconds."""
        thread, self._thread = self._thread, None
        if self._waker is not None:
            with contextlib.suppress(OSError):
                self._waker.send(b"x")
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        self._close()

    def after_fork(self) -> None:
        """In a child: the sockets are the parent's; close the copies, answer nothing."""
        self._thread = None
        self._close()

    def _close(self) -> None:
        for connection in self._connections.values():
            _quietly_close(connection.socket)
        self._connections = {}
        for one in (self._listener, self._waker, self._wake_end):
            if one is not None:
                _quietly_close(one)
        self._listener = self._waker = self._wake_end = None

    def _run(self) -> None:
        pid, listener, wake_end = os.getpid(), self._listener, self._wake_end
        if listener is None or wake_end is None:
            return
        selector = selectors.PollSelector()  # poll keeps nothing in the kernel that a forked child would share
        selector.register(listener, selectors.EVENT_READ)
        selector.register(wake_end, selectors.EVENT_READ)
        try:
            while self._thread is threading.current_thread() and os.getpid() == pid:
                for key, _ in selector.select(self._until_deadline()):
                    if key.fileobj is wake_end:
                        return
                    if key.fileobj is listener:
                        self._accept(selector, listener)
                    elif (connection := self._connections.get(key.fd)) is not None:
                        self._serve(selector, connection)
                self._drop_late(selector)
        except Exception as error:  # noqa: BLE001 - a thread of ours must say why it ends
            self._guard.failed("prometheus server", error, remedy="no more scrapes are answered by this process")
        finally:
            selector.close()

    def _until_deadline(self) -> float | None:
        if not self._connections:
            return None
        return max(0.0, min(c.deadline for c in self._connections.values()) - time.monotonic())

    def _accept(self, selector: selectors.BaseSelector, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError as error:
            if not isinstance(error, (BlockingIOError, ConnectionError)):
                self._guard.failed("prometheus server", error, remedy="a scrape was not answered")
                time.sleep(0.05)  # out of file descriptors: try again, without spinning
            return
        client.setblocking(False)
        if len(self._connections) >= _CONNECTIONS:
            self._drop(selector, min(self._connections.values(), key=lambda c: c.deadline))
        connection = _Connection(client, time.monotonic() + _PATIENCE)
        self._connections[client.fileno()] = connection
        selector.register(client, selectors.EVENT_READ)

    def _serve(self, selector: selectors.BaseSelector, connection: _Connection) -> None:
        try:
            if connection.pending:
                self._send(selector, connection)
            else:
                self._receive(selector, connection)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(selector, connection)

    def _receive(self, selector: selectors.BaseSelector, connection: _Connection) -> None:
        data = connection.socket.recv(_REQUEST)
        if not data:
            self._drop(selector, connection)
            return
        if not connection.received:
            connection.deadline = time.monotonic() + _PATIENCE
        connection.received += data
        self._answer(selector, connection)

    def _answer(self, selector: selectors.BaseSelector, connection: _Connection) -> None:
        """Answer the first request of what was received, once it is complete; what follows it waits for its turn."""
        # a client may end its last message with one line too many (RFC 9112, section 2.2)
        received = connection.received.lstrip(b"\r\n")
        head, end, connection.received = received.partition(b"\r\n\r\n")
        if not end and len(received) <= _REQUEST:
            connection.received = received
            return
        response, connection.last = self._respond(head.decode("latin-1")) if end else (_plain(431), True)
        connection.pending = memoryview(response)
        connection.deadline = time.monotonic() + _PATIENCE
        selector.modify(connection.socket, selectors.EVENT_WRITE)

    def _send(self, selector: selectors.BaseSelector, connection: _Connection) -> None:
        sent = connection.socket.send(connection.pending[:_PIECE])
        connection.pending = connection.pending[sent:]
        connection.deadline = time.monotonic() + _PATIENCE
        if connection.pending:
            return
        # an empty slice would keep the whole page until the next scrape
        connection.pending = memoryview(b"")
        if connection.last:
            self._drop(selector, connection)
            return
        connection.deadline = time.monotonic() + _IDLE
        selector.modify(connection.socket, selectors.EVENT_READ)
        if connection.received:
            connection.deadline = time.monotonic() + _PATIENCE
            self._answer(selector, connection)

    def _respond(self, head: str) -> tuple[bytes, bool]:
        """The response to one request, and whether the connection ends with it."""
        line, *rest = head.split("\r\n")
        parts = line.split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            return _plain(400), True
        method, target, version = parts
        headers = _headers(rest)
        options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
        # a body would have to be read and thrown away; no scraper sends one
        last = version == "HTTP/1.0" or "close" in options or not _BODY.isdisjoint(headers)
        # a client may name the server as it does to a proxy (RFC 9112, section 3.2.2)
        if _ORIGIN.sub("", target).partition("?")[0] not in _PATHS:
            return _plain(404, method), True
        if method not in {"GET", "HEAD"}:
            return _plain(405), True
        try:
            answer = self._scrape(headers.get("accept", ""), headers.get("accept-encoding", ""))
        except BaseException as error:  # noqa: BLE001 - the next scrape may succeed; nobody else has this thread
            self._guard.failed("prometheus scrape", error)
            return _plain(500, method), True
        body = b"" if method == "HEAD" else answer.body
        lines = [f"{name}: {value}" for name, value in answer.headers]
        lines += [f"content-length: {len(answer.body)}", "connection: close" if last else "connection: keep-alive"]
        return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode("latin-1") + body, last

    def _drop_late(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        for connection in [c for c in self._connections.values() if c.deadline <= now]:
            self._drop(selector, connection)

    def _drop(self, selector: selectors.BaseSelector, connection: _Connection) -> None:
        with contextlib.suppress(KeyError, ValueError):
            selector.unregister(connection.socket)
        self._connections.pop(connection.socket.fileno(), None)
        _quietly_close(connection.socket)


_REASONS: Final = {
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
}


def _plain(status: int, method: str = "") -> bytes:
    body = f"{status} {_REASONS[status]}\n"
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: text/plain; charset=utf-8\r\n"
    head += "allow: GET, HEAD\r\n" if status == 405 else ""
    shown = "" if method == "HEAD" else body
    return f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n{shown}".encode()


def _headers(lines: Iterable[str]) -> dict[str, str]:
    """By names in lower case; repeated ones are joined with a comma (RFC 9110, section 5.3)."""
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _packed(bound: socket.socket) -> tuple[int, str]:
    return bound.family, bound.getsockname()[0].partition("%")[0]


def _quietly_close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.close()
