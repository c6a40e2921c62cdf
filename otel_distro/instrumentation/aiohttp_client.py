"""aiohttp's client: a span for each request of every session, redirects included, by aiohttp's own tracing signals."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

from opentelemetry.trace import Span

from otel_distro.guard import Guard

from .base import Toolbox
from .http_client import Exchange, HttpClient, pairs_of_mapping
from .http_instrumentation import HttpClientInstrumentation
from .http_target import is_error
from .takeover import Takeover

_PART = "instrumentation aiohttp-client"


_KEPT = "_trace_configs"
"""Where a session keeps its trace configurations."""


class _Configs:
    """The trace configurations of sessions: completed where a session keeps them, at the end of its `__init__`.

    With a frame of ours around that, all that aiohttp says of a session's arguments would be about our line. Having no
    `__get__`, it costs a request nothing.

    Args:
        with_ours: gives them from the session and those that it was given.
        guard: gets what fails.
    """

    def __init__(self, with_ours: Callable[[Any, list[Any]], list[Any]], guard: Guard) -> None:
        self._with_ours = with_ours
        self._guard = guard

    def __set__(self, session: Any, given: Any) -> None:
        self._keep(session, self._guard.call(_PART, given, self._with_ours, session, given))

    def _keep(self, session: Any, configs: Any) -> None:
        session.__dict__[_KEPT] = configs


class _SlotConfigs(_Configs):
    """The same for sessions without a `__dict__`, as those of aiohttp 4 are.

    Args:
        with_ours: see `_Configs`.
        guard: see there.
        slot: where a session keeps them.
    """

    def __init__(self, with_ours: Callable[[Any, list[Any]], list[Any]], guard: Guard, slot: Any) -> None:
        super().__init__(with_ours, guard)
        self._slot = slot

    def __get__(self, session: Any, owner: type | None = None) -> Any:
        return self._slot.__get__(session, owner)

    def _keep(self, session: Any, configs: Any) -> None:
        self._slot.__set__(session, configs)


class AiohttpClientInstrumentation(HttpClientInstrumentation):
    """Adds a trace configuration to every `ClientSession` that is made; one configuration serves them all.

    Contrib makes a tracer and a meter for each session, which are never given back (contrib #4991, #5016).

    Args:
        toolbox: see `Toolbox`.
    """

    name = "aiohttp-client"
    contrib = "opentelemetry.instrumentation.aiohttp_client"
    instrumentor = "AioHttpClientInstrumentor"

    def __init__(self, toolbox: Toolbox) -> None:
        excluded = toolbox.settings.http.aiohttp_client_excluded_urls
        super().__init__(toolbox, HttpClient(toolbox, "aiohttp_client", excluded, pairs_of_mapping))
        self._url_filter: Callable[[Any], str] | None = None
        self._wrapped = False
        self._slot: Any = None
        self._further: tuple[Any, ...] = ()
        self._options: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()

    def wrap(self, library: Any) -> None:
        """Give every session that is made a trace configuration."""
        if self._wrapped:
            return
        self._wrapped = True
        self._slot = vars(library.ClientSession).get(_KEPT)
        slotted = self._slot is not None
        with_ours, guard = self._with_ours(), self._guard
        made = _SlotConfigs(with_ours, guard, self._slot) if slotted else _Configs(with_ours, guard)
        setattr(library.ClientSession, _KEPT, made)

    def _with_ours(self) -> Callable[[Any, list[Any]], list[Any]]:
        """What gives the trace configurations of a session, from those that it was given."""
        alone = self._config()
        first, last = self._pair()

        def with_ours(session: Any, given: list[Any]) -> list[Any]:
            configs = [*given, *self._further]
            # a list that was given to an earlier session may hold ours already
            if alone not in configs and last not in configs:
                if any(getattr(config, "on_request_exception", None) for config in configs):
                    configs = [first, *configs, last]
                else:
                    configs.append(alone)
            self._guard.call(_PART, None, self._adopt, session, configs)
            return configs

        return with_ours

    def _config(self, *factory: Callable[..., SimpleNamespace]) -> Any:
        config = self._library.TraceConfig(*factory)
        config.on_request_start.append(self._on_start)
        config.on_request_redirect.append(self._on_redirect)
        config.on_request_end.append(self._on_end)
        config.on_request_exception.append(self._on_exception)
        return config

    def _pair(self) -> tuple[Any, Any]:
        """For sessions whose own configurations look at exceptions: aiohttp goes no further where one of them raises.

        Ours is the last, so that theirs run while the span is current. An exception is told to the first as well. Both
        have one state for a request, for aiohttp makes the states of all configurations in one go.
        """
        newest = threading.local()

        def of_first(trace_request_ctx: object = None) -> SimpleNamespace:
            newest.state = SimpleNamespace(exchange=None)
            return newest.state  # type: ignore[no-any-return]

        def of_last(trace_request_ctx: object = None) -> SimpleNamespace:
            return newest.state  # type: ignore[no-any-return]

        first = self._library.TraceConfig(of_first)
        first.on_request_exception.append(self._on_exception)
        return first, self._config(of_last)

    def unwrap(self) -> None:
        """Take the patch back; sessions that were made while it was there go silent as well."""
        if self._wrapped:
            if self._slot is None:
                delattr(self._library.ClientSession, _KEPT)
            else:
                setattr(self._library.ClientSession, _KEPT, self._slot)
            self._wrapped = False

    def _adopt(self, session: Any, configs: list[Any]) -> None:
        for config in configs:
            if config in self._options:
                self._hooks.use_for(session, self._options[config])

    async def _on_start(self, session: Any, state: SimpleNamespace, params: Any) -> None:
        state.exchange = None
        if not self._wrapped:
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

    async def _on_redirect(self, session: Any, state: SimpleNamespace, params: Any) -> None:
        exchange: Exchange | None = state.exchange
        if exchange is None:
            return
        try:
            headers = params.response.headers
            location = headers.get("Location") or headers.get("URI")
            if location:
                url = params.url.join(type(params.url)(location))
                url = str(url) if self._url_filter is None else str(self._url_filter(url))
                self._client.redirected(url, params.headers, exchange.span)
        except Exception as error:  # noqa: BLE001 - the request goes on as it would without us
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
        if exchange is None or exchange.started is None:
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
        aiohttp = self._library
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

    def replace(self, module: ModuleType, takeover: Takeover) -> None:
        """Sessions that are to be left alone, and trace configurations that an application asks contrib for."""
        takeover.replace("uninstrument_session", staticmethod(self._hooks.silence))
        takeover.put(module, "create_trace_config", self._carrying)

    def configured(self, options: dict[str, Any]) -> None:
        """What is to become of a URL before it is told, and trace configurations of the application's own."""
        super().configured(options)
        self._url_filter = options.get("url_filter")
        self._further = tuple(options.get("trace_configs") or ())

    def _carrying(self, **options: Any) -> Any:
        """In the place of contrib's `create_trace_config`: no second span, but its hooks for sessions that have it."""
        config = self._library.TraceConfig()
        self._options[config] = options
        return config


def _version(response: Any) -> str:
    version = response.version
    return "" if version is None else f"{version.major}.{version.minor}"


def _bound(hook: Callable[..., Any] | None, params: Any) -> Callable[[Span], Any] | None:
    return None if hook is None else lambda span: hook(span, params)


__all__ = ["AiohttpClientInstrumentation"]
