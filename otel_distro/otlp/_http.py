"""One HTTP/1.1 connection whose every step obeys a deadline.

The request is written to the socket directly and only the answer is left to `http.client`: its `HTTPConnection` is
patched by tracing libraries (sentry-sdk, ddtrace), which would make spans of the export of spans, and its timeouts
start anew with every byte of a slow answer. `ssl` and `http.client` are imported late, by the sender's thread.
"""

from __future__ import annotations

import _socket
import io
import re
import select
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from otel_distro.guard import let_through
from otel_distro.process import NO_MORE_THREADS

from ._deadlines import by_kernel, left, peek, quiet_for, receive, send
from .answer import NoAnswer

if TYPE_CHECKING:
    import ssl

    from otel_distro.process import Deadline

    from .endpoint import Endpoint

_MOST_READ = 1_048_576
"""Bytes of an answer with its headers; what is beyond (endless `100 Continue`, endless trailers) is no answer."""
LONGEST_BODY = 65_536
"""Bytes of an answer that are read; of a longer one only the beginning matters, and the connection is given up."""


_FRESH = 1.0
"""Seconds after an answer for which a connection counts as open without a look; a request that finds it closed, which
a server may do at any moment, is sent once more on a new one anyway."""


_SEEN = 4_096
_GOOD = re.compile(rb"HTTP/1\.1 (2\d\d) ")
_SPECIAL = re.compile(rb"\r\n(?:transfer-encoding:|connection: *close|[ \t])", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,4})[ \t]*(?=\r\n|$)", re.IGNORECASE)


Exchanged = tuple[int, Mapping[str, str], bytes]
"""Status, headers by lower-case name, and at most 64 KiB of the body of an answer."""


