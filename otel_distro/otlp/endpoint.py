"""Where a request goes: the parts of the endpoint's URL, and the proxy in between if any."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from otel_distro.records import dataclass

DEFAULT_PORTS = {"http": 80, "https": 443}


class Endpoint(NamedTuple):
    """A URL taken apart. `str()` of it never holds credentials or a query.

    Attributes:
        secure: True for https.
        host: name or address, without the brackets of IPv6, ASCII.
        port: the port, from the scheme where the URL has none.
        target: path and query, as the request line has them.
        authorization: `Basic ...` from the URL's user and password, else None.
    """

    secure: bool
    host: str
    port: int
    target: str
    authorization: str | None = None

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return "https" if self.secure else "http"

    @property
    def authority(self) -> str:
        """`host:port`, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> str:
        """The value of `Host`: the port is left out where it is the scheme's own (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_header}{self.target.partition('?')[0]}"

    def __repr__(self) -> str:
        return f"Endpoint({str(self)!r})"


def parse_endpoint(url: str) -> Endpoint:
    """Take an http or https URL apart.

    Raises:
        ValueError: it is no such URL; the message does not repeat it, for it may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna" if not (parts.hostname or "").isascii() else "ascii").decode()
    except ValueError:
        raise ValueError("the endpoint is not a URL") from None
    if parts.scheme not in DEFAULT_PORTS or not host:
        raise ValueError("the endpoint is not a URL of the form http://host:port")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not (target.isascii() and target.isprintable()) or " " in target or not host.isprintable() or " " in host:
        raise ValueError("the endpoint's URL has characters that a URL may not have")
    if port is None:
        port = DEFAULT_PORTS[parts.scheme]
    return Endpoint(parts.scheme == "https", host, port, target, _basic(parts))


def _basic(parts: SplitResult) -> str | None:
    user, separator, _ = parts.netloc.rpartition("@")
    if not separator:
        return None
    name, _, password = user.partition(":")
    pair = unquote_to_bytes(name) + b":" + unquote_to_bytes(password)
    return "Basic " + b2a_base64(pair, newline=False).decode()


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies of a process.

    Attributes:
        http: proxy for http endpoints, a URL; None goes direct.
        https: proxy for https endpoints, used by CONNECT.
        exceptions: hosts that are reached directly: names (with all their subdomains), addresses, networks
            (`10.0.0.0/8`), each with or without a port; `*` for all.
    """

    http: str | None = None
    https: str | None = None
    exceptions: tuple[str, ...] = ()

    def __repr__(self) -> str:
        # a proxy's URL may hold a password
        return f"Proxies(http={self.http is not None}, https={self.https is not None}, exceptions={self.exceptions})"


def parse_proxies(environ: Mapping[str, str]) -> Proxies:
    """Read `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in lower case before upper.

    `HTTP_PROXY` in upper case is not read under CGI (`REQUEST_METHOD` set), where a client sets it by `Proxy:`.
    """

    def read(name: str) -> str | None:
        upper = "" if name == "http_proxy" and "REQUEST_METHOD" in environ else environ.get(name.upper(), "")
        return environ.get(name, "").strip() or upper.strip() or None

    entries = (entry.strip() for entry in (read("no_proxy") or "").split(","))
    every = read("all_proxy")
    return Proxies(read("http_proxy") or every, read("https_proxy") or every, tuple(e.lower() for e in entries if e))


def proxy_for(endpoint: Endpoint, proxies: Proxies) -> Endpoint | None:
    """The proxy to reach `endpoint` by, None for the direct way, which loopback always goes, as in Go's client.

    Raises:
        ValueError: the proxy's URL is unusable.
    """
    url = proxies.https if endpoint.secure else proxies.http
    if url is None or _is_loopback(endpoint.host) or _excepted(endpoint, proxies.exceptions):
        return None
    return parse_endpoint(url if "://" in url else f"http://{url}")


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost") or host == "::1" or host.startswith("127.")


def _excepted(endpoint: Endpoint, exceptions: tuple[str, ...]) -> bool:
    host = endpoint.host.lower()
    for entry in exceptions:
        name, separator, port = entry.rpartition(":")
        if separator and port.isdigit() and (":" not in name or name.startswith("[")):
            if int(port) != endpoint.port:
                continue
        else:
            name = entry
        name = name.strip("[]").lstrip("*").lstrip(".")
        if entry == "*" or host == name or (name and host.endswith(f".{name}")) or _in_network(host, name):
            return True
    return False


def _in_network(host: str, network: str) -> bool:
    if "/" not in network:
        return False
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
