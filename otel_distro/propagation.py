"""Context in and out of headers: a short way for W3C Trace Context, the global propagator for everything else.

Which way is taken is decided once per global propagator, not per request. The propagator object itself stays
upstream's, so code that calls `opentelemetry.propagate` sees no difference.

Source: W3C Trace Context Level 2 (sections 3.2, 3.3 and 4), W3C Baggage, RFC 9110 section 5.3 for repeated headers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any

from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, get_current
from opentelemetry.propagate import get_global_textmap
from opentelemetry.propagators.textmap import Getter, Setter, TextMapPropagator
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    Span,
    SpanContext,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ._compat import BAGGAGE_KEY, new_span_context, parts_of_propagator

Headers = Mapping[bytes, bytes]
"""Header names in lower case -> values; repeated headers are joined with a comma."""

_MAX_TRACEPARENT = 512
_MAX_TRACESTATE = 8192
_MAX_MEMBERS = 32
_MAX_BAGGAGE = 8192
_MAX_BAGGAGE_MEMBERS = 180
_TRACEPARENT = re.compile(
    rb"[ \t]*+(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[^\r\n]*+)?+[ \t]*+"
).fullmatch
# compiled by the first request that has such a header, for a start need not pay for it
_STATE_MEMBER = (
    rb"([a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    rb"=([ -+\--<>-~]{0,255}[!-+\--<>-~])"
)
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_VALUE = rb"[!#-+\--:<-\[\]-~]*"
_BAGGAGE_MEMBER = rb"%s[ \t]*=[ \t]*%s(?:[ \t]*;[ \t]*%s(?:[ \t]*=[ \t]*%s)?)*+" % (_TOKEN, _VALUE, _TOKEN, _VALUE)
# level 2 knows the bits `sampled` and `random-trace-id`; bits of later levels are not passed on
_FLAGS = tuple(TraceFlags(bits) for bits in range(4))
_HEX = tuple(f"{bits:02x}" for bits in range(256))


def parse_traceparent(value: bytes, tracestate: bytes | None = None) -> SpanContext | None:
    """The remote parent, or None where the header breaks the grammar.

    Args:
        value: the `traceparent` header; two of them joined by a comma break the grammar, as the W3C wants.
        tracestate: all `tracestate` headers, joined; unusable ones are dropped, the parent stays.
    """
    # as upstream 1.45.2: a longer one is nobody's
    match = _TRACEPARENT(value) if len(value) <= _MAX_TRACEPARENT else None
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if rest is not None and version == b"00":
        return None
    state = DEFAULT_TRACE_STATE if tracestate is None else parse_tracestate(tracestate)
    found: SpanContext = new_span_context(
        SpanContext, (int(trace_id, 16), int(span_id, 16), True, _FLAGS[int(flags, 16) & 3], state, True)
    )
    return found


def parse_tracestate(value: bytes) -> TraceState:
    """The vendors' state; empty when it is too long, a member breaks the grammar, or a key comes twice.

    Nothing is cut: 512 characters are what has to be propagated at least (level 2, section 3.3.1.5), and the bounds, of
    8,192 bytes and 32 members, are upstream's. Upstream's parser would answer each broken header with a line in the
    log, which any caller could fill with it.
    """
    if len(value) > _MAX_TRACESTATE:
        return DEFAULT_TRACE_STATE
    members: dict[str, str] = {}
    for raw in value.split(b","):
        member = raw.strip(b" \t")
        if not member:
            continue
        match = re.fullmatch(_STATE_MEMBER, member)
        if match is None or (key := match[1].decode()) in members or len(members) == _MAX_MEMBERS:
            return DEFAULT_TRACE_STATE
        members[key] = match[2].decode()
    return TraceState(list(members.items())) if members else DEFAULT_TRACE_STATE


def usable_baggage(value: bytes) -> bytes:
    """A `baggage` header without the members that break the grammar; empty when the header is too long."""
    if len(value) > _MAX_BAGGAGE:
        return b""
    usable = re.compile(_BAGGAGE_MEMBER).fullmatch
    members = [member for raw in value.split(b",") if usable(member := raw.strip(b" \t"))]
    return b",".join(members[:_MAX_BAGGAGE_MEMBERS])


class Propagation:
    """Reads and writes headers by the global propagator, the short way where that is W3C's.

    One object may serve all threads: what it remembers is only which propagator it looked at last.
    """

    __slots__ = ("_known", "_short", "_short_for", "_trace", "_with_baggage")

    def __init__(self) -> None:
        # the last trace and the start of its header: a request calls often
        self._trace: tuple[int, str] = (0, "")
        self._known: TextMapPropagator | None = None
        self._short = False
        # the one that was looked at, where the short way is right for it; `inject` looks
        self._short_for: object = None
        self._with_baggage = False

    def extract(self, headers: Headers) -> tuple[SpanContext | None, Context | None]:
        """The remote parent and the context that came with it.

        Args:
            headers: of the incoming request.

        Returns:
            The parent (None: no usable one), and the current context enriched with what else was propagated
            (None: nothing else was, the current context stands as it is).
        """
        textmap = get_global_textmap()
        if textmap is not self._known:
            self._look_at(textmap)
        if not self._short:
            return _extract_all(textmap, headers)
        value = headers.get(b"traceparent")
        parent = None if value is None else parse_traceparent(value, headers.get(b"tracestate"))
        if self._with_baggage and b"baggage" in headers and (members := usable_baggage(headers[b"baggage"])):
            return parent, W3CBaggagePropagator().extract({b"baggage": members}, get_current(), getter=_GETTER)
        return parent, None

    def inject(self, set_header: Callable[[str, str], object], span: Span, context: Context | None = None) -> None:
        """Write the headers that make `span` the parent of what the receiver does.

        Args:
            set_header: called with name and value for each header; names are in lower case.
            span: the client span; it need not be the current one.
            context: where baggage is taken from; the current one when None.
        """
        textmap = get_global_textmap()
        if textmap is not self._known:
            self._look_at(textmap)
        if not self._short:
            textmap.inject(set_header, set_span_in_context(span, context), setter=_SETTER)
            return
        # a field of every span but those that record nothing
        own: Any = getattr(span, "context", None)
        if own.__class__ is not SpanContext:
            own = span.get_span_context()
        trace_id, span_id, _, flags, state, valid = own
        if valid:
            # one conversion of both ids; formatting each number costs three times as much
            ids = (trace_id << 64 | span_id).to_bytes(24, "big").hex()
            set_header("traceparent", f"00-{ids[:32]}-{ids[32:]}-{_HEX[flags & 0xFF]}")
            if state is not DEFAULT_TRACE_STATE and state:
                set_header("tracestate", state.to_header())
        if self._with_baggage and (context is None or BAGGAGE_KEY in context) and baggage.get_all(context):
            W3CBaggagePropagator().inject(set_header, context, setter=_SETTER)

    def traceparent(self, span: Span, context: Context) -> str | None:
        """The `traceparent` header where it is all that `inject` would write; None where that may be more, or nothing.

        Args:
            span: see `inject`.
            context: likewise.
        """
        if get_global_textmap() is not self._short_for or BAGGAGE_KEY in context:
            return None
        own: Any = getattr(span, "context", None)
        if own.__class__ is not SpanContext:
            return None
        trace_id, span_id, _, flags, state, valid = own
        if state is not DEFAULT_TRACE_STATE or not valid:
            return None
        known, head = self._trace
        if known != trace_id:
            head = f"00-{trace_id.to_bytes(16, 'big').hex()}-"
            self._trace = (trace_id, head)
        return f"{head}{span_id.to_bytes(8, 'big').hex()}-{_HEX[flags & 0xFF]}"

    def inject_into(self, carrier: MutableMapping[str, str], span: Span, context: Context | None = None) -> None:
        """`inject` into a mapping of header names to values."""
        self.inject(carrier.__setitem__, span, context)

    def _look_at(self, textmap: TextMapPropagator) -> None:
        kinds = [type(part) for part in parts_of_propagator(textmap)]
        self._with_baggage = kinds[1:] == [W3CBaggagePropagator]
        self._short = kinds[:1] == [TraceContextTextMapPropagator] and (len(kinds) == 1 or self._with_baggage)
        self._short_for = textmap if self._short else None
        self._known = textmap


def join_headers(pairs: Iterable[Iterable[bytes]]) -> dict[bytes, bytes]:
    """Headers by name, repeated ones joined with a comma (RFC 9110, section 5.3).

    Args:
        pairs: names in lower case and values, as ASGI gives them.

    Raises:
        TypeError, ValueError: something is not a pair of bytes.
    """
    joined: dict[bytes, bytes] = {}
    for name, value in pairs:
        joined[name] = joined[name] + b"," + value if name in joined else value
    return joined


def _extract_all(textmap: TextMapPropagator, headers: Headers) -> tuple[SpanContext | None, Context | None]:
    before = get_current()
    context = textmap.extract(headers, before, getter=_GETTER)
    span = get_current_span(context)
    # the current span is not the caller's: only what the propagator put there is a remote parent
    parent = span.get_span_context() if span is not get_current_span(before) else None
    return (parent if parent is not None and parent.is_valid else None), context


class _HeaderGetter(Getter[Any]):
    def get(self, carrier: Headers, key: str) -> list[str] | None:
        value = carrier.get(key.lower().encode("latin-1", "replace"))
        return None if value is None else [value.decode("latin-1")]

    def keys(self, carrier: Headers) -> list[str]:
        return [name.decode("latin-1") for name in carrier]


class _CallingSetter(Setter[Any]):
    def set(self, carrier: Callable[[str, str], object], key: str, value: str) -> None:
        carrier(key, value)


_GETTER = _HeaderGetter()
_SETTER = _CallingSetter()
