"""httpx and httpx2, sync and async: a span from the request to the last byte of its answer, or until it is closed."""

from __future__ import annotations

from functools import wraps
from types import ModuleType
from typing import Any, ClassVar

from opentelemetry.context import Context
from opentelemetry.trace import Span

from otel_distro.instrumentation.base import Toolbox
from otel_distro.instrumentation.http_client import HttpClient
from otel_distro.instrumentation.http_instrumentation import HttpClientInstrumentation
from otel_distro.instrumentation.takeover import Takeover

from .headers import setter
from .transports import Transports


def _pairs(headers: Any) -> Any:
    return headers.raw


class _Client(HttpClient):
    """Numbers requests that are sent again; the first ones are written to by `write` and never come here."""

    def _propagate(self, span: Span, context: Context, headers: Any, request_id: str | None) -> None:
        self.resends.count(span, headers)
        super()._propagate(span, context, headers, request_id)


class HttpxInstrumentation(HttpClientInstrumentation):
    """Patches the two transports that talk to a network, as contrib does, and ends spans with the body (contrib #2304).

    Args:
        toolbox: see `Toolbox`.

    Attributes:
        wrappers: contrib's transports for it, which are there where the library is installed.
    """

    name = "httpx"
    contrib = "opentelemetry.instrumentation.httpx"
    instrumentor = "HTTPXClientInstrumentor"
    wrappers: ClassVar[tuple[str, ...]] = ("SyncOpenTelemetryTransport", "AsyncOpenTelemetryTransport")

    def __init__(self, toolbox: Toolbox) -> None:
        super().__init__(
            toolbox, _Client(toolbox, self.name, toolbox.settings.http.httpx_excluded_urls, _pairs, setter)
        )
        self._transports = Transports(self.name, self._client, self._hooks, toolbox.guard)

    def instrument(self, module: ModuleType) -> None:
        """As the base class; `httpx2.alias_httpx` lets `httpx` be httpx2, which has an instrumentation of its own."""
        if module.__name__ in {self.contrib, self.name}:
            super().instrument(module)

    def wrap(self, library: Any) -> None:
        """Patch the transports."""
        self._transports.wrap(library)

    def unwrap(self) -> None:
        """See `HttpClientInstrumentation`."""
        self._transports.unwrap()

    def replace(self, module: ModuleType, takeover: Takeover) -> None:
        """Clients that have hooks of their own or are to be left alone, and transports that contrib wraps."""
        takeover.replace("instrument_client", staticmethod(self._instrument_client))
        takeover.replace("uninstrument_client", staticmethod(self._uninstrument_client))
        for name in self.wrappers:
            kind = getattr(module, name, None)
            if kind is not None:
                self._leave_alone_below(kind, takeover)

    def _leave_alone_below(self, kind: type, takeover: Takeover) -> None:
        """Make no span for a transport that the application wraps in contrib's own: that one makes it."""
        original = kind.__init__  # type: ignore[misc]

        @wraps(original)
        def init(wrapper: Any, transport: Any, *args: Any, **kwargs: Any) -> None:
            self._guard.call(f"{self.name} takeover", None, self._hooks.silence, transport)
            original(wrapper, transport, *args, **kwargs)

        takeover.put(kind, "__init__", init)

    def _instrument_client(self, client: Any, *_: Any, **options: Any) -> None:
        for transport in _transports_of(client):
            self._hooks.use_for(transport, options)

    def _uninstrument_client(self, client: Any) -> None:
        for transport in _transports_of(client):
            self._hooks.silence(transport)


class Httpx2Instrumentation(HttpxInstrumentation):
    """The same for httpx2, which continues httpx under a name of its own."""

    name = "httpx2"
    instrumentor = "HTTPX2ClientInstrumentor"
    wrappers = ("SyncOpenTelemetryTransportHttpx2", "AsyncOpenTelemetryTransportHttpx2")


def _transports_of(client: Any) -> list[Any]:
    # httpx has no public name for them, and contrib reads the same
    return [each for each in (client._transport, *client._mounts.values()) if each is not None]  # noqa: SLF001


__all__ = ["Httpx2Instrumentation", "HttpxInstrumentation"]
