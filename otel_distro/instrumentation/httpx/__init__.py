"""httpx and httpx2, sync and async: a span from the request to the last byte of its answer, or until it is closed."""

from __future__ import annotations

from functools import wraps
from types import ModuleType
from typing import Any, ClassVar

from otel_distro.instrumentation.base import Toolbox
from otel_distro.instrumentation.calls import tracer_of
from otel_distro.instrumentation.hooks import Hooks
from otel_distro.instrumentation.http_client import HttpClient
from otel_distro.instrumentation.takeover import Takeover

from .headers import setter
from .transports import Transports

_CONTRIB = "opentelemetry.instrumentation.httpx"


def _pairs(headers: Any) -> Any:
    return headers.raw


class HttpxInstrumentation:
    """Patches the two transports that talk to a network, as contrib does, and ends spans with the body (contrib #2304).

    Args:
        toolbox: see `Toolbox`.

    Attributes:
        instrumentor: contrib's class for this library.
        wrappers: contrib's transports for it, which are there where the library is installed.
    """

    name: ClassVar[str] = "httpx"
    instrumentor: ClassVar[str] = "HTTPXClientInstrumentor"
    wrappers: ClassVar[tuple[str, ...]] = ("SyncOpenTelemetryTransport", "AsyncOpenTelemetryTransport")

    def __init__(self, toolbox: Toolbox) -> None:
        self._guard = toolbox.guard
        excluded = toolbox.settings.http.httpx_excluded_urls
        self._client = HttpClient(toolbox, self.name, excluded, _pairs, setter)
        self._hooks = Hooks(self.name, toolbox.guard)
        self._transports = Transports(self.name, self._client, self._hooks, toolbox.guard)
        self._takeover: Takeover | None = None
        self._httpx: ModuleType | None = None

    def instrument(self, module: ModuleType) -> None:
        """Patch httpx; contrib's own module is made to configure this instead of patching as well."""
        if module.__name__ == _CONTRIB:
            self._take_over(module)
        elif module.__name__ == self.name:  # `httpx2.alias_httpx` lets `httpx` be httpx2, which has its own
            self._httpx = module
            self._transports.wrap(module)

    def uninstrument(self) -> None:
        """Take every patch back."""
        self._transports.unwrap()
        self._hooks.forget()
        if self._takeover is not None:
            self._takeover.restore()
            self._takeover = None

    def _take_over(self, module: ModuleType) -> None:
        if self._takeover is not None:
            return
        self._takeover = Takeover(
            getattr(module, self.instrumentor),
            name=self.name,
            guard=self._guard,
            configure=self._configure,
            uninstrument=self._transports.unwrap,
        )
        self._takeover.replace("instrument_client", staticmethod(self._instrument_client))
        self._takeover.replace("uninstrument_client", staticmethod(self._uninstrument_client))
        for name in self.wrappers:
            kind = getattr(module, name, None)
            if kind is not None:
                self._leave_alone_below(kind, self._takeover)

    def _leave_alone_below(self, kind: type, takeover: Takeover) -> None:
        """Make no span for a transport that the application wraps in contrib's own: that one makes it."""
        original = kind.__init__  # type: ignore[misc]

        @wraps(original)
        def init(wrapper: Any, transport: Any, *args: Any, **kwargs: Any) -> None:
            self._guard.call(f"{self.name} takeover", None, self._hooks.silence, transport)
            original(wrapper, transport, *args, **kwargs)

        takeover.put(kind, "__init__", init)

    def _configure(self, options: dict[str, Any]) -> None:
        if self._httpx is not None:
            self._transports.wrap(self._httpx)
        self._hooks.use(options)
        if options.get("tracer_provider") is not None:
            self._client.tracer = tracer_of(options["tracer_provider"], self.name)

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
