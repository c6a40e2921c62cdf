"""HTTP client calls: stable semantic conventions, computed once for each method and origin.

Source: semantic conventions 1.44, "HTTP client spans" and "HTTP client metrics".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import Token
from time import perf_counter, time_ns
from typing import Any, cast

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, StatusCode

from otel_distro._compat import IS_VALID, OLD_SUPPRESS_KEY, SPAN_KEY, SUPPRESS_HTTP_KEY, SUPPRESS_KEY
from otel_distro.bounded import BoundedCache
from otel_distro.context import Scope, current_scope
from otel_distro.propagation import Propagation
from otel_distro.redaction import redact_text, redact_url
from otel_distro.tracing import LeanSpan
from otel_distro.tracing.client import ClientSpan, ClientSpans
from otel_distro.tracing.context import attach, attach_span, detach

from .base import Toolbox
from .calls import CLIENT, current, error_type, meter_of, parent_in, suppressed, tracer_of
from .http_target import Target
from .request_ids import passing_on

DURATION_BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds; the advisory bucket boundaries of `http.client.request.duration`."""

_MAX_TARGETS = 1_000
_VERSIONS = {11: "1.1", 10: "1.0", 20: "2", 30: "3"}
"""How http.client and urllib3 number the versions."""

_new = object.__new__

Headers = Iterable[tuple[bytes, bytes]]
Pairs = Callable[[Any], Headers]


class Exchange:
    """A request that has been sent, until its answer is complete; made by `HttpClient.begin`.

    Attributes:
        span: of the request.
    """

    __slots__ = (
        "_client",
        "_ended",
        "_error",
        "_scope",
        "_started",
        "_status",
        "_target",
        "_token",
        "_version",
        "span",
    )

    _client: HttpClient
    _ended: bool
    _error: str
    _scope: Scope | None
    _started: float
    _status: int
    _target: Target
    _token: Token[Context] | None
    _version: str
    span: Span

    def leave(self) -> None:
        """The span is not the current one any more; the answer's body may still be to come."""
        if self._token is not None:
            detach(self._token, self.span)
            self._token = None

    def answered(self, status: int, version: str, headers: Any) -> None:
        """Status and headers have come.

        Args:
            status: of HTTP.
            version: of HTTP, such as `1.1`; empty where it is not known.
            headers: the answer's, as the library has them.
        """
        self._status = status
        self._version = version
        span = self.span
        if span.__class__ is not ClientSpan:
            if not span.is_recording():
                return
            self._tell_answer()
        if status >= 400 or 0 < status < 100:  # as `is_error`, without the call
            span.set_attribute("error.type", str(status))
            span.set_status(StatusCode.ERROR)
        if self._client.response_headers is not None:
            self._client.response_headers(span, headers)

    def _tell_answer(self) -> None:
        span: Any = self.span
        if isinstance(span, LeanSpan):
            # its attributes may be written to directly, which spares two calls
            attributes = span.attributes
            attributes["http.response.status_code"] = self._status
            if self._version:
                attributes["network.protocol.version"] = self._version
        else:
            span.set_attribute("http.response.status_code", self._status)
            if self._version:
                span.set_attribute("network.protocol.version", self._version)

    def end(self) -> None:
        """The answer is complete; further calls do nothing."""
        if self._ended:
            return
        self._ended = True
        try:
            now, end_time = perf_counter(), time_ns()
            span: Any = self.span
            seconds = now - self._started
            if self._token is not None:
                detach(self._token, span)
                self._token = None
            target, key = self._target, (self._status, self._version, self._error)
            ending = target.endings.get(key) or target.ending(*key)
            if span.__class__ is ClientSpan and span.conclude(ending, end_time):
                if not ending.waits:
                    ending.duration.took(seconds, now, span.context[:2])
                ledger = ending.taker.ledger  # type: ignore[union-attr]  # `conclude` has met it
                ledger.append((ending, seconds, now, span))
                if len(ledger) >= ledger.mark:
                    ledger.full()
            else:
                if span.__class__ is ClientSpan and self._status and span.is_recording():
                    self._tell_answer()
                ending.duration.record(seconds, span)
                span.end(end_time)
            # the scope in which it began: an answer may be closed by anyone, also by the garbage collector
            scope = self._scope
            spent = None if scope is None else scope.spent or scope.spending()
            if spent is not None:
                # as `Spent.http`, without the call
                spent.http_calls += 1
                spent.http_seconds += seconds
        except Exception as error:  # noqa: BLE001 - called from the application's own code
            self._client.guard.failed("http client", error)

    def fail(self, error: BaseException) -> None:
        """The request, or the reading of its answer, ended with `error`."""
        if self._ended:
            return
        self._error = error_type(error)
        try:
            if self.span.is_recording():
                self.span.set_attribute("error.type", self._error)
                # a cancelled request is not known to have failed: upstream leaves its status unset as well
                if isinstance(error, Exception):
                    record_redacted(self.span, error)
        except Exception as failure:  # noqa: BLE001 - see above
            self._client.guard.failed("http client", failure)
        self.end()


