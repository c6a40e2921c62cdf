"""What instrumentations of HTTP clients have in common beside `LibraryInstrumentation`: a client, and hooks."""

from __future__ import annotations

from typing import Any

from .base import Toolbox
from .hooks import Hooks
from .http_client import HttpClient
from .takeover import LibraryInstrumentation


class HttpClientInstrumentation(LibraryInstrumentation):
    """See `LibraryInstrumentation`.

    Args:
        toolbox: see `Toolbox`.
        client: begins the exchanges.
    """

    def __init__(self, toolbox: Toolbox, client: HttpClient) -> None:
        super().__init__(toolbox)
        self._client = client
        self._hooks = Hooks(self.name, toolbox.guard)

    def uninstrument(self) -> None:
        """Take every patch back, and forget the hooks."""
        super().uninstrument()
        self._hooks.forget()

    def configured(self, options: dict[str, Any]) -> None:
        """Use hooks, excluded URLs and a provider."""
        self._hooks.use(options)
        if options.get("excluded_urls") is not None:
            # imported by those who exclude something
            from .url_exclusion import patterns_of

            self._client.exclude(patterns_of(options["excluded_urls"]))
        if options.get("tracer_provider") is not None:
            self._client.trace_by(options["tracer_provider"])


__all__ = ["HttpClientInstrumentation"]
