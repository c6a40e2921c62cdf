"""Spans that nobody can see before they have ended: never an object, only what is exported of them.

A statement or a command runs no code that could look for the current span. So all that a span of it costs can be paid
at its end, and what is alike in all of them only once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind
from opentelemetry.util.types import AnyValue

from otel_distro.context import NOTHING, Scope, UserFields, Value
from otel_distro.guard import let_through
from otel_distro.ledger import FEW

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from otel_distro.ledger import Entry, Ledger

    from .processors import Processors

_LOW_BITS = (1 << 64) - 1
_SAMPLED = 1

Ids = tuple[int, int]
"""Trace id and span id of a sampled span."""


class Finished(Protocol):
    """Makes a span's bytes."""

    def __call__(  # noqa: PLR0917 - keywords would cost what the short way saves
        self,
        trace_id: int,
        span_id: int,
        parent: SpanContext | None,
        start: int,
        end: int,
        more: Mapping[str, Any],
        others: bytes | None = None,
        /,
    ) -> bytes:
        """Start and end are nanoseconds since the epoch, `more` further attributes, `others` encoded ones."""
        ...


class FinishedAll(Protocol):
    """Makes the bytes of many spans."""

    def __call__(
        self,
        ids: Sequence[Sequence[int]],
        parents: Sequence[SpanContext | None],
        starts: Sequence[int],
        ends: Sequence[int],
        /,
        *others: Iterable[bytes],
    ) -> list[bytes]:
        """As `Finished`, for each; `ids` are trace and span id, `others` columns of encoded attributes."""
        ...


class Texts(Protocol):
    """Encoded attributes of one key by text."""

    @property
    def known(self) -> Mapping[str, bytes]:
        """Those that have been encoded before."""
        ...

    def learn(self, text: str, /) -> bytes:
        """Any other."""
        ...


class Encodes(Protocol):
    """Makes the bytes of spans; see `SpanEncoder`."""

    def finisher(self, name: str, kind: SpanKind, attributes: Mapping[str, Any], /) -> tuple[Finished, FinishedAll]:
        """What makes a span of its ids, parent, times and further attributes, and what makes many."""
        ...

    def piece(self, span: ReadableSpan, /) -> tuple[Any, Any, bytes]:
        """Resource, scope and bytes of any span; never raises."""
        ...

    def attributes(self, attributes: Mapping[str, Any], /) -> bytes:
        """Clean attributes, encoded."""
        ...

    def all_attributes(self, several: Iterable[Mapping[str, Any]], /) -> list[bytes]:
        """The same of each."""
        ...

    def said(self, user: UserFields | None, values: Mapping[str, Value], before: bytes, /) -> bytes | None:
        """What the application said, after `before`; None where a name may be that of an attribute that others set."""
        ...

    def texts(self, key: str, /) -> Texts:
        """The attributes of one key by text."""
        ...

    def text_heads(self, key: str, /) -> Sequence[bytes]:
        """What stands before a text of this key that will not come again, by its length; none where that may not be."""
        ...


@runtime_checkable
class TakesBrief(Protocol):
    """A span processor that needs no object."""

    @property
    def span_encoder(self) -> Encodes:
        """What makes the spans that it takes."""
        ...

    @property
    def ledger(self) -> Ledger:
        """Where what it will take waits to be encoded; another one in a forked child."""
        ...

    def take(self, piece: tuple[Any, Any, bytes], /) -> None:
        """Take an ended, sampled span: its resource, its scope, and what its encoder made."""
        ...


class Begins(Protocol):
    """The tracer, for spans that have to be objects after all."""

    @property
    def scope(self) -> InstrumentationScope:
        """Whose spans these are."""
        ...

    def begin(
        self,
        name: str,
        kind: SpanKind,
        parent: SpanContext | None,
        attributes: dict[str, AnyValue],
        start_time: int | None = None,
    ) -> Any:
        """See `LeanTracer.begin`."""
        ...


class Takes(Protocol):
    """A series of durations."""

    @property
    def waits(self) -> bool:
        """Whether it may be told later; see `Series.waits`."""
        ...

    def took(self, seconds: float, now: float, ids: Ids | None, /) -> None:
        """Take one now."""
        ...

    def took_all(self, values: Sequence[float], moments: Sequence[float], ids: Callable[[int], Ids], /) -> None:
        """Take many that have waited."""
        ...


class Steps(Protocol):
    """A series of a sum."""

    @property
    def waits(self) -> bool:
        """As `Takes.waits`."""
        ...

    def step(self, value: int, /) -> None:
        """Add so many."""
        ...


class Rule(NamedTuple):
    """How ids are drawn and traces chosen; see `LeanTracer`.

    Attributes:
        bits: draws so many random bits.
        parent_based: whether a parent decides.
        bound: traces are sampled whose low 64 bits are below it.
    """

    bits: Callable[[int], int]
    parent_based: bool
    bound: int


