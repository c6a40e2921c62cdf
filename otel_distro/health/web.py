"""A check of an HTTP or WebSocket dependency, on the standard library alone."""

from __future__ import annotations

import base64
import http.client
import os
import ssl
from collections.abc import Collection
from functools import cached_property
from urllib.parse import urlsplit

from otel_distro._version import __version__

_TLS = frozenset({"https", "wss"})
_SCHEMES = _TLS | {"http", "ws"}
_SWITCHING = 101


class WebCheck:
    """Asks one URL, in a thread: looking a name up cannot be hurried, and cannot hold up the event loop there.

    Args:
        address: see `dependencies.url`.
        timeout: likewise.
        statuses: likewise.
        method: likewise.

    Raises:
        ValueError: it is no such URL.
    """

    def __init__(self, address: str, *, timeout: float, statuses: Collection[int], method: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise ValueError("not a URL of the form http://host or ws://host")
        self._tls = parts.scheme in _TLS
        self._host, self._port = parts.hostname, parts.port
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._credentials = f"{parts.username or ''}:{parts.password or ''}" if "@" in parts.netloc else None
        self._upgrades = parts.scheme.startswith("ws")
        self._timeout = timeout
        self._statuses = {_SWITCHING} if self._upgrades else statuses
        self._method = "GET" if self._upgrades else method

    def __call__(self) -> dict[str, int]:
        """Ask once.

        Raises:
            OSError: nobody answers.
            ConnectionError: the answer is not a good one.
        """
        connection = self._connection()
        try:
            connection.request(self._method, self._target, headers=self._headers())
            status = connection.getresponse().status
        finally:
            connection.close()
        if status not in self._statuses:
            raise ConnectionError(f"status {status}")
        return {"http_status": status}

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._trust)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        # reading the system's certificates takes longer than most checks
        return ssl.create_default_context()

    def _headers(self) -> dict[str, str]:
        headers = {"User-Agent": f"otel-distro-health/{__version__}", "Accept": "*/*", "Connection": "close"}
        if self._credentials is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(self._credentials.encode()).decode()
        if self._upgrades:
            key = base64.b64encode(os.urandom(16)).decode()
            headers |= {"Connection": "Upgrade", "Upgrade": "websocket"}
            headers |= {"Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13"}
        return headers
