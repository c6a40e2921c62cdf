"""Who may see more than a status: whoever has the token, or is on this very machine and came without a proxy."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable
from typing import Any

_PROXIED = (b"x-forwarded-", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip", b"x-envoy-", b"x-original-")
_PROXIED_EXACTLY = frozenset({b"forwarded", b"via", b"true-client-ip", b"cf-connecting-ip", b"fastly-client-ip"})


class Access:
    """Decides about details.

    Args:
        token: with one, it alone opens; a proxy on this machine that adds no header would look like loopback.
    """

    def __init__(self, token: str | None) -> None:
        self._token = None if token is None else token.encode("utf-8", "surrogateescape")

    def allows(self, scope: Any) -> bool:
        """Whether the sender of a request may see details.

        Args:
            scope: of an HTTP request; anything odd in it means no.
        """
        try:
            headers = [(bytes(name).lower(), bytes(value)) for name, value in scope.get("headers") or ()]
            if self._token is not None:
                return self._shows_token(headers)
            return _on_this_machine(scope.get("client")) and _directly(headers)
        except (TypeError, ValueError):
            return False

    def _shows_token(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        for name, value in headers:
            if name == b"authorization" and value[:7].lower() == b"bearer ":
                return hmac.compare_digest(value[7:].strip(), self._token or b"")
        return False


def _on_this_machine(client: Any) -> bool:
    return bool(client) and _is_loopback(str(client[0]))


def _directly(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """No proxy has said that it is one, and the name that was asked for is this machine's.

    A page in a browser of this machine can be made to ask here under a name of its own (DNS rebinding).
    """
    host = b""
    for name, value in headers:
        if name in _PROXIED_EXACTLY or name.startswith(_PROXIED):
            return False
        if name == b"host":
            host = value
    text = host.decode("latin-1")
    name_ = text[1 : text.find("]")] if text.startswith("[") else text.rpartition(":")[0] or text
    return name_ == "localhost" or _is_loopback(name_)


def _is_loopback(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)
