"""Finds or makes the `Server` of an application from the settings, FastAPI's own wishes and contrib's arguments."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider, Tracer, TracerProvider

from otel_distro._version import __version__
from otel_distro.conventions import SCHEMA_URL
from otel_distro.instrumentation import binding
from otel_distro.instrumentation.base import Toolbox
from otel_distro.instrumentation.request_ids import server_ids

from .exchange import Exchange
from .metrics import Groups, Instruments
from .native import Native, config_of
from .options import NO_OPTIONS, Options
from .origin import Origins
from .server import Server
from .streams import Streams
from .summary import Summary

if TYPE_CHECKING:
    from otel_distro.instrumentation.captured_headers import Capture
    from otel_distro.instrumentation.url_exclusion import Exclusion

SCOPE_NAME = "otel_distro.instrumentation.fastapi"
ATTRIBUTE = "_otel_distro_server"
"""Where an application keeps its `Server`: a look-up in its own dictionary is the cheapest there is."""
_NORMAL_CLOSE = frozenset({1000, 1001, 1005})
"""Of a WebSocket; the last stands for a close frame without a code, as a browser's `close()` sends it (RFC 6455)."""


class Servers:
    """The servers of all applications of the process.

    Args:
        toolbox: providers, settings and guard.

    Attributes:
        native: FastAPI's own telemetry, None where there is none.
        guard: where failures go.
        answers: paths that the distro answers by itself.
    """

    def __init__(self, toolbox: Toolbox) -> None:
        self.native: Native | None = None
        self.guard = toolbox.guard
        self.answers = toolbox.answers
        self._toolbox = toolbox
        self._summary = Summary(toolbox.settings.requests, toolbox.guard)
        self._defaults = NO_OPTIONS
        self._options: weakref.WeakKeyDictionary[Any, Options] = weakref.WeakKeyDictionary()
        self._apps: weakref.WeakSet[Any] = weakref.WeakSet()
        # by identity, for providers of others (logfire's) may be unhashable; each is kept as long as its number counts
        self._instruments: dict[int, tuple[object, Instruments]] = {}

    @property
    def ours(self) -> dict[str, Any]:
        """The providers that have their exporters from the distro, by signal."""
        return {"TRACES": self._toolbox.tracer_provider, "METRICS": self._toolbox.meter_provider}

    def tracer(self) -> Tracer:
        """The tracer of the distro's own provider."""
        return _tracer_of(self._toolbox.tracer_provider)

    def of(self, app: Any, options: Options = NO_OPTIONS) -> Server | None:
        """The server of an application, made at its first request; None when it makes no telemetry.

        Args:
            app: whose dictionary keeps it.
            options: what the application itself brings, below what was configured for it.
        """
        options = self._options.get(app, NO_OPTIONS).over(options).over(self._defaults)
        server = None if options.off else self.guard.call("FastAPI instrumentation", None, self._build, app, options)
        vars(app)[ATTRIBUTE] = server
        self._apps.add(app)
        return server

    def configure(self, app: Any, options: Options) -> None:
        """Say something about one application, before or after its first request."""
        self._options[app] = options
        vars(app).pop(ATTRIBUTE, None)

    def configure_all(self, options: Options) -> None:
        """Say something about all applications that say nothing themselves."""
        self._defaults = options
        self.forget()

    def forget(self) -> None:
        """Make every server anew at the next request."""
        for app in list(self._apps):
            vars(app).pop(ATTRIBUTE, None)

    def _build(self, app: Any, options: Options) -> Server:
        http = self._toolbox.settings.http
        guard = self.guard
        config = config_of(app) or {}
        tracer = self._tracer(options, config) if config.get("tracing", True) else None
        instruments = self._instruments_of(options, config) if config.get("metrics", True) else None
        groups, quiet = Groups(instruments), Groups(None)
        hidden = (*http.sanitize_headers, *(options.hidden_headers or ()))
        requested = _or(options.captured_request_headers, http.capture_request_headers)
        responded = _or(options.captured_response_headers, http.capture_response_headers)
        return Server(
            guard=guard,
            origins=Origins(http.known_methods, groups, quiet),
            summary=self._summary,
            request_ids=server_ids(self._toolbox.settings.requests, guard),
            tracer=None if tracer is None else binding.tracing(tracer),
            exclusion=self._exclusion(options),
            captured_request=self._capture("http.request.header.", requested, hidden),
            captured_response=self._capture("http.response.header.", responded, hidden),
            request_hook=options.server_request_hook,
            receive_hook=options.client_request_hook,
            send_hook=options.client_response_hook,
            span_details=options.span_details,
            native=None if self.native is None else self.native.app(config, guard),
            exchange_class=Exchange if self.native is None else self.native.exchange_class,
            measures=instruments is not None,
            streams=Streams(None) if instruments is None else instruments.streams,
            answers=self.answers,
            normal_disconnect=_normal_disconnect(),
        )

    def _tracer(self, options: Options, config: Any) -> Tracer | None:
        if options.tracer is not None:
            return options.tracer
        provider: TracerProvider = (
            options.tracer_provider or config.get("tracer_provider") or self._toolbox.tracer_provider
        )
        return None if isinstance(provider, NoOpTracerProvider) else _tracer_of(provider)

    def _instruments_of(self, options: Options, config: Any) -> Instruments | None:
        source: Any = (
            options.meter or options.meter_provider or config.get("meter_provider") or self._toolbox.meter_provider
        )
        if isinstance(source, NoOpMeterProvider):
            return None
        _, found = self._instruments.get(id(source), (None, None))
        if found is None:
            # one set for all applications: an instrument made twice is reported as a conflict
            meter = source if options.meter is not None else source.get_meter(SCOPE_NAME, __version__, SCHEMA_URL)
            found = Instruments(meter)
            self._instruments[id(source)] = source, found
        return found

    def _exclusion(self, options: Options) -> Exclusion | None:
        http = self._toolbox.settings.http
        test, patterns = options.excluded, _or(http.fastapi_excluded_urls, http.excluded_urls)
        if test is None and not patterns:
            return None
        # imported by those who exclude something
        from otel_distro.instrumentation.url_exclusion import Exclusion, excluding

        test = test or excluding(patterns, self.guard)
        return None if test is None else Exclusion(test)

    def _capture(self, prefix: str, patterns: tuple[str, ...], hidden: tuple[str, ...]) -> Capture | None:
        if not patterns:
            return None
        # imported by those who capture something
        from otel_distro.instrumentation.captured_headers import capture

        return capture(prefix, patterns, hidden, self.guard)


def _tracer_of(provider: TracerProvider) -> Tracer:
    return provider.get_tracer(SCOPE_NAME, __version__, SCHEMA_URL)


def _or(first: tuple[str, ...] | None, second: tuple[str, ...]) -> tuple[str, ...]:
    return second if first is None else first


def _normal_disconnect() -> Callable[[BaseException], bool]:
    try:
        from starlette.websockets import WebSocketDisconnect
    except ImportError:
        return lambda _: False
    return lambda error: isinstance(error, WebSocketDisconnect) and error.code in _NORMAL_CLOSE
