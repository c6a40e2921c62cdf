"""Starts spans: a short way for our own instrumentations, and the whole API for everyone else."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from time import time_ns
from typing import Any, NamedTuple, cast

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.sdk.util.instrumentation import InstrumentationInfo, InstrumentationScope
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.util.types import AnyValue, Attributes

from otel_distro._compat import FLAGS, IS_VALID, STATE, TRACE_ID, instrumentation_info, new_span_context
from otel_distro.context import NOTHING, current, current_scope
from otel_distro.sampling import FlatSampler

from .attributes import bounded
from .brief import Briefs, Rule, TakesBrief
from .context import current_span_context, span_context_in, use_span
from .ids import RandomIds
from .late import NOTHING_ALIKE, LateSpan
from .processors import Processors
from .records import is_link
from .span import LeanSpan, UnsampledSpan, new_span, unsampled_span

_LOW_BITS = (1 << 64) - 1
_SAMPLED = TraceFlags.SAMPLED
_RANDOM = TraceFlags.RANDOM_TRACE_ID
# one object for each combination of the two known flags: `TraceFlags(...)` costs more than the rest of the context
_FLAGS = tuple(TraceFlags(bits) for bits in range(4))
_ROOT_SAMPLED, _ROOT_UNSAMPLED = _FLAGS[_SAMPLED | _RANDOM], _FLAGS[_RANDOM]
_new = object.__new__


class Asked(NamedTuple):
    """What a caller wants a span to be, before sampler and processors of third parties have had their say."""

    name: str
    kind: SpanKind
    attributes: Attributes
    links: Sequence[Link]
    start_time: int | None


class LeanTracer(Tracer):
    """A tracer of one instrumentation scope, made by `LeanTracerProvider.get_tracer`.

    Args:
        scope: whose spans these are.
        sampler: a `FlatSampler` decides in place; any other is asked through `should_sample`.
        id_generator: `RandomIds` draws in place; any other is asked.
        processors: limits, resource and processors, shared with all tracers of the provider.
    """

    def __init__(
        self, *, scope: InstrumentationScope, sampler: Sampler, id_generator: IdGenerator, processors: Processors
    ) -> None:
        # upstream's constructor reads the environment and asks for a meter: neither is wanted here
        self.sampler = sampler
        self.id_generator = id_generator
        self.span_processor = processors
        self.scope = scope
        self._processors = processors
        # a subclass may decide otherwise, so only these very classes are taken apart
        flat = sampler if isinstance(sampler, FlatSampler) and type(sampler) is FlatSampler else None
        ids = id_generator if isinstance(id_generator, RandomIds) and type(id_generator) is RandomIds else None
        self._short = flat is not None and ids is not None
        self._parent_based = flat is not None and flat.parent_based
        self._bound = 0 if flat is None else flat.bound
        self._every = self._bound > _LOW_BITS
        self._bits = random.SystemRandom().getrandbits if ids is None else ids.bits

    @property
    def resource(self) -> Resource:  # type: ignore[override]  # a child's differs, so it is looked up
        """What every span carries."""
        return self._processors.resource

    @property
    def instrumentation_info(self) -> InstrumentationInfo | None:  # type: ignore[override]  # made when asked for
        """The deprecated form of the scope."""
        return instrumentation_info(self.scope)

    @property
    def brief(self) -> TakesBrief | None:
        """Who takes spans that are made at their end alone, see `briefs`; None where somebody wants more."""
        return self._processors.brief if self._short else None

    def briefs(
        self, name: str, kind: SpanKind, attributes: Mapping[str, AnyValue], make: type[Briefs] = Briefs
    ) -> Briefs:
        """Spans of this name, kind and attributes that nobody can see before they have ended.

        Args:
            name: what the operation is called.
            kind: its place between caller and called.
            attributes: clean; must not change.
            make: `ClientSpans` for spans that are current until they have ended.
        """
        rule = Rule(self._bits, self._parent_based, self._bound)
        return make(self, self._processors, rule, name, kind, attributes)

    def begin(  # noqa: PLR0917 - keywords would cost what the short way saves
        self,
        name: str,
        kind: SpanKind,
        parent: SpanContext | None,
        attributes: dict[str, AnyValue],
        start_time: int | None = None,
        context: Context | None = None,
    ) -> LeanSpan | UnsampledSpan:
        """Start a span without making it current, for instrumentations of ours.

        Args:
            name: what the operation is called.
            kind: its place between caller and called.
            parent: the parent's context; None or an invalid one for a root.
            attributes: becomes the span's own: not copied, not looked at, so keys and values must be clean.
            start_time: nanoseconds since the epoch; now when None.
            context: where the parent came from, for samplers and processors of third parties that read baggage.

        Returns:
            The span, or one that only carries its context on when the sampler drops it. Both have `finish`, `fail`,
            `context` and the API's methods.
        """
        processors = self._processors
        if not self._short or processors.starts is not None:
            asked = Asked(name, kind, attributes, (), start_time)
            return self._begin_with_guests(asked, parent, context)
        if parent is None or not parent[IS_VALID]:
            bits = self._bits(192)
            trace_id = bits >> 64 or 1
            sampled: int = self._every or trace_id & _LOW_BITS < self._bound
            flags, state, parent = _ROOT_SAMPLED if sampled else _ROOT_UNSAMPLED, DEFAULT_TRACE_STATE, None
            span_id = bits & _LOW_BITS or 1
        else:
            trace_id, inherited, state = parent[TRACE_ID], parent[FLAGS], parent[STATE]
            sampled = inherited & _SAMPLED if self._parent_based else trace_id & _LOW_BITS < self._bound
            flags = _FLAGS[inherited & _RANDOM | (_SAMPLED if sampled else 0)]
            span_id = self._bits(64) or 1
        own = new_span_context(SpanContext, (trace_id, span_id, False, flags, state, True))
        if not sampled:
            return unsampled_span(own)
        scope = current_scope()
        if scope is not None:
            told = scope.told
            if told is None:
                told = scope.telling()
            if told:
                # user, tenant and what else the application said; what the span itself says comes after
                attributes = {**told, **attributes}
        if start_time is None:
            start_time = time_ns()
        return new_span(name, own, parent, kind, start_time, attributes, self.scope, processors)

    def begin_late(self, kind: SpanKind, parent: SpanContext | None) -> LateSpan | UnsampledSpan | None:
        """`begin` for a span that learns its name and its attributes later, without what the application said so far.

        Args:
            kind: its place between caller and called.
            parent: as for `begin`.

        Returns:
            None where somebody looks at spans while they start.
        """
        processors = self._processors
        if not self._short or processors.starts is not None:
            return None
        # as `begin`, written out: a call would cost each request more than the lines
        if parent is None or not parent[IS_VALID]:
            bits = self._bits(192)
            trace_id = bits >> 64 or 1
            sampled: int = self._every or trace_id & _LOW_BITS < self._bound
            flags, state, parent = _ROOT_SAMPLED if sampled else _ROOT_UNSAMPLED, DEFAULT_TRACE_STATE, None
            span_id = bits & _LOW_BITS or 1
        else:
            trace_id, inherited, state = parent[TRACE_ID], parent[FLAGS], parent[STATE]
            sampled = inherited & _SAMPLED if self._parent_based else trace_id & _LOW_BITS < self._bound
            flags = _FLAGS[inherited & _RANDOM | (_SAMPLED if sampled else 0)]
            span_id = self._bits(64) or 1
        own = new_span_context(SpanContext, (trace_id, span_id, False, flags, state, True))
        if not sampled:
            return unsampled_span(own)
        # the constructor of `LateSpan`, which knows nothing of itself yet; a call would cost a fifth of this method
        span = _new(LateSpan)
        span.context = own
        span.parent = parent
        span.kind = kind
        span.start_time = time_ns()
        span.alike = NOTHING_ALIKE
        span.facts = None
        span._told = NOTHING  # noqa: SLF001 - as said
        span._plain = True  # noqa: SLF001 - as above
        span.route = span._given_name = span._common = span._said = span._seen = span._rare = span.end_time = None  # noqa: SLF001 - as above
        span.resource = processors.resource
        span.instrumentation_scope = self.scope
        span._processors = processors  # noqa: SLF001 - as above
        return span

    def start_span(  # noqa: PLR0917 - the API's
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        """Start a span without making it current; see `opentelemetry.trace.Tracer.start_span`."""
        parent = current_span_context() if context is None else self._parent_in(context)
        processors = self._processors
        if not self._short or processors.starts is not None:
            asked = Asked(name, kind, self._mapping_or_none(attributes), links or (), start_time)
            span = self._start_with_guests(asked, parent, context)
        else:
            span = self.begin(name, kind, parent, {}, start_time)
            if type(span) is LeanSpan:
                self._fill(span, attributes, links)
        if not (record_exception and set_status_on_exception) and type(span) is LeanSpan:
            span.set_on_exception(record=record_exception, status=set_status_on_exception)
        return span

    def start_as_current_span(  # type: ignore[override]  # noqa: PLR0917 - the API's, with a class instead of a generator
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> StartAsCurrent:
        """Start a span and make it current; a context manager and a decorator of functions and coroutine functions."""
        return StartAsCurrent(
            self,
            (name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception),
            end_on_exit,
        )

    def failed(self, span: SpanContext, error: BaseException) -> None:
        """Tell whoever cares that `error` left a span that records nothing."""
        on_error = self._processors.on_error
        if on_error is not None:
            on_error(span, error)

    def _parent_in(self, context: Context) -> SpanContext | None:
        try:
            return span_context_in(context)
        except Exception as error:  # noqa: BLE001 - a Span or a SpanContext given as context is a common mistake
            self._processors.guard.failed(
                "start_span", error, remedy="context must be an opentelemetry.context.Context, else the span is a root"
            )
            return None

    def _mapping_or_none(self, attributes: Any) -> Attributes:
        """What a sampler's result can be made of: upstream's raises for anything but a mapping."""
        if attributes is None or isinstance(attributes, Mapping):
            return attributes
        self._processors.guard.failed("attributes", "what start_span was given is no mapping of text to values")
        return None

    def _fill(self, span: LeanSpan, attributes: Attributes, links: Sequence[Link] | None) -> None:
        processors = self._processors
        limits = processors.limits
        if attributes:
            own, span.dropped_attributes = bounded(attributes, limits.attributes, limits.length, processors.guard)
            span.attributes = {**span.attributes, **own} if span.attributes else own
        for link in links or ():
            linked = getattr(link, "context", None)
            if is_link(linked, getattr(link, "attributes", None)):
                span.add_link(link.context, link.attributes)

    def _begin_with_guests(
        self, asked: Asked, parent: SpanContext | None, context: Context | None
    ) -> LeanSpan | UnsampledSpan:
        """`begin` where a third party's sampler, id generator or processor wants to know."""
        if parent is not None and not parent[IS_VALID]:
            parent = None
        where = get_current() if context is None else context
        if span_context_in(where) != parent:
            where = set_span_in_context(INVALID_SPAN if parent is None else NonRecordingSpan(parent), where)
        return self._start_with_guests(asked, parent, where)

    def _start_with_guests(
        self, asked: Asked, parent: SpanContext | None, context: Context | None
    ) -> LeanSpan | UnsampledSpan:
        processors = self._processors
        trace_id = self._draw(self.id_generator.generate_trace_id, 128) if parent is None else parent[TRACE_ID]
        result = self._ask_sampler(asked, parent, context, trace_id)
        random_id = self._is_random() if parent is None else parent[FLAGS] & _RANDOM
        sampled = result.decision is Decision.RECORD_AND_SAMPLE
        flags = _FLAGS[(_RANDOM if random_id else 0) | (_SAMPLED if sampled else 0)]
        span_id = self._draw(self.id_generator.generate_span_id, 64)
        own = SpanContext(trace_id, span_id, False, flags, result.trace_state)
        if result.decision is Decision.DROP:
            return unsampled_span(own)
        now = time_ns() if asked.start_time is None else asked.start_time
        told = current()
        known: dict[str, AnyValue] = {} if told is None else {**told.attributes}
        span = new_span(asked.name, own, parent, asked.kind, now, known, self.scope, processors)
        self._fill(span, result.attributes, asked.links)
        if processors.starts is not None:
            processors.starts(span, context)
        return span

    def _ask_sampler(
        self, asked: Asked, parent: SpanContext | None, context: Context | None, trace_id: int
    ) -> SamplingResult:
        problem: Exception | str
        name, kind, attributes, links, _ = asked
        try:
            result: Any = self.sampler.should_sample(context, trace_id, name, kind, attributes, links)
            if isinstance(result.decision, Decision):
                return cast("SamplingResult", result)
            problem = f"{result.decision!r} is no Decision"
        except Exception as error:  # noqa: BLE001 - a third party's sampler must not reach the application
            problem = error
        self._processors.guard.failed(
            f"sampler {type(self.sampler).__name__}", problem, remedy="the parent decides, and roots are recorded"
        )
        drop = parent is not None and not parent[FLAGS] & _SAMPLED
        state = None if parent is None else parent[STATE]
        return SamplingResult(Decision.DROP if drop else Decision.RECORD_AND_SAMPLE, attributes, state)

    def _draw(self, generate: Callable[[], int], bits: int) -> int:
        """An id from a third party's generator, or a random one where that raises or gives no id."""
        guard = self._processors.guard
        drawn = guard.call("id generator", None, generate)
        if isinstance(drawn, int) and 0 < drawn < 1 << bits:
            return drawn
        guard.failed("id generator", f"{drawn!r} is no id of {bits} bits", remedy="a random one is used")
        return self._bits(bits) or 1

    def _is_random(self) -> bool:
        return self._processors.guard.call("id generator", False, self.id_generator.is_trace_id_random)


class StartAsCurrent(use_span):
    """What `start_as_current_span` returns: the span starts when the block or the decorated function is entered."""

    __slots__ = ("_arguments", "_tracer")

    def __init__(self, tracer: LeanTracer, arguments: tuple[Any, ...], end_on_exit: bool) -> None:
        self._tracer = tracer
        self._arguments = arguments
        self._end = end_on_exit
        self._record, self._status = arguments[6:]

    def __enter__(self) -> Span:
        self._span = self._tracer.start_span(*self._arguments)
        return use_span.__enter__(self)

    def _pass(self, error: Exception) -> None:
        if isinstance(self._span, UnsampledSpan):
            self._tracer.failed(self._span.context, error)

    def _again(self) -> StartAsCurrent:
        return StartAsCurrent(self._tracer, self._arguments, self._end)


__all__ = ["LeanTracer", "StartAsCurrent"]
