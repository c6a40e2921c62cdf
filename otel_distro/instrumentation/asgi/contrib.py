"""Code of users that calls contrib's instrumentors: what it says configures our path and never makes a second span.

Nothing here imports contrib: its modules are patched when the user's code imports them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from opentelemetry.trace import ProxyTracerProvider

from .call import Call, served
from .exchange import MARK, Exchange
from .messages import Receive, Send, hooked_receive, hooked_send
from .options import NO_OPTIONS, Options, Scope
from .patches import Patches
from .servers import ATTRIBUTE, Servers

_FLAG = "_is_instrumented_by_opentelemetry"  # what user code looks at before it instruments an application


def adopt_instrumentor(instrumentor: type, patches: Patches, servers: Servers) -> None:
    """Turn `FastAPIInstrumentor` or `StarletteInstrumentor` into a way to configure our path."""

    def say() -> None:
        text = f"{instrumentor.__name__}: otel-distro instruments FastAPI already; hooks and options are taken over"
        servers.guard.info(text, once="takeover fastapi")

    def instrument_app(app: Any, *args: Any, **kwargs: Any) -> None:
        # contrib's order, for the few who pass by position
        kwargs.update(zip(("server_request_hook", "client_request_hook", "client_response_hook"), args, strict=False))
        say()
        servers.configure(app, options_from(kwargs, servers))
        setattr(app, _FLAG, True)

    def uninstrument_app(app: Any) -> None:
        servers.configure(app, Options(off=True))
        setattr(app, _FLAG, False)

    def instrument(_self: Any, **kwargs: Any) -> None:
        say()
        servers.configure_all(options_from(kwargs, servers))

    def uninstrument(_self: Any, **_kwargs: Any) -> None:
        servers.configure_all(Options(off=True))

    patches.wrap(instrumentor, "instrument_app", lambda _: instrument_app)
    patches.wrap(instrumentor, "uninstrument_app", lambda _: uninstrument_app)
    patches.wrap(instrumentor, "_instrument", lambda _: instrument)
    patches.wrap(instrumentor, "_uninstrument", lambda _: uninstrument)


def adopt_middleware(module: ModuleType, patches: Patches, servers: Servers) -> None:
    """Let `OpenTelemetryMiddleware`, contrib's or Starlette's, run our path with what it was given."""
    patches.wrap(module.OpenTelemetryMiddleware, "__call__", lambda _: served(_through(servers), servers, _options_of))


def options_from(kwargs: dict[str, Any], servers: Servers) -> Options:
    """Options from the arguments of contrib's `instrument` and `instrument_app`."""
    excluded = kwargs.get("excluded_urls")
    return Options(
        tracer_provider=kwargs.get("tracer_provider"),
        meter_provider=kwargs.get("meter_provider"),
        server_request_hook=_callable(kwargs.get("server_request_hook")),
        client_request_hook=_callable(kwargs.get("client_request_hook")),
        client_response_hook=_callable(kwargs.get("client_response_hook")),
        excluded=_excluded(excluded, servers),
        captured_request_headers=_names(kwargs.get("http_capture_headers_server_request")),
        captured_response_headers=_names(kwargs.get("http_capture_headers_server_response")),
        hidden_headers=_names(kwargs.get("http_capture_headers_sanitize_fields")),
    )


def _excluded(given: Any, servers: Servers) -> Callable[[str], bool] | None:
    if given is None:
        return None
    if isinstance(given, str):
        # imported by those who exclude something
        from otel_distro.instrumentation.url_exclusion import excluding, patterns_of

        return excluding(patterns_of(given), servers.guard) or (lambda _: False)
    return getattr(given, "url_disabled", None)


def _options_of(middleware: Any) -> Options:
    """What one instance of `OpenTelemetryMiddleware` was given."""
    if not hasattr(middleware, "excluded_urls"):
        return _options_of_starlette(middleware)
    details = middleware.default_span_details
    own = getattr(details, "__module__", "").startswith("opentelemetry.instrumentation.")
    return Options(
        tracer=middleware.tracer,
        meter=middleware.meter,
        server_request_hook=middleware.server_request_hook,
        client_request_hook=middleware.client_request_hook,
        client_response_hook=middleware.client_response_hook,
        excluded=getattr(middleware.excluded_urls, "url_disabled", None),
        span_details=None if own else details,
        captured_request_headers=_names(middleware.http_capture_headers_server_request),
        captured_response_headers=_names(middleware.http_capture_headers_server_response),
    )


def _options_of_starlette(middleware: Any) -> Options:
    patterns = getattr(middleware, "_excluded_urls", ())
    provider = getattr(middleware, "_tracer_provider", None)
    return Options(
        excluded=(lambda url: any(pattern.search(url) for pattern in patterns)) if patterns else None,
        tracer_provider=None if isinstance(provider, ProxyTracerProvider) else provider,
        meter_provider=getattr(middleware, "_meter_provider", None),
    )


def _through(servers: Servers) -> Call:
    async def call(self: Any, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = scope.get(MARK)
        if isinstance(exchange, Exchange) and exchange.server is not vars(self).get(ATTRIBUTE):
            # within somebody else's server span: only the hooks are left to do
            options = servers.guard.call("OpenTelemetryMiddleware", NO_OPTIONS, _options_of, self)
            receive, send = _with_hooks(options, exchange, scope, receive, send)
        await self.app(scope, receive, send)

    return call


def _with_hooks(
    options: Options, exchange: Exchange, scope: Scope, receive: Receive, send: Send
) -> tuple[Receive, Send]:
    span = exchange.server_span
    if span is None:
        return receive, send
    if options.server_request_hook is not None:
        exchange.server.call_hook(options.server_request_hook, span, scope)
    if options.client_request_hook is not None:
        receive = hooked_receive(options.client_request_hook, exchange, span, scope, receive)
    if options.client_response_hook is not None:
        send = hooked_send(options.client_response_hook, exchange, span, scope, send)
    return receive, send


def _callable(hook: Any) -> Any:
    return hook if callable(hook) else None


def _names(given: Iterable[str] | None) -> tuple[str, ...] | None:
    return tuple(given) if given else None


__all__ = ["adopt_instrumentor", "adopt_middleware", "options_from"]