class HttpClient:
    """What the instrumentations of HTTP clients share.

    Args:
        toolbox: see `Toolbox`.
        library: the entry-point name.
        excluded: regular expressions of URLs for this library alone; None for the general ones.
        pairs: makes pairs of bytes of the library's headers.

    Attributes:
        tracer: may be replaced at any time.
        response_headers: puts captured headers on a span; None where none are.
    """

    def __init__(self, toolbox: Toolbox, library: str, excluded: tuple[str, ...] | None, pairs: Pairs) -> None:
        http = toolbox.settings.http
        self.guard = toolbox.guard
        self._pairs = pairs
        self.tracer = tracer_of(toolbox.tracer_provider, library)
        self._histogram = meter_of(toolbox.meter_provider, library).create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=DURATION_BOUNDARIES,
        )
        self._known_methods = frozenset(http.known_methods)
        self._targets: BoundedCache[tuple[str, str], Target] = BoundedCache(_MAX_TARGETS)
        self._propagation = Propagation()
        self._passing = passing_on(toolbox.settings.requests, toolbox.guard)
        self._excluded: Callable[[str], bool] | None = None
        self.exclude(http.excluded_urls if excluded is None else excluded)
        self._request_headers = self._capture("http.request.header.", http.capture_client_request_headers, toolbox)
        self.response_headers = self._capture("http.response.header.", http.capture_client_response_headers, toolbox)

    def exclude(self, patterns: Iterable[str]) -> None:
        """Make no telemetry for URLs in which one of these regular expressions is found."""
        wanted = tuple(patterns)
        if wanted:
            # imported by those who exclude something
            from .asgi.exclusion import compile_patterns

            self._excluded = compile_patterns(wanted, self.guard)

    def begin(  # noqa: C901, PLR0912, PLR0917 - keywords and calls would cost what the short way saves
        self,
        method: str,
        url: str,
        set_header: Callable[[str, str], object],
        headers: Any,
        above: bool = False,
        whole: bool = False,
        hook: Callable[[Span], object] | None = None,
    ) -> Exchange | None:
        """Start the span of a request and make it current, unless the URL is excluded or the code asked for silence.

        Args:
            method: as the application gave it.
            url: in full.
            set_header: called for each header that propagates the context, after `hook`.
            headers: the request's, as the library has them.
            above: silence HTTP clients that this one is built on.
            whole: hooks of the user's want to see the span.
            hook: the user's, called with the span.
        """
        context = current()
        if (SUPPRESS_KEY in context or SUPPRESS_HTTP_KEY in context or OLD_SUPPRESS_KEY in context) and silent():
            return None
        if self._excluded is not None and self._excluded(url):
            return None
        at = url.find("/", url.find("//") + 2)
        key = (method, url if at < 0 else url[:at])
        target, tracer = self._targets.get(key) or self._learn(key), self.tracer
        told = redact_url(url) if "?" in url or "@" in url or "#" in url else url
        parent: Any = getattr(context.get(SPAN_KEY), "context", None)
        if parent.__class__ is not SpanContext or not parent[IS_VALID]:
            parent = parent_in(context)
        scope, span = current_scope(), None
        if not whole:
            spans = target.spans
            if spans is None or spans.tracer is not tracer:  # type: ignore[comparison-overlap]  # a lean one is both
                spans = target.spans = self._spans_of(target)
            if spans is not None:
                span = spans.begin(parent, scope, {"url.full": told})
        if span is None:
            span = tracer.begin(target.name, CLIENT, parent, {**target.attributes, "url.full": told})
        if self._request_headers is not None and span.is_recording():
            self._request_headers(span, headers)
        if hook is not None:
            hook(span)
        passing = self._passing
        if scope is None or passing is None:
            self._propagation.inject(set_header, span, context)
        else:
            if passing.keys:
                self._propagation.inject(set_header, span, passing.baggage(scope, context))
            else:
                self._propagation.inject(set_header, span, context)
            passing.headers(scope, set_header, headers)
        token = attach(Context({**context, SPAN_KEY: span, SUPPRESS_HTTP_KEY: True})) if above else attach_span(span)
        return _exchange(self, target, span, token, scope)

    def _spans_of(self, target: Target) -> ClientSpans | None:
        if self.tracer.brief is None:
            return None
        return cast("ClientSpans", self.tracer.briefs(target.name, CLIENT, target.attributes, ClientSpans))

    def _learn(self, key: tuple[str, str]) -> Target:
        return self._targets.keep(key, Target(*key, self._known_methods, self._histogram))

    def _capture(self, prefix: str, patterns: tuple[str, ...], toolbox: Toolbox) -> Callable[[Span, Any], None] | None:
        if not patterns:
            return None
        # imported by those who capture something
        from .asgi.headers import capture

        captured = capture(prefix, patterns, toolbox.settings.http.sanitize_headers, toolbox.guard)
        if captured is None:
            return None

        def put(span: Span, headers: Any) -> None:
            attributes: dict[str, Any] = {}
            captured.into(attributes, self._pairs(headers))
            span.set_attributes(attributes)

        return put


