"""One scrape: a snapshot, rendered as the scraper wants it."""

from __future__ import annotations

import threading
import zlib

from otel_distro.metrics.source import Source
from otel_distro.records import dataclass

from .negotiate import negotiate
from .render import Renderer

_WORTH = 1024  # bytes below which compressing costs more than it saves
_GZIP = 31  # zlib's window bits for a gzip header
_PIECE = 65536


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send.

    Args:
        body: possibly compressed.
        headers: names in lower case; without the length.
    """

    body: bytes
    headers: tuple[tuple[str, str], ...]


class Scraper:
    """Answers scrapes, one at a time.

    Args:
        source: of the numbers.
        renderer: of the text.
    """

    def __init__(self, source: Source, renderer: Renderer) -> None:
        self._source = source
        self._renderer = renderer
        self._lock = threading.Lock()

    def scrape(self, accept: str = "", accept_encoding: str = "") -> Answer:
        """The metrics now.

        Args:
            accept: the request's `Accept`.
            accept_encoding: the request's `Accept-Encoding`.
        """
        wanted = negotiate(accept, accept_encoding)
        with self._lock:
            snapshot = self._source.snapshot(exemplars=wanted.openmetrics)
            body = self._renderer.render(snapshot, openmetrics=wanted.openmetrics)
        headers = [("content-type", wanted.content_type), ("vary", "Accept, Accept-Encoding")]
        if wanted.gzip and len(body) >= _WORTH:
            body = _compressed(body)
            headers.append(("content-encoding", "gzip"))
        return Answer(body, tuple(headers))

    def after_fork(self) -> None:
        """A child starts with a lock that no vanished thread holds."""
        self._lock = threading.Lock()


def _compressed(body: bytes) -> bytes:
    """In pieces, since zlib gives the interpreter to others only while it works on one."""
    made = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    return b"".join([*(made.compress(body[at : at + _PIECE]) for at in range(0, len(body), _PIECE)), made.flush()])
