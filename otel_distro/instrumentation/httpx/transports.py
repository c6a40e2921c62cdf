"""The network transports of httpx and httpx2, wrapped."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

from opentelemetry.trace import Span

from otel_distro.guard import Guard
from otel_distro.instrumentation.hooks import Hooks, HookSet
from otel_distro.instrumentation.http_client import Exchange, HttpClient, Place

from .bodies import Make, bodies_of
from .headers import writer

_VERSIONS = {b"HTTP/1.0": "1.0", b"HTTP/1.1": "1.1", b"HTTP/2": "2", b"HTTP/3": "3"}


class Transports:
    """The patch.

    Args:
        library: the entry-point name, for messages.
        client: begins exchanges.
        hooks: the user's.
        guard: where failures go.
    """

    def __init__(self, library: str, client: HttpClient, hooks: Hooks, guard: Guard) -> None:
        self._part = f"instrumentation {library}"
        self._hook_part = f"{library} hook"
        self._client = client
        self._hooks = hooks
        self._guard = guard
        self._originals: tuple[Callable[..., Any], Callable[..., Any]] | None = None
        self._httpx: Any = None
        self._parts: Any = None

    def wrap(self, httpx: ModuleType) -> None:
        """Patch `HTTPTransport` and `AsyncHTTPTransport`."""
        if self._originals is not None:
            return
        if not _takes_requests(getattr(httpx, "BaseTransport", None)):
            known = f"{httpx.__name__} {httpx.__version__} is not known, httpx 0.27, 0.28 and httpx2 are"
            raise RuntimeError(f"{known}; it sends its requests without telemetry")
        self._httpx = httpx
        sync_body, async_body = bodies_of(httpx)
        self._parts = _parts_of(httpx.URL("http://host/path"))
        self._client.write = writer(httpx.Headers, self._client.id_header)
        sync, asynchronous = httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request
        self._originals = sync, asynchronous
        httpx.HTTPTransport.handle_request = self._sync(sync, sync_body)
        httpx.AsyncHTTPTransport.handle_async_request = self._async(asynchronous, async_body)

    def unwrap(self) -> None:
        """Take the patch back."""
        if self._originals is not None:
            self._httpx.HTTPTransport.handle_request, self._httpx.AsyncHTTPTransport.handle_async_request = (
                self._originals
            )
            self._originals = None

    def _sync(self, original: Callable[..., Any], body: Make) -> Callable[..., Any]:
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
            status = self._answered(exchange, response, hooks)
            if status:
                if hooks is not None:
                    if hooks.response is not None:
                        self._guard.call(self._part, None, _respond, hooks.response, exchange.span, request, response)
                    exchange.leave()
                if status == 101:
                    # the connection is a WebSocket's from here on, perhaps for days
                    exchange.end()
                else:
                    response.stream = body(response.stream, exchange)
            return response

        return handle_request

    def _async(self, original: Callable[..., Any], body: Make) -> Callable[..., Any]:
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
            status = self._answered(exchange, response, hooks)
            if status:
                if hooks is not None:
                    if hooks.async_response is not None:
                        await self._awaited(_respond, hooks.async_response, exchange.span, request, response)
                    exchange.leave()
                if status == 101:
                    # the connection is a WebSocket's from here on, perhaps for days
                    exchange.end()
                else:
                    response.stream = body(response.stream, exchange)
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
            url = request.url
            # its text costs as much as all that is done with it
            place: Place | None = None
            parts: Any = getattr(url, "_uri_reference", None)
            if parts.__class__ is self._parts:
                scheme, userinfo, host, port, path, query, fragment = parts
                if query is None and fragment is None and not userinfo and host:
                    place = (scheme, host, port, path)
            exchange = self._client.begin(request.method, url, request.headers, False, hooks is not None, hook, place)
        except Exception as error:  # noqa: BLE001 - the request is sent as it would be without us
            self._guard.failed(self._part, error)
            return None, None
        return exchange, hooks

    def _answered(self, exchange: Exchange, response: Any, hooks: HookSet | None) -> int:
        """The status; 0 where we failed. Where there are hooks, the span stays the current one for them."""
        try:
            version = _VERSIONS.get(response.extensions.get("http_version", b"HTTP/1.1"), "")
            status: int = response.status_code
            exchange.answered(status, version, response.headers)
            if hooks is None:
                exchange.leave()
            if status >= 300:
                self._client.resends.expect(exchange.span)
        except Exception as error:  # noqa: BLE001 - the response is the application's
            self._guard.failed(self._part, error)
            self._guard.call(self._part, None, exchange.end)
            return 0
        return status

    def _failed(self, exchange: Exchange, error: BaseException) -> None:
        self._guard.call(self._part, None, exchange.fail, error)
        self._guard.call(self._part, None, self._client.resends.expect, exchange.span)

    async def _awaited(self, call: Callable[..., Any], *arguments: Any) -> None:
        try:
            result = call(*arguments)
            if result is not None:
                await result
        except Exception as error:  # noqa: BLE001 - the hook is the user's, the request must go on
            self._guard.failed(self._hook_part, error)


def _takes_requests(transport: Any) -> bool:
    """Whether transports of this version are given a request.

    Until 0.19 they were given its parts, and the pre-releases of 1.0 share nothing with 0.x but the name.
    """
    code = getattr(getattr(transport, "handle_request", None), "__code__", None)
    return code is not None and code.co_argcount == 2


def _parts_of(url: Any) -> type | None:
    """What a URL of httpx is taken apart into; None where that is not the tuple that is known."""
    parts = getattr(url, "_uri_reference", None)
    known = getattr(parts, "_fields", None) == ("scheme", "userinfo", "host", "port", "path", "query", "fragment")
    return type(parts) if known else None


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
