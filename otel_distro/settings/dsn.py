"""A Sentry DSN taken apart: where a project is reached, and by which public key."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit


class Dsn(NamedTuple):
    """A DSN. `str()` and `repr()` of it hold no key.

    Attributes:
        text: as it was given; what sentry-sdk gets.
        base: scheme, host, port and path before the project, without a slash at its end.
        host: the host's name, in lower case.
        project: the project's number.
        public_key: tells Sentry who sends.
    """

    text: str
    base: str
    host: str
    project: str
    public_key: str

    @property
    def otlp_traces(self) -> str:
        """Where Sentry takes spans by OTLP/HTTP (docs.sentry.io, "OpenTelemetry Protocol")."""
        return f"{self.base}/api/{self.project}/integration/otlp/v1/traces/"

    def auth(self, client: str) -> str:
        """The value of `x-sentry-auth` (develop.sentry.dev, "Authentication").

        Args:
            client: name and version of what sends.
        """
        return f"sentry sentry_key={self.public_key}, sentry_version=7, sentry_client={client}"

    def __str__(self) -> str:
        return f"{self.base}/{self.project}"

    def __repr__(self) -> str:
        return f"Dsn({str(self)!r})"


def parse_dsn(text: str) -> Dsn:
    """Take a DSN apart.

    Raises:
        ValueError: it is none; the message holds nothing of it.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("not a URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("not of the form https://key@host/project")
    if not parts.username:
        raise ValueError("it has no key before the @")
    path, _, project = parts.path.rstrip("/").rpartition("/")
    if not (project.isascii() and project.isdigit()):
        raise ValueError("it does not end in a project's number")
    if not parts.username.isascii() or not parts.username.isalnum():
        raise ValueError("its key has characters that a key may not have")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    base = f"{parts.scheme}://{host}{f':{port}' if port else ''}{path}"
    return Dsn(text, base, parts.hostname, project, parts.username)