def _exchange(client: HttpClient, target: Target, span: Span, token: Token[Context], scope: Scope | None) -> Exchange:
    # a constructor would cost twice as much
    exchange = _new(Exchange)
    exchange._client = client  # noqa: SLF001 - this is the constructor
    exchange._scope = scope  # noqa: SLF001
    exchange._target = target  # noqa: SLF001
    exchange._token = token  # noqa: SLF001
    exchange._status = 0  # noqa: SLF001
    exchange._version = exchange._error = ""  # noqa: SLF001
    exchange._ended = False  # noqa: SLF001
    exchange.span = span
    exchange._started = perf_counter()  # noqa: SLF001
    return exchange


def silent() -> bool:
    """Whether the current code asks for no telemetry of HTTP clients: `begin` would return None."""
    context = current()
    return bool(context) and bool(context.get(SUPPRESS_HTTP_KEY) or suppressed(context))


def patterns_of(text: str) -> tuple[str, ...]:
    """Regular expressions of URLs in the form that contrib takes: one text, separated by commas."""
    return tuple(part for raw in text.split(",") if (part := raw.strip()))


def version_of(number: Any) -> str:
    """`network.protocol.version` of the number http.client and urllib3 have for it."""
    return _VERSIONS.get(number, "")


def record_redacted(span: Span, error: Exception) -> None:
    """Record an exception and the status ERROR; URLs in its message, and in the stack trace, are redacted."""
    # late: a process without errors does not need it
    from otel_distro.stacks import formatted

    try:
        text = str(error)
        stack = formatted(error)
    except Exception:  # noqa: BLE001 - an exception's own __str__ may raise anything
        text, stack = "<unprintable>", ""
    text = redact_text(text)
    span.record_exception(error, {"exception.message": text, "exception.stacktrace": redact_text(stack)})
    span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {text}")


def pairs_of_mapping(headers: Any) -> Headers:
    """Headers that have `items()` as pairs of lower-case names and values in bytes."""
    return [(_bytes(name).lower(), _bytes(value)) for name, value in headers.items()]


def _bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode("latin-1", "replace")
