"""HTTP client calls: stable semantic conventions, computed once for each method and origin.

Source: semantic conventions 1.44, "HTTP client spans" and "HTTP client metrics".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import Token
from operator import attrgetter
from time import perf_counter
from typing import Any, cast

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, StatusCode, TracerProvider

from otel_distro._compat import IS_VALID, OLD_SUPPRESS_KEY, SPAN_KEY, SUPPRESS_HTTP_KEY, SUPPRESS_KEY
from otel_distro.bounded import BoundedCache
from otel_distro.context import Scope, current_scope
from otel_distro.conventions import HTTP_DURATION_BOUNDARIES
from otel_distro.guard import let_through
from otel_distro.propagation import Propagation
from otel_distro.redaction import redact_path, redact_url
from otel_distro.tracing import LeanSpan
from otel_distro.tracing.client import ClientSpan, ClientSpans
from otel_distro.tracing.context import attach, detach, end_after, error_status, reset_context, suppressed_in
from otel_distro.tracing.records import exception_attributes

from .base import Toolbox
from .calls import CLIENT, class_name, current, meter_of, parent_in, tracer_of
from .http_resends import Resends, withdraw
from .http_target import Target
from .request_ids import SetHeader, passing_on

_MAX_TARGETS = 1_000
VERSIONS: Mapping[Any, str] = {11: "1.1", 10: "1.0", 20: "2", 30: "3"}
"""`network.protocol.version` of the numbers that http.client and urllib3 have for it."""

_UNANSWERED = (0, "", "")
_new = object.__new__

Headers = Iterable[tuple[bytes, bytes]]
Pairs = Callable[[Any], Headers]
Write = Callable[[Any, str, str | None], bool]
"""See `HttpClient.write`."""
Place = tuple[str, str, int | None, str]
"""Scheme, host, port and path of a URL that has nothing else."""


class Exchange:
    """A request that has been sent, until its answer is complete; made by `HttpClient.begin`.

    Attributes:
        span: of the request.
        started: by `time.perf_counter`; None when it has ended.
    """

    __slots__ = ("_answer", "_client", "_scope", "_target", "_token", "span", "started")

    _answer: tuple[int, str, str]
    _client: HttpClient
    _scope: Scope | None
    _target: Target
    _token: Token[Context] | None
    span: Span
    started: float | None

    def leave(self) -> None:
        """The span is not the current one any more; the answer's body may still be to come."""
        token = self._token
        if token is not None:
            self._token = None
            try:
                reset_context(token)
            except Exception as error:  # noqa: BLE001 - see `detach`
                detach(token, self.span)
                let_through(error)

    def answered(self, status: int, version: str, headers: Any) -> None:
        """Status and headers have come.

        Args:
            status: of HTTP.
            version: of HTTP, such as `1.1`; empty where it is not known.
            headers: the answer's, as the library has them.
        """
        self._answer = (status, version, "")
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
        status, version, _ = self._answer
        if isinstance(span, LeanSpan):
            # its attributes may be written to directly, which spares two calls
            attributes = span.attributes
            attributes["http.response.status_code"] = status
            if version:
                attributes["network.protocol.version"] = version
        else:
            span.set_attribute("http.response.status_code", status)
            if version:
                span.set_attribute("network.protocol.version", version)

    def end(self) -> None:
        """The answer is complete; further calls do nothing."""
        started = self.started
        if started is None:
            return
        self.started = None
        try:
            now = perf_counter()
            span: Any = self.span
            seconds = now - started
            if self._token is not None:
                self.leave()
            target, answer = self._target, self._answer
            ending = target.endings.get(answer) or target.ending(*answer)
            if span.__class__ is ClientSpan and span.conclude(ending, span.start_time + int(seconds * 1e9)):
                if not ending.waits:
                    ending.duration.took(seconds, now, span.context[:2])
                ledger = ending.taker.ledger  # type: ignore[union-attr]  # `conclude` has met it
                ledger.append((ending, seconds, now, span))
                if len(ledger) >= ledger.mark:
                    ledger.full()
            else:
                if span.__class__ is ClientSpan and answer[0] and span.is_recording():
                    self._tell_answer()
                ending.duration.record(seconds, span)
                end_after(span, seconds)
            # the scope in which it began: an answer may be closed by anyone, also by the garbage collector
            scope = self._scope
            if scope is not None:
                spent = scope.spent or scope.spending()
                if spent is not None:
                    # as `Spent.http`, without the call
                    spent.http_calls += 1
                    spent.http_seconds += seconds
        except Exception as error:  # noqa: BLE001 - called from the application's own code
            self._client.guard.failed("http client", error)

    def fail(self, error: BaseException) -> None:
        """The request, or the reading of its answer, ended with `error`."""
        if self.started is None:
            return
        kind = class_name(error)
        self._answer = (*self._answer[:2], kind)
        try:
            if self.span.is_recording():
                self.span.set_attribute("error.type", kind)
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
        setter: makes what sets one of the library's headers.

    Attributes:
        tracer: may be replaced at any time.
        id_header: the name of the header with the request's id; None where none is sent.
        write: may be set to what writes `traceparent` and the request's id (None: there is none) into the library's
            headers at once; the id not where the application has set one. False where it cannot, and then it has
            written nothing.
        response_headers: puts captured headers on a span; None where none are.
        resends: requests that may be sent again.
    """

    write: Write | None = None

    def __init__(
        self,
        toolbox: Toolbox,
        library: str,
        excluded: tuple[str, ...] | None,
        pairs: Pairs,
        setter: Callable[[Any], SetHeader] = attrgetter("__setitem__"),
    ) -> None:
        http = toolbox.settings.http
        self.guard = toolbox.guard
        self._name = library
        self._pairs = pairs
        self._setter = setter
        self.tracer = tracer_of(toolbox.tracer_provider, library)
        self._histogram = meter_of(toolbox.meter_provider, library).create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=HTTP_DURATION_BOUNDARIES,
        )
        self._known_methods = frozenset(http.known_methods)
        self._targets: BoundedCache[tuple[Any, ...], Target] = BoundedCache(_MAX_TARGETS)
        self._propagation = Propagation()
        self._passing = passing_on(toolbox.settings.requests, toolbox.guard)
        self.id_header = None if self._passing is None else self._passing.name
        self.resends = Resends(self._propagation, self._passing)
        self._excluded: Callable[[str], bool] | None = None
        self.exclude(http.excluded_urls if excluded is None else excluded)
        self._request_headers = self._capture("http.request.header.", http.capture_client_request_headers, toolbox)
        self.response_headers = self._capture("http.response.header.", http.capture_client_response_headers, toolbox)

    def trace_by(self, provider: TracerProvider) -> None:
        """Make spans by another provider from now on."""
        self.tracer = tracer_of(provider, self._name)

    def exclude(self, patterns: Iterable[str]) -> None:
        """Make no telemetry for URLs in which one of these regular expressions is found, and for no others."""
        wanted = tuple(patterns)
        if not wanted:
            self._excluded = None
            return
        # imported by those who exclude something
        from .url_exclusion import excluding

        self._excluded = excluding(wanted, self.guard)

    def begin(  # noqa: C901, PLR0912, PLR0915, PLR0917 - keywords and calls would cost what the short way saves
        self,
        method: str,
        url: Any,
        headers: Any,
        above: bool = False,
        whole: bool = False,
        hook: Callable[[Span], object] | None = None,
        place: Place | None = None,
    ) -> Exchange | None:
        """Start the span of a request and make it current, unless the URL is excluded or the code asked for silence.

        In one piece, because each call between its steps would cost every request.

        Args:
            method: as the application gave it.
            url: in full; its text counts.
            headers: the request's, as the library has them; get those that propagate the context, after `hook`.
            above: silence HTTP clients that this one is built on.
            whole: hooks of the user's want to see the span.
            hook: the user's, called with the span.
            place: the URL taken apart, where the library has it so; None where it has not, or there is more in it.
        """
        context = current()
        around = context.get(SPAN_KEY)
        # nothing else is in it: the usual one
        alone = around is not None and len(context) == 1
        if (
            not alone
            and (SUPPRESS_KEY in context or SUPPRESS_HTTP_KEY in context or OLD_SUPPRESS_KEY in context)
            and silent()
        ):
            return None
        if self._excluded is not None and self._excluded(str(url)):
            self.resends.withdraw(headers)
            return None
        if place is None:
            text = str(url)
            at = text.find("/", text.find("//") + 2)
            key: tuple[Any, ...] = (method, text if at < 0 else text[:at])
            target = self._targets.get(key) or self._learn(key, key[1])
            told = redact_url(text) if "?" in text or "@" in text or "#" in text or ";" in text else text
        else:
            scheme, host, port, path = place
            key = (method, scheme, host, port)
            target = self._targets.get(key) or self._learn(key, str(url).removesuffix(path))
            told = target.origin + (path if ";" not in path else redact_path(path))
        tracer = self.tracer
        parent: Any = getattr(around, "context", None)
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
        # straight after its start, from which it ends so many seconds later
        started = perf_counter()
        if self._request_headers is not None and span.is_recording():
            self._request_headers(span, headers)
        if hook is not None:
            hook(span)
            # the user's may have made another one current
            context, alone = current(), False
        carried, request_id, passing, write = context, None, self._passing, self.write
        if scope is not None and passing is not None:
            if passing.keys:
                carried = passing.baggage(scope, context)
            if passing.name is not None:
                request_id = scope.request_id or passing.id_of(scope)
        if (
            write is None
            or (traceparent := self._propagation.traceparent(span, carried)) is None
            or not write(headers, traceparent, request_id)
        ):
            self._propagate(span, carried, headers, request_id)
        # a constructor would cost twice as much
        exchange = _new(Exchange)
        exchange._client = self  # noqa: SLF001 - this is the constructor
        exchange._scope = scope  # noqa: SLF001 - as above
        exchange._target = target  # noqa: SLF001 - as above
        exchange._answer = _UNANSWERED  # noqa: SLF001 - as above
        exchange.span = span
        if above:
            # what silences is the span: `running` knows it by that
            exchange._token = attach(Context({**context, SPAN_KEY: span, SUPPRESS_HTTP_KEY: span}))  # noqa: SLF001 - as above
        else:
            # costs half as much to make anew as to copy
            exchange._token = attach(  # noqa: SLF001 - as above
                Context({SPAN_KEY: span} if alone else {**context, SPAN_KEY: span})
            )
        exchange.started = started
        return exchange

    def _propagate(self, span: Span, context: Context, headers: Any, request_id: str | None) -> None:
        """Whatever there is to tell the receiver, and whatever kind of headers these are."""
        set_header = self._setter(headers)
        self._propagation.inject(set_header, span, context)
        if request_id is not None:
            self._passing.send(request_id, set_header, headers)  # type: ignore[union-attr]  # it gave the id

    def redirected(self, url: str, headers: Any, span: Span) -> None:
        """A request goes on at another URL while its span lasts; where that is excluded, without our headers.

        Args:
            url: where it goes.
            headers: as they were sent to where it was before.
            span: of the request; the current one.
        """
        if self._excluded is None:
            return
        written = self.resends.written(span)
        if self._excluded(url):
            withdraw(headers, written)
        elif "traceparent" not in headers:
            # behind an excluded one
            headers.update(written)

    def _spans_of(self, target: Target) -> ClientSpans | None:
        if self.tracer.brief is None:
            return None
        return cast("ClientSpans", self.tracer.briefs(target.name, CLIENT, target.attributes, ClientSpans))

    def _learn(self, key: tuple[Any, ...], origin: str) -> Target:
        return self._targets.keep(key, Target(key[0], origin, self._known_methods, self._histogram))

    def _capture(self, prefix: str, patterns: tuple[str, ...], toolbox: Toolbox) -> Callable[[Span, Any], None] | None:
        if not patterns:
            return None
        # imported by those who capture something
        from .captured_headers import capture

        captured = capture(prefix, patterns, toolbox.settings.http.sanitize_headers, toolbox.guard)
        if captured is None:
            return None

        def put(span: Span, headers: Any) -> None:
            attributes: dict[str, Any] = {}
            captured.into(attributes, self._pairs(headers))
            span.set_attributes(attributes)

        return put


def running() -> Span | None:
    """The span of the request inside which this code runs, of a client that silences those it is built on."""
    context = current()
    span: Any = context.get(SUPPRESS_HTTP_KEY)
    inside: bool = span is not None and span is context.get(SPAN_KEY)
    return span if inside else None


def silent() -> bool:
    """Whether the current code asks for no telemetry of HTTP clients: `begin` would return None."""
    context = current()
    return bool(context) and bool(context.get(SUPPRESS_HTTP_KEY) or suppressed_in(context))


def record_redacted(span: Span, error: Exception) -> None:
    """Record an exception and the status ERROR; what is secret in its message, and in the stack trace, is redacted."""
    if isinstance(span, LeanSpan):
        span.fail(error)
    else:
        # `record_exception` of another make would format the stack once more, and tell secrets where it fails
        span.add_event("exception", exception_attributes(error, escaped=False))
        span.set_status(error_status(error))


def pairs_of_mapping(headers: Any) -> Headers:
    """Headers that have `items()` as pairs of lower-case names and values in bytes."""
    return [(_bytes(name).lower(), _bytes(value)) for name, value in headers.items()]


def _bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode("latin-1", "replace")
