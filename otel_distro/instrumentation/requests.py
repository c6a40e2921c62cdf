"""requests: a span around `Session.send`, redirects included; urllib3 below it makes none."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

from opentelemetry.trace import Span

from .base import Toolbox
from .hooks import HookSet
from .http_client import VERSIONS, Exchange, HttpClient, Write, pairs_of_mapping, running
from .http_instrumentation import HttpClientInstrumentation
from .takeover import Takeover

_PART = "instrumentation requests"


class RequestsInstrumentation(HttpClientInstrumentation):
    """Patches `Session.send`, to which every function of requests comes in the end.

    Args:
        toolbox: see `Toolbox`.
    """

    name = "requests"
    contrib = "opentelemetry.instrumentation.requests"
    instrumentor = "RequestsInstrumentor"

    def __init__(self, toolbox: Toolbox) -> None:
        excluded = toolbox.settings.http.requests_excluded_urls
        super().__init__(toolbox, HttpClient(toolbox, self.name, excluded, pairs_of_mapping))
        self._session: Any = None
        self._original: Callable[..., Any] | None = None

    def wrap(self, library: Any) -> None:
        """Patch `Session.send`."""
        if self._original is not None:
            return
        self._session = library.sessions.Session
        self._client.write = writer(library.structures.CaseInsensitiveDict, self._client.id_header)
        original = self._original = self._session.send
        begin, guard, withdraw = self._begin, self._guard, self._withdraw

        @wraps(original)
        def send(session: Any, request: Any, **kwargs: Any) -> Any:
            exchange, hooks = begin(session, request)
            if exchange is None:
                withdraw(request)
                return original(session, request, **kwargs)
            try:
                response = original(session, request, **kwargs)
            except BaseException as error:
                response = getattr(error, "response", None)
                if response is not None:
                    guard.call(_PART, None, _answered, exchange, response)
                exchange.fail(error)
                raise
            try:
                # as `_answered`, without the call
                version = VERSIONS.get(getattr(response.raw, "version", None), "")
                exchange.answered(response.status_code, version, response.headers)
                if hooks is not None and hooks.response is not None:
                    hooks.response(exchange.span, request, response)
            except Exception as error:  # noqa: BLE001 - the response is the application's
                guard.failed(_PART, error)
            exchange.end()
            return response

        self._session.send = send

    def unwrap(self) -> None:
        """See `HttpClientInstrumentation`."""
        if self._original is not None:
            self._session.send = self._original
            self._original = None

    def _begin(self, session: Any, request: Any) -> tuple[Exchange | None, HookSet | None]:
        try:
            hooks, hook = None, None
            if self._hooks.wanted:
                hooks = self._hooks.of(session)
                if hooks is None:
                    return None, None
                hook = _bound(hooks.request, request)
            begin = self._client.begin
            return begin(request.method, request.url, request.headers, True, hooks is not None, hook), hooks
        except Exception as error:  # noqa: BLE001 - the request is sent as it would be without us
            self._guard.failed(_PART, error)
            return None, None

    def _withdraw(self, request: Any) -> None:
        """A redirect inside a request of ours, or a request to an excluded URL."""
        try:
            span = running()
            if span is not None and "traceparent" in request.headers:
                self._client.redirected(request.url, request.headers, span)
        except Exception as error:  # noqa: BLE001 - the request is sent as it would be without us
            self._guard.failed(_PART, error)

    def replace(self, module: ModuleType, takeover: Takeover) -> None:
        """Sessions that are to be left alone are told by a function of contrib's."""
        takeover.replace("uninstrument_session", staticmethod(self._hooks.silence))


def writer(kind: Callable[[], Any], name: str | None) -> Write | None:
    """What writes into the dictionary, by names in lower case, behind requests' own class of headers.

    Args:
        kind: that class; nothing is written to any other.
        name: of the header with the request's id; None where none is sent.

    Returns:
        See `HttpClient.write`; None where there is no such dictionary.
    """
    lowered = (name or "").lower()

    def write(headers: Any, traceparent: str, request_id: str | None) -> bool:
        if headers.__class__ is not kind:
            return False
        store = headers._store  # noqa: SLF001 - looked for below
        store["traceparent"] = ("traceparent", traceparent)
        if request_id is not None and lowered not in store:
            store[lowered] = (name, request_id)
        return True

    return write if getattr(kind(), "_store", None).__class__ is OrderedDict else None


def _answered(exchange: Exchange, response: Any) -> None:
    version = VERSIONS.get(getattr(response.raw, "version", None), "")
    exchange.answered(response.status_code, version, response.headers)


def _bound(hook: Callable[..., Any] | None, request: Any) -> Callable[[Span], Any] | None:
    return None if hook is None else lambda span: hook(span, request)


__all__ = ["RequestsInstrumentation", "writer"]