class _TimedReader(io.RawIOBase):
    """Reads from a socket as long as the deadline allows in total, however slowly the bytes drip."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._socket = sock
        self._deadline = deadline
        self.received = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.received > _MOST_READ:
            raise ConnectionError("it never ends")
        count = receive(self._socket, buffer, self._deadline)
        self.received += count
        return count

    def makefile(self, *_: Any) -> io.BufferedReader:
        """What `HTTPResponse` asks a socket for."""
        return io.BufferedReader(self)


class Connection:
    """A connection to one endpoint, perhaps through a proxy; owned by one thread, never used after a fork.

    Args:
        endpoint: where requests go.
        proxy: by which way, None for the direct one.
    """

    def __init__(self, endpoint: Endpoint, proxy: Endpoint | None) -> None:
        self._endpoint = endpoint
        self._proxy = proxy
        self._socket: socket.socket | None = None
        self._used = 0.0

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that the other side has not closed, as far as this side can know."""
        if self._socket is None:
            return False
        if time.monotonic() - self._used < _FRESH:
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | select.POLLPRI)
        if poll.poll(0):
            # between two requests the server has nothing to say: it has closed, or talks nonsense
            self.close()
        return self._socket is not None

    def open(self, deadline: Deadline, tls: ssl.SSLContext | None) -> None:
        """Connect, by the proxy where one is set.

        Args:
            deadline: for all of it.
            tls: context for https endpoints.

        Raises:
            OSError: no connection within the deadline, or the proxy refused.
        """
        first = self._proxy or self._endpoint
        self._socket = sock = _connect(first, deadline)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._proxy is not None and self._endpoint.secure:
            self._tunnel(sock, self._proxy, deadline)
        if tls is not None:
            sock.settimeout(left(deadline))
            # a failed handshake closes the socket
            self._socket = tls.wrap_socket(sock, server_hostname=self._endpoint.host)

    def begin(self, head: bytes, body: bytes) -> bytes | None:
        """Send as much of a request as the kernel takes without waiting.

        Returns:
            What is left for `exchange`; None where nothing was sent, because there is no connection or it has no room.
        """
        sock = self._socket
        if sock is None or not by_kernel(sock):
            return None
        try:
            sent = sock.sendmsg((head, body), (), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            let_through(error)
            self.close()
            return None
        return b"" if sent == len(head) + len(body) else (head + body)[sent:]

    def answer(self) -> Exchanged | None:
        """The answer to what `begin` has sent, if the whole of a good and simple one is here.

        What another status or the end of the connection entails (connecting anew, files, a pause) has to be waited for.
        `http.client` takes five times as long as everything else that a batch costs who sends it.
        """
        sock = self._socket
        if sock is None or not by_kernel(sock):
            return None
        try:
            return self._simple(sock, sock.recv(_SEEN, socket.MSG_DONTWAIT | socket.MSG_PEEK))
        except OSError as error:
            let_through(error)
            return None

    def _simple(self, sock: socket.socket, seen: bytes) -> Exchanged | None:
        """The answer that was seen, taken from the socket; None where it is not a good and simple one."""
        head, end, rest = seen.partition(b"\r\n\r\n")
        lengths: list[bytes] = _LENGTH.findall(head)
        good = _GOOD.match(head)
        # one with two lengths, or none, needs a closer look
        if not end or good is None or len(lengths) != 1 or len(rest) != int(lengths[0]) or _SPECIAL.search(head):
            return None
        fields = [line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:]]
        sock.recv(len(seen), socket.MSG_DONTWAIT)
        self._used = time.monotonic()
        return int(good[1]), {name.lower(): value.strip() for name, _, value in fields}, rest

    def quiet_for(self) -> float:
        """Seconds since the other side sent something, in steps of the kernel's clock; 0 where that is not known."""
        return 0.0 if self._socket is None else quiet_for(self._socket)

    def exchange(self, request: bytes, deadline: Deadline) -> Exchanged:
        """Send a request and read the answer.

        Args:
            request: or what `begin` has left of it, which may be nothing.
            deadline: for all of it.

        Raises:
            NoAnswer: the connection was closed without an answer.
            OSError: it broke, or the deadline passed.
            http.client.HTTPException: the answer is not HTTP.
        """
        sock = self._socket
        if sock is None:
            raise NoAnswer("not connected")
        broken: OSError | None = None
        try:
            send(sock, request, deadline)
        except (BrokenPipeError, ConnectionResetError) as error:
            broken = error  # a server may refuse a body that is too large, and close, before it has read all of it
        if broken is None and by_kernel(sock):
            found = self._simple(sock, peek(sock, _SEEN, deadline))
            if found is not None:
                return found
        from http.client import HTTPResponse, RemoteDisconnected

        reader = _TimedReader(sock, deadline)
        response = HTTPResponse(reader, method="POST")  # type: ignore[arg-type]
        try:
            response.begin()
            _check_length(response)
            body = _body(response)
            if response.will_close or broken is not None or not response.isclosed():
                self.close()
            self._used = time.monotonic()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, body
        except (RemoteDisconnected, ConnectionResetError) as error:
            if reader.received:
                raise
            raise NoAnswer("closed without an answer") from broken or error
        finally:
            response.close()

    def close(self) -> None:
        """Close this process's end. No TLS farewell: after a fork the connection is the parent's."""
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()

    def _tunnel(self, sock: socket.socket, proxy: Endpoint, deadline: Deadline) -> None:
        from http.client import HTTPResponse

        authority = self._endpoint.authority
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        send(sock, "\r\n".join([*lines, "", ""]).encode(), deadline)
        response = HTTPResponse(_TimedReader(sock, deadline), method="CONNECT")  # type: ignore[arg-type]
        response.begin()
        if not 200 <= response.status < 300:
            raise ConnectionError(f"the proxy answered {response.status} to CONNECT")


def _check_length(response: Any) -> None:
    """An answer of two lengths, or of none that is a number, would be read until the deadline (RFC 9112, 6.3).

    Raises:
        http.client.HTTPException: nobody knows where the answer ends.
    """
    from http.client import HTTPException

    given = "" if response.chunked else ",".join(response.headers.get_all("content-length") or ())
    lengths = {length.strip() for length in given.split(",")} if given else set()
    if len(lengths) > 1 or not all(length.isdecimal() and length.isascii() for length in lengths):
        raise HTTPException("contradictory lengths")


def _body(response: Any) -> bytes:
    """The beginning of the body. The status is what counts: a body that breaks off or drips must not send twice."""
    from http.client import HTTPException

    try:
        return bytes(response.read(LONGEST_BODY))
    except (OSError, HTTPException):
        response.will_close = True
        return b""


def _connect(to: Endpoint, deadline: Deadline) -> socket.socket:
    """A TCP connection to the first address that accepts one, all within the deadline."""
    last: OSError | None = None
    for family, kind, protocol, _, address in _addresses(to.host, to.port):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(left(deadline))
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            let_through(error)
            last = error
    raise last or ConnectionError("the name has no address")


def _addresses(host: str, port: int) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except RuntimeError as error:
        if NO_MORE_THREADS not in str(error):
            raise
        # gevent's function has a thread look names up
        return _socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