class Briefs:
    """Spans of one name, kind and set of attributes; made by `LeanTracer.briefs`. The account of their entries.

    An entry is a `Briefs`, the duration in seconds, the end by `time.perf_counter`, trace id, span id, parent,
    start and end in nanoseconds since the epoch, and what the application said.

    Args:
        tracer: makes a span where the short way does not lead.
        processors: limits, resource and who takes the spans.
        rule: for ids and sampling.
        name: of the spans.
        kind: likewise.
        attributes: likewise.

    Attributes:
        tracer: as given.
    """

    __slots__ = (
        "_attributes",
        "_bits",
        "_bound",
        "_counter",
        "_duration",
        "_finished",
        "_finished_all",
        "_kind",
        "_more",
        "_name",
        "_parent_based",
        "_processors",
        "_scope",
        "_taker",
        "_waits",
        "tracer",
    )

    _counter: Steps | None
    _duration: Takes
    _finished: Finished
    _finished_all: FinishedAll
    _waits: bool

    def __init__(  # noqa: PLR0917 - made by the tracer alone
        self,
        tracer: Begins,
        processors: Processors,
        rule: Rule,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, AnyValue],
    ) -> None:
        self.tracer = tracer
        self._processors = processors
        self._bits, self._parent_based, self._bound = rule
        self._name = name
        self._kind = kind
        self._attributes = attributes
        self._scope = tracer.scope
        self._taker: TakesBrief | None = None
        # nobody says this very one, so the first is looked at
        self._more: Mapping[str, AnyValue] = {}

    def measure(self, duration: Takes, counter: Steps | None = None) -> Briefs:
        """Tell this series how long they took, and the counter how many they were; to be called before `ended`."""
        self._duration, self._counter = duration, counter
        self._waits = duration.waits and (counter is None or counter.waits)
        return self

    def ended(  # noqa: PLR0917 - keywords would cost what the short way saves
        self, parent: SpanContext | None, scope: Scope | None, start: int, end: int, seconds: float, now: float
    ) -> None:
        """One of them has ended, without an error.

        Args:
            parent: valid, or None for a root.
            scope: of the running code: user, tenant and what else the application said go onto the span.
            start: nanoseconds since the epoch.
            end: likewise.
            seconds: how long it took.
            now: the end by `time.perf_counter`.
        """
        if parent is None:
            trace_id = self._bits(128) or 1
            if trace_id & _LOW_BITS >= self._bound:
                self._tell(seconds, now, None)
                return
        else:
            trace_id, _, _, flags, _, _ = parent
            if not (flags & _SAMPLED if self._parent_based else trace_id & _LOW_BITS < self._bound):
                self._tell(seconds, now, None)
                return
        more: Mapping[str, AnyValue] = NOTHING
        if scope is not None:
            told = scope.told
            more = scope.telling() if told is None else told
        processors = self._processors
        taker = processors.brief
        if (taker is not self._taker or more is not self._more) and not self._fits(taker, more):
            self._tell(seconds, now, self._as_object(parent, start, end))
            return
        span_id = self._bits(64) or 1
        if not self._waits:
            self._tell(seconds, now, (trace_id, span_id))
        ledger = taker.ledger  # type: ignore[union-attr]  # None does not fit
        ledger.append((self, seconds, now, trace_id, span_id, parent, start, end, more))
        if len(ledger) >= ledger.mark:
            ledger.full()

    def encoded(self, entries: list[Entry]) -> Sequence[tuple[Any, Any, bytes]]:
        """Their spans; see `Account`."""
        resource, scope = self._processors.resource, self._scope
        encode = self._taker.span_encoder.all_attributes  # type: ignore[union-attr]  # who has ended has met it
        if len(entries) >= FEW:
            try:
                _, _, _, traces, spans, parents, starts, ends, told = zip(*entries, strict=True)
                ids = tuple(zip(traces, spans, strict=True))
                others = () if told.count(NOTHING) == len(told) else (encode(told),)
                made = self._finished_all(ids, parents, starts, ends, *others)
                return [(resource, scope, each) for each in made]
            except Exception as raised:  # noqa: BLE001 - one of them is not like the others
                let_through(raised)
        return [(resource, scope, self._encoded(entry)) for entry in entries]

    def _encoded(self, entry: Entry) -> bytes:
        """Nothing where a number does not fit, which is counted as lost."""
        try:
            return self._finished(*entry[3:])
        except Exception as error:  # noqa: BLE001 - a clock before 1970
            self._processors.guard.failed("span", error)
            return b""

    def count(self, entries: list[Entry]) -> None:
        """Put them into metrics; see `Account`."""
        if self._waits:
            _, seconds, moments, traces, spans, *_ = zip(*entries, strict=True)
            self._duration.took_all(seconds, moments, lambda index: (traces[index], spans[index]))
            if self._counter is not None:
                self._counter.step(len(entries))

    def _tell(self, seconds: float, now: float, ids: Ids | None) -> None:
        """Put one into metrics at once."""
        self._duration.took(seconds, now, ids)
        if self._counter is not None:
            self._counter.step(1)

    def _fits(self, taker: TakesBrief | None, more: Mapping[str, AnyValue]) -> bool:
        """Whether `taker` can have a span with these attributes as well, without a look at limits."""
        own = self._attributes
        if taker is None or len(own) + len(more) > self._processors.room or not own.keys().isdisjoint(more):
            return False
        if taker is not self._taker:
            self._finished, self._finished_all = taker.span_encoder.finisher(self._name, self._kind, own)
            self._taker = taker
        # a request that calls often calls again next, with the same
        self._more = more
        return True

    def _as_object(self, parent: SpanContext | None, start: int, end: int) -> Ids | None:
        """A whole span: somebody wants to look at it by now, or what the application said is the same attribute."""
        span = self.tracer.begin(self._name, self._kind, parent, {**self._attributes}, start)
        span.finish(end)
        context: Any = span.context
        return context[:2] if span.is_recording() else None


__all__ = ["Begins", "Briefs", "Encodes", "Finished", "FinishedAll", "Ids", "Rule", "Steps", "Takes", "TakesBrief"]
