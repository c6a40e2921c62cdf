"""urllib3: a span around `HTTPConnectionPool.urlopen`, retries and redirects included."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from opentelemetry.trace import Span

from otel_distro._compat import SUPPRESS_HTTP_KEY

from .base import Toolbox
from .calls import current
from .hooks import HookSet
from .http_client import VERSIONS, Exchange, HttpClient, pairs_of_mapping, silent
from .http_instrumentation import HttpClientInstrumentation
from .http_resends import RESEND_COUNT
from .request_ids import SetHeader

_PART = "instrumentation urllib3"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Urllib3Instrumentation(HttpClientInstrumentation):
    """Patches the pools' `urlopen`, which everything built on urllib3 calls.

    Args:
        toolbox: see `Toolbox`.
    """

    name = "urllib3"
    contrib = "opentelemetry.instrumentation.urllib3"
    instrumentor = "URLLib3Instrumentor"

    def __init__(self, toolbox: Toolbox) -> None:
        excluded = toolbox.settings.http.urllib3_excluded_urls
        super().__init__(toolbox, HttpClient(toolbox, self.name, excluded, pairs_of_mapping, _setter))
        self._url_filter: Callable[[str], str] | None = None
        self._pool: Any = None
        self._original: Callable[..., Any] | None = None

    def wrap(self, library: Any) -> None:
        """Patch `HTTPConnectionPool.urlopen`."""
        if self._original is not None:
            return
        self._pool = library.connectionpool.HTTPConnectionPool
        original = self._original = self._pool.urlopen

        @wraps(original)
        def urlopen(
            pool: Any, method: str, url: str, body: Any = None, headers: Any = None, *args: Any, **kwargs: Any
        ) -> Any:
            if current().get(SUPPRESS_HTTP_KEY):
                return original(pool, method, url, body, headers, *args, **kwargs)
            exchange, sent, hooks = self._begin(pool, method, url, body, headers)
            if exchange is None:
                return original(pool, method, url, body, headers, *args, **kwargs)
            # a pool manager follows redirects by calls of their own, and says so in this
            if "retries" in kwargs:
                self._count(exchange, kwargs["retries"])
            try:
                response = original(pool, method, url, body, sent, *args, **kwargs)
            except BaseException as error:
                exchange.fail(error)
                raise
            self._answered(exchange, response, hooks, pool)
            exchange.end()
            return response

        self._pool.urlopen = urlopen

    def unwrap(self) -> None:
        """See `HttpClientInstrumentation`."""
        if self._original is not None:
            self._pool.urlopen = self._original
            self._original = None

    def _begin(
        self, pool: Any, method: str, url: str, body: Any, headers: Any
    ) -> tuple[Exchange | None, Any, HookSet | None]:
        try:
            if silent():
                return None, None, None
            hooks, hook = None, None
            # the caller's headers stay as they are; where it gave none, the pool's own apply, as in urllib3 itself
            sent = (pool.headers if headers is None else headers).copy()
            full = url if url.startswith(("http://", "https://")) else _origin(pool) + url
            if self._url_filter is not None:
                full = str(self._url_filter(full))
            if self._hooks.wanted:
                hooks = self._hooks.of(pool)
                if hooks is None:
                    return None, None, None
                hook = _bound(hooks.request, pool, {"method": method, "url": full, "headers": sent, "body": body})
            exchange = self._client.begin(method, full, sent, True, hooks is not None, hook)
        except Exception as error:  # noqa: BLE001 - the request is sent as it would be without us
            self._guard.failed(_PART, error)
            return None, None, None
        return exchange, sent, hooks

    def _count(self, exchange: Exchange, retries: Any) -> None:
        history = getattr(retries, "history", None)
        if history:
            self._guard.call(_PART, None, exchange.span.set_attribute, RESEND_COUNT, len(history))

    def _answered(self, exchange: Exchange, response: Any, hooks: HookSet | None, pool: Any) -> None:
        try:
            exchange.answered(response.status, VERSIONS.get(response.version, ""), response.headers)
            if hooks is not None and hooks.response is not None:
                hooks.response(exchange.span, pool, response)
        except Exception as error:  # noqa: BLE001 - the response is the application's
            self._guard.failed(_PART, error)

    def configured(self, options: dict[str, Any]) -> None:
        """What is to become of a URL before it is told."""
        super().configured(options)
        self._url_filter = options.get("url_filter")


def _origin(pool: Any) -> str:
    host = f"[{pool.host}]" if ":" in pool.host and not pool.host.startswith("[") else pool.host
    port = "" if pool.port is None or pool.port == _DEFAULT_PORTS.get(pool.scheme) else f":{pool.port}"
    return f"{pool.scheme}://{host}{port}"


def _setter(headers: Any) -> SetHeader:
    """What sets a header in the place of the application's own, however that is spelt: a dictionary would send both."""
    put: SetHeader = headers.__setitem__
    if headers.__class__ is not dict:
        return put

    def set_header(name: str, value: str) -> None:
        size, lowered = len(name), name.lower()
        for spelt in [other for other in headers if len(other) == size and other.lower() == lowered]:
            del headers[spelt]
        put(name, value)

    return set_header


def _bound(hook: Callable[..., Any] | None, pool: Any, request: dict[str, Any]) -> Callable[[Span], Any] | None:
    if hook is None:
        return None
    from opentelemetry.instrumentation.urllib3 import RequestInfo

    return lambda span: hook(span, pool, RequestInfo(**request))


__all__ = ["Urllib3Instrumentation"]
