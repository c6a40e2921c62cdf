"""Certificates and keys of a connection by https."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from otel_distro.records import dataclass

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable


class TlsUnusable(ValueError):
    """A certificate or key file cannot be used; there is no safe way to go on without it."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files for TLS: authorities to trust (None: the system's); the client's certificate and key, for mTLS."""

    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None

    def files(self) -> tuple[tuple[int, ...], ...]:
        """What tells a file that was replaced from the one before; empty for one that is not there or not named."""
        return tuple(_seen(file) for file in (self.certificate, self.client_certificate, self.client_key))

    def context(self) -> ssl.SSLContext:
        """The TLS context.

        Raises:
            TlsUnusable: a file is missing or is not what it should be; the message names the file.
        """
        import ssl

        if self.client_key and not self.client_certificate:
            raise TlsUnusable("there is a client key and no client certificate")
        context: ssl.SSLContext = _load(
            "the certificate file", self.certificate, lambda f: ssl.create_default_context(cafile=f)
        )
        if self.client_certificate:
            _load(
                "the client certificate (and its key)",
                self.client_certificate,
                # a key with a password must not ask for it on the terminal
                lambda file: context.load_cert_chain(str(file), self.client_key, password=lambda: ""),
            )
        return context


def _seen(file: str | None) -> tuple[int, ...]:
    if not file:
        return ()
    try:
        found = os.stat(file)  # noqa: PTH116 - no pathlib in applications' processes
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _load(what: str, file: str | None, load: Callable[[str | None], Any]) -> Any:
    try:
        return load(file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = error.strerror if isinstance(error, OSError) else None
        raise TlsUnusable(f"{what} {file} cannot be used: {reason or error}") from error
