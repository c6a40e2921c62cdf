"""Sends one encoded request and says what came of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from otel_distro._version import __version__
from otel_distro.guard import let_through
from otel_distro.process import Deadline

from ._tls import Tls, TlsUnusable
from .answer import Answer, NoAnswer, no_answer, read_answer
from .endpoint import Endpoint, Proxies, proxy_for

if TYPE_CHECKING:
    import ssl

    from ._http import Connection, Exchanged

# the distribution stands before the exporter (OpenTelemetry specification, OTLP exporter, "User Agent")
USER_AGENT = f"otel-distro/{__version__} OTel-OTLP-Exporter-Python/{__version__}"

_GZIP_LEVEL = 1  # half the time of level 6 for a tenth more bytes, on data that repeats itself like this
_GZIP_WINDOW = 31

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# these describe the request that this client makes; a user's value would make it wrong
_OWN_HEADERS = frozenset(
    {
        *("host", "content-type", "content-length", "content-encoding", "transfer-encoding", "connection"),
        *("te", "trailer", "upgrade", "expect", "keep-alive", "proxy-connection", "proxy-authorization"),
    }
)


def check_header(name: str, value: str) -> str | None:
    """Why a user's header cannot be sent, None where it can (RFC 9110, 5.5 and 5.6.2)."""
    if not _TOKEN.fullmatch(name):
        return "its name is not a header name"
    if name.lower() in _OWN_HEADERS:
        return "it describes the request itself"
    if any(ord(c) < 0x20 and c != "\t" for c in value) or "\x7f" in value:
        return "its value has control characters"
    return None


