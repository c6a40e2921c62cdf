"""httpx's network transports, wrapped."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

from opentelemetry.trace import Span

from otel_distro.guard import Guard
from otel_distro.instrumentation.hooks import Hooks, HookSet
from otel_distro.instrumentation.http_client import Exchange, HttpClient

_PART = "instrumentation httpx"
_VERSIONS = {b"HTTP/1.0": "1.0", b"HTTP/1.1": "1.1", b"HTTP/2": "2", b"HTTP/3": "3"}


class Transports:
    """The patch.

    Args:
        client: begins exchanges.
        hooks: the user's.
        guard: where failures go.
    """

    def __init__(self, client: HttpClient, hooks: Hooks, guard: Guard) -> None:
        self._client = client
        self._hooks = hooks
        self._guard = guard
        self._originals: tuple[Callable[..., Any], Callable[..., Any]] | None = None
        self._httpx: Any = None

    def wrap(self, httpx: ModuleType) -> None:
        """Patch `HTTPTransport` and `AsyncHTTPTransport`."""
        if self._originals is not None:
            return
        self._httpx = httpx
        sync, asynchronous = httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request
        self._originals = sync, asynchronous
        httpx.HTTPTransport.handle_request = self._sync(sync)
        httpx.AsyncHTTPTransport.handle_async_request = self._async(asynchronous)

    def unwrap(self) -> None:
        """Take the patch back."""
        if self._originals is not None:
            self._httpx.HTTPTransport.handle_request, self._httpx.AsyncHTTPTransport.handle_async_request = (
                self._originals
            )
            self._originals = None

    def _sync(self, original: Callable[..., Any]) -> Callable[..., Any]:
        from .bodies import SyncBody

        @wraps(original)
        def handle_request(transport: Any, request: Any) -> Any:
            exchange, hooks = self._begin(transport, request, asynchronous=False)
            if exchange is None:
                return original(transport, request)
            try:
                response = original(transport, request)
            except BaseException as error:
                self._failed(exchange, error)
                raise
            if self._answered(exchange, response):
                if hooks is not None and hooks.response is not None:
                    self._guard.call(_PART, None, _respond, hooks.response, exchange.span, request, response)
                exchange.leave()
                response.stream = SyncBody(response.stream, exchange)
            return response

        return handle_request

    def _async(self, original: Callable[..., Any]) -> Callable[..., Any]:
        from .bodies import AsyncBody

        @wraps(original)
        async def handle_async_request(transport: Any, request: Any) -> Any:
            exchange, hooks = self._begin(transport, request, asynchronous=True)
            if exchange is None:
                return await original(transport, request)
            try:
                if hooks is not None and hooks.async_request is not None:
                    await self._awaited(_request, hooks.async_request, exchange.span, request)
                response = await original(transport, request)
            except BaseException as error:
                self._failed(exchange, error)
                raise
            if self._answered(exchange, response):
                if hooks is not None and hooks.async_response is not None:
                    await self._awaited(_respond, hooks.async_response, exchange.span, request, response)
                exchange.leave()
                response.stream = AsyncBody(response.stream, exchange)
            return response

        return handle_async_request

    def _begin(self, transport: Any, request: Any, *, asynchronous: bool) -> tuple[Exchange | None, HookSet | None]:
        try:
            hooks, hook = None, None
            if self._hooks.wanted:
                hooks = self._hooks.of(transport)
                if hooks is None:
                    return None, None
                hook = None if asynchronous else _bound(hooks.request, request)
            headers = request.headers
            exchange = self._client.begin(
                request.method, str(request.url), _setter(headers), headers, False, hooks is not None, hook
            )
        except Exception as error:  # noqa: BLE001 - the request is sent as it would be without us
            self._guard.failed(_PART, error)
            return None, None
        return exchange, hooks

    def _answered(self, exchange: Exchange, response: Any) -> bool:
        try:
            version = response.extensions.get("http_version", b"HTTP/1.1")
            exchange.answered(response.status_code, _VERSIONS.get(version, ""), response.headers)
        except Exception as error:  # noqa: BLE001 - the response is the application's
            self._guard.failed(_PART, error)
            self._guard.call(_PART, None, exchange.end)
            return False
        return True

    def _failed(self, exchange: Exchange, error: BaseException) -> None:
        self._guard.call(_PART, None, exchange.fail, error)

    async def _awaited(self, call: Callable[..., Any], *arguments: Any) -> None:
        try:
            result = call(*arguments)
            if result is not None:
                await result
        except Exception as error:  # noqa: BLE001 - the hook is the user's, the request must go on
            self._guard.failed("httpx hook", error)


def _setter(headers: Any) -> Callable[[str, str], object]:
    """What sets a header; asking httpx to look for one that is seldom there costs three times as much."""
    pairs: Any = getattr(headers, "_list", None)
    if pairs.__class__ is not list:
        put: Callable[[str, str], object] = headers.__setitem__
        return put

    known: set[bytes] | None = None

    def set_header(name: str, value: str) -> None:
        nonlocal known
        if known is None:
            # with the first header: until then a hook may have set some
            known = {lowered for _, lowered, _ in pairs}
        lowered = name.lower().encode("ascii")
        if lowered in known:
            headers[name] = value
            return
        known.add(lowered)
        pairs.append((name.encode("ascii"), lowered, value.encode("utf-8")))

    return set_header


def _bound(hook: Callable[..., Any] | None, request: Any) -> Callable[[Span], Any] | None:
    return None if hook is None else lambda span: hook(span, _request_info(request))


def _request(hook: Callable[..., Any], span: Span, request: Any) -> Any:
    return hook(span, _request_info(request))


def _request_info(request: Any) -> Any:
    from opentelemetry.instrumentation.httpx import RequestInfo

    return RequestInfo(request.method.encode(), request.url, request.headers, request.stream, request.extensions)


def _respond(hook: Callable[..., Any], span: Span, request: Any, response: Any) -> Any:
    from opentelemetry.instrumentation.httpx import ResponseInfo

    answer = ResponseInfo(response.status_code, response.headers, response.stream, response.extensions)
    return hook(span, _request_info(request), answer)
