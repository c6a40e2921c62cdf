"""aiohttp's client: a span for each request of every session, redirects included, by aiohttp's own tracing signals."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import wraps
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

from opentelemetry.trace import Span

from .base import Toolbox
from .calls import tracer_of
from .hooks import Hooks
from .http_client import Exchange, HttpClient, pairs_of_mapping
from .http_target import is_error
from .takeover import Takeover

_CONTRIB = "opentelemetry.instrumentation.aiohttp_client"
_PART = "instrumentation aiohttp-client"


class AiohttpClientInstrumentation:
    """Adds a trace configuration to every `ClientSession` that is made; one configuration serves them all.

    Contrib makes a tracer and a meter for each session, which are never given back (contrib #4991, #5016).

    Args:
        toolbox: see `Toolbox`.
    """

    name: ClassVar[str] = "aiohttp-client"

    def __init__(self, toolbox: Toolbox) -> None:
        self._guard = toolbox.guard
        excluded = toolbox.settings.http.aiohttp_client_excluded_urls
        self._client = HttpClient(toolbox, "aiohttp_client", excluded, pairs_of_mapping)
        self._hooks = Hooks(self.name, toolbox.guard)
        self._url_filter: Callable[[Any], str] | None = None
        self._takeover: Takeover | None = None
        self._aiohttp: Any = None
        self._original: Callable[..., Any] | None = None
        self._further: tuple[Any, ...] = ()
        self._options: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()

    def instrument(self, module: ModuleType) -> None:
        """Patch aiohttp; contrib's own module is made to configure this instead of patching as well."""
        if module.__name__ == _CONTRIB:
            self._take_over(module)
        else:
            self._aiohttp = module
            self._wrap()

    def uninstrument(self) -> None:
        """Take the patch back; sessions that were made while it was there go silent as well."""
        self._unwrap()
        self._hooks.forget()
        if self._takeover is not None:
            self._takeover.restore()
            self._takeover = None

    def _wrap(self) -> None:
        if self._original is not None or self._aiohttp is None:
            return
        config = self._aiohttp.TraceConfig()
        config.on_request_start.append(self._on_start)
        config.on_request_end.append(self._on_end)
        config.on_request_exception.append(self._on_exception)
        original = self._original = self._aiohttp.ClientSession.__init__

        @wraps(original)
        def init(session: Any, *args: Any, trace_configs: Any = None, **kwargs: Any) -> None:
            configs = [*(trace_configs or ()), *self._further]
            # a list that was given to an earlier session may hold ours already
            if config not in configs:
                configs.append(config)
            original(session, *args, trace_configs=configs, **kwargs)
            self._guard.call(_PART, None, self._adopt, session, configs)

        self._aiohttp.ClientSession.__init__ = init

    def _unwrap(self) -> None:
        if self._original is not None:
            self._aiohttp.ClientSession.__init__ = self._original
            self._original = None

    def _adopt(self, session: Any, configs: list[Any]) -> None:
        for config in configs:
            if config in self._options:
                self._hooks.use_for(session, self._options[config])

    async def _on_start(self, session: Any, state: SimpleNamespace, params: Any) -> None:
        state.exchange = None
        if self._original is None:
            return
        try:
            hooks, hook = None, None
            if self._hooks.wanted:
                hooks = self._hooks.of(session)
                if hooks is None:
                    return
                hook = _bound(hooks.request, params)
            url = str(params.url) if self._url_filter is None else str(self._url_filter(params.url))
            state.exchange = self._client.begin(params.method, url, params.headers, whole=hooks is not None, hook=hook)
        except Exception as error:  # noqa: BLE001 - the request is sent as it would be without us
            self._guard.failed(_PART, error)

    async def _on_end(self, session: Any, state: SimpleNamespace, params: Any) -> None:
        exchange: Exchange | None = state.exchange
        if exchange is None:
            return
        try:
            self._respond(session, exchange, params)
            response = params.response
            exchange.answered(response.status, _version(response), response.headers)
        except Exception as error:  # noqa: BLE001 - the response is the application's
            self._guard.failed(_PART, error)
        exchange.end()

    async def _on_exception(self, session: Any, state: SimpleNamespace, params: Any) -> None:
        exchange: Exchange | None = state.exchange
        if exchange is None:
            return
        answered = False
        try:
            self._respond(session, exchange, params)
            answered = self._answered_all_the_same(exchange, params.exception)
        except Exception as error:  # noqa: BLE001 - see above
            self._guard.failed(_PART, error)
        if answered:
            exchange.end()
        else:
            exchange.fail(params.exception)

    def _answered_all_the_same(self, exchange: Exchange, error: Any) -> bool:
        """Tell the status of an answer that aiohttp made an exception of; return whether that says all.

        With other clients an answer is told as such, too, and `raise_for_status` is the application's own call.
        """
        aiohttp = self._aiohttp
        # a proxy's answer is not the server's, and what cannot be parsed has a status that nobody sent
        if (
            not isinstance(error, aiohttp.ClientResponseError)
            or isinstance(error, aiohttp.ClientHttpProxyError)
            or isinstance(error.__cause__, aiohttp.http.HttpProcessingError)
        ):
            return False
        if isinstance(error, aiohttp.TooManyRedirects) and error.history:
            last = error.history[-1]
            exchange.answered(last.status, _version(last), last.headers)
        elif error.status > 0:
            exchange.answered(error.status, "", error.headers or {})
        return is_error(error.status)

    def _respond(self, session: Any, exchange: Exchange, params: Any) -> None:
        hooks = self._hooks.of(session) if self._hooks.wanted else None
        if hooks is not None and hooks.response is not None:
            hooks.response(exchange.span, params)

    def _take_over(self, module: ModuleType) -> None:
        if self._takeover is not None:
            return
        self._takeover = Takeover(
            module.AioHttpClientInstrumentor,
            name=self.name,
            guard=self._guard,
            configure=self._configure,
            uninstrument=self._unwrap,
        )
        self._takeover.replace("uninstrument_session", staticmethod(self._hooks.silence))
        self._takeover.put(module, "create_trace_config", self._carrying)

    def _carrying(self, **options: Any) -> Any:
        """In the place of contrib's `create_trace_config`: no second span, but its hooks for sessions that have it."""
        config = self._aiohttp.TraceConfig()
        self._options[config] = options
        return config

    def _configure(self, options: dict[str, Any]) -> None:
        self._wrap()
        self._hooks.use(options)
        self._url_filter = options.get("url_filter")
        self._further = tuple(options.get("trace_configs") or ())
        if options.get("tracer_provider") is not None:
            self._client.tracer = tracer_of(options["tracer_provider"], "aiohttp_client")


def _version(response: Any) -> str:
    version = response.version
    return "" if version is None else f"{version.major}.{version.minor}"


def _bound(hook: Callable[..., Any] | None, params: Any) -> Callable[[Span], Any] | None:
    return None if hook is None else lambda span: hook(span, params)


__all__ = ["AiohttpClientInstrumentation"]