class OtlpClient:
    """Posts request bodies to one endpoint over a connection that is kept open.

    Used by one thread at a time. After a fork the child opens a connection of its own (opentelemetry-python #4994).

    Args:
        endpoint: where to.
        content_type: media type of the bodies.
        headers: further headers; those that `check_header` refuses are left out.
        timeout: seconds for a whole request, from connecting to the last byte of the answer.
        gzip: whether bodies are packed.
        tls: files for https.
        proxies: proxies of the process.
        read: tells what an answer means, from its status, its headers (names in lower case) and its body.

    Raises:
        ValueError: the proxy's URL is unusable.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        content_type: str,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        gzip: bool = False,
        tls: Tls | None = None,
        proxies: Proxies | None = None,
        read: Callable[[int, Mapping[str, str], bytes], Answer] = read_answer,
    ) -> None:
        self.endpoint = endpoint
        self.timeout = timeout
        self._read = read
        self._gzip = gzip
        self._tls = tls or Tls()
        self._proxy = proxy_for(endpoint, proxies or Proxies())
        if self._proxy is not None and self._proxy.secure:
            raise ValueError("a proxy that is itself reached by https is not supported")
        self._head = self._request_head(content_type, headers or {})
        self._context: ssl.SSLContext | None = None
        self._files: object = None
        self._unusable = ""
        self._connection: Connection | None = None
        self._pid = 0

    @property
    def is_direct(self) -> bool:
        """Whether a request may leave without waiting: neither packed nor encrypted."""
        return not (self._gzip or self.endpoint.secure)

    def send(self, body: bytes, *, seconds: float | None = None) -> Answer:
        """Post `body` once, and tell what came of it; nothing raises.

        Args:
            body: the encoded request.
            seconds: a shorter limit than the client's timeout.
        """
        limit = self.timeout if seconds is None else min(self.timeout, seconds)
        deadline = Deadline(limit)
        body = _packed(body) if self._gzip else body
        try:
            return self._read(*self._exchange(self._head_of(body) + body, deadline))
        except Exception as error:  # noqa: BLE001 - whatever broke, the batch was not delivered
            return self._broken(error, limit)

    def begin(self, body: bytes) -> bytes | None:
        """Post `body` from here, if that takes no waiting and no packing; `finish` must follow.

        Returns:
            What `finish` has still to send, mostly nothing; None where the request has not begun.
        """
        connection = self._connection
        if not self.is_direct or connection is None or self._pid != os.getpid() or not connection.is_open:
            return None
        return connection.begin(self._head_of(body), body)

    def answered(self) -> tuple[Answer, float] | None:
        """The answer to what was begun, and for how long (seconds) it has been here; None where `finish` must look."""
        connection = self._connection
        if connection is None:
            return None
        lay = connection.quiet_for()
        found = connection.answer()
        return None if found is None else (self._read(*found), lay)

    def finish(self, body: bytes, rest: bytes, *, seconds: float | None = None) -> Answer:
        """Complete what `begin` began; else as `send`."""
        limit = self.timeout if seconds is None else min(self.timeout, seconds)
        deadline = Deadline(limit)
        try:
            try:
                return self._read(*self._owned().exchange(rest, deadline))
            except (NoAnswer, BrokenPipeError):
                return self.send(body, seconds=deadline.left())
        except Exception as error:  # noqa: BLE001 - as in `send`
            return self._broken(error, limit)

    def _broken(self, error: Exception, limit: float) -> Answer:
        self.close()
        let_through(error)
        if isinstance(error, TlsUnusable):
            return no_answer(str(error), tls=True)
        import ssl  # late, as in `in_words`

        words = in_words(error, limit)
        if not isinstance(error, ssl.SSLError):
            return no_answer(words)
        return no_answer(f"{words}; {self._unusable}" if self._unusable else words, tls=True)

    def _head_of(self, body: bytes) -> bytes:
        return b"%bContent-Length: %d\r\n\r\n" % (self._head, len(body))

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()

    def _exchange(self, request: bytes, deadline: Deadline) -> Exchanged:
        connection = self._owned()
        if connection.is_open:
            try:
                return connection.exchange(request, deadline)
            except (NoAnswer, BrokenPipeError):
                # closed by the server while it was idle, which is its right: once more, on a new connection
                connection.close()
        connection.open(deadline, self._trust() if self.endpoint.secure else None)
        return connection.exchange(request, deadline)

    def _trust(self) -> ssl.SSLContext:
        """What a new connection trusts and shows: the files of now, or those of before while these cannot be used.

        Raises:
            TlsUnusable: a certificate or key file cannot be used, and none could before.
        """
        files = self._tls.files()
        if self._context is None or files != self._files:
            try:
                self._context = self._tls.context()
                self._files, self._unusable = files, ""
            except TlsUnusable as error:
                if self._context is None:
                    raise
                self._unusable = str(error)  # mostly a certificate whose key is still to come
        return self._context

    def _owned(self) -> Connection:
        pid = os.getpid()
        if self._connection is None or self._pid != pid:
            self.close()
            from ._http import Connection  # by the sender's thread: see `_late`

            self._connection = Connection(self.endpoint, self._proxy)
            self._pid = pid
        return self._connection

    def _request_head(self, content_type: str, headers: Mapping[str, str]) -> bytes:
        endpoint, proxy = self.endpoint, self._proxy
        through_proxy = proxy is not None and not endpoint.secure
        target = f"http://{endpoint.authority}{endpoint.target}" if through_proxy else endpoint.target
        own = {"Host": endpoint.host_header, "User-Agent": USER_AGENT, "Content-Type": content_type}
        if self._gzip:
            own["Content-Encoding"] = "gzip"
        if endpoint.authorization:
            own["Authorization"] = endpoint.authorization
        if proxy is not None and through_proxy and proxy.authorization:
            own["Proxy-Authorization"] = proxy.authorization
        users = {name: value for name, value in headers.items() if check_header(name, value) is None}
        replaced = {name.lower() for name in users}
        lines = [f"POST {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in own.items() if name.lower() not in replaced]
        lines += [f"{name}: {value.strip()}" for name, value in users.items()]
        return "\r\n".join([*lines, ""]).encode("utf-8", "replace")


def _packed(body: bytes) -> bytes:
    import zlib

    packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return packer.compress(body) + packer.flush()


def in_words(error: BaseException, seconds: float) -> str:
    """A connection's error as a person would say it, without anything the other side sent."""
    import http.client
    import socket
    import ssl

    words: tuple[tuple[type[BaseException], Callable[[], str]], ...] = (
        (ssl.SSLCertVerificationError, lambda: f"its certificate is not trusted: {_verify_message(error)}"),
        (ssl.SSLError, lambda: f"TLS failed: {getattr(error, 'reason', None) or 'no TLS on that port?'}"),
        (NoAnswer, lambda: "it closed the connection without an answer"),
        (socket.gaierror, lambda: "its name cannot be resolved"),
        (ConnectionRefusedError, lambda: "connection refused"),
        (ConnectionResetError, lambda: "connection reset"),
        (TimeoutError, lambda: f"no answer within {seconds:.3g} s"),
        (http.client.HTTPException, lambda: "it answered with something that is not HTTP"),
        (OSError, lambda: getattr(error, "strerror", None) or str(error) or type(error).__name__),
    )
    return next((say() for kind, say in words if isinstance(error, kind)), type(error).__name__)


def _verify_message(error: BaseException) -> str:
    return str(getattr(error, "verify_message", "")) or "verification failed"
