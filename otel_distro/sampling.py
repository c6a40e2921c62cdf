"""The specification's samplers, flat: one comparison decides, nothing is delegated.

Source: OpenTelemetry specification, tracing SDK, "Built-in samplers"; the arithmetic of the ratio is upstream's
(`TraceIdRatioBased`), so that services with either sampler keep the same traces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from otel_distro._compat import FLAGS

ENTRY_POINTS = "opentelemetry_traces_sampler"
_LOW_BITS = (1 << 64) - 1
_EVERY_TRACE = 1 << 64
_SAMPLED = 1

Factory = Callable[[str | None], Sampler]


class FlatSampler(Sampler):
    """A sampler that compares the low 64 bits of the trace id with a bound, after asking the parent if it is to.

    Args:
        description: what `get_description` says.
        bound: trace ids whose low 64 bits are below it are sampled; `2**64` is all, `0` none.
        parent_based: a valid parent decides, and the bound only where there is none.

    Attributes:
        bound: as given.
        parent_based: as given.
    """

    def __init__(self, description: str, *, bound: int, parent_based: bool) -> None:
        self._description = description
        self.bound = bound
        self.parent_based = parent_based

    def decide(self, parent: SpanContext | None, trace_id: int) -> bool:
        """Whether a span is recorded and sampled.

        Args:
            parent: a valid parent, local or remote, or None for a root.
            trace_id: the span's trace id, the parent's where there is one.
        """
        if self.parent_based and parent is not None:
            return bool(parent[FLAGS] & _SAMPLED)
        return trace_id & _LOW_BITS < self.bound

    def should_sample(  # noqa: PLR0917 - upstream's
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Upstream's interface, for processors and samplers that wrap this one."""
        del name, kind, links, trace_state
        found = get_current_span(parent_context).get_span_context()
        parent = found if found.is_valid else None
        state = parent.trace_state if parent is not None else None
        if self.decide(parent, trace_id):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)
        return SamplingResult(Decision.DROP, None, state)

    def get_description(self) -> str:
        """The description upstream's sampler of the same name gives."""
        return self._description

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._description})"


def _ratio(argument: str | None) -> float:
    ratio = 1.0 if argument is None else float(argument)
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"the ratio {ratio!r} is not within 0..1")
    return ratio


def _parent_based(root: str) -> str:
    on, off = "AlwaysOnSampler", "AlwaysOffSampler"
    return (
        f"ParentBased{{root:{root},remoteParentSampled:{on},remoteParentNotSampled:{off}"
        f",localParentSampled:{on},localParentNotSampled:{off}}}"
    )


def _installed(name: str) -> Factory | None:
    from importlib.metadata import entry_points  # only a third-party sampler pays for the look-up

    found = next(iter(entry_points(group=ENTRY_POINTS, name=name)), None)
    return None if found is None else found.load()


def build(
    name: str, argument: str | None = None, *, installed: Callable[[str], Factory | None] = _installed
) -> Sampler:
    """The sampler of that name: one of the specification's, flat, else an installed third party's.

    Args:
        name: a value of `OTEL_TRACES_SAMPLER`, in any letter case for the specification's own.
        argument: a value of `OTEL_TRACES_SAMPLER_ARG`: the ratio, or what a third-party factory is called with.
        installed: finds the factory of a third-party sampler, or None; the installed entry points by default.

    Raises:
        ValueError: no such sampler, or a ratio outside 0..1.
        TypeError: the third-party factory made something else than a `Sampler`.
        Exception: whatever a third-party factory raises.
    """
    known = name.strip().lower()
    parent_based = known.startswith("parentbased_")
    root = known.removeprefix("parentbased_")
    if root in {"always_on", "always_off"}:
        description, bound = ("AlwaysOnSampler", _EVERY_TRACE) if root == "always_on" else ("AlwaysOffSampler", 0)
    elif root == "traceidratio":
        ratio = _ratio(argument)
        description, bound = f"TraceIdRatioBased{{{ratio}}}", round(ratio * _EVERY_TRACE)
    else:
        return _third_party(name.strip(), argument, installed)
    if parent_based:
        description = _parent_based(description)
    return FlatSampler(description, bound=bound, parent_based=parent_based)


def _third_party(name: str, argument: str | None, installed: Callable[[str], Factory | None]) -> Sampler:
    factory = installed(name)
    if factory is None:
        raise ValueError(f"no sampler {name!r} is installed")
    sampler = factory(argument)
    if not isinstance(sampler, Sampler):
        raise TypeError(f"the sampler {name!r} is a {type(sampler).__name__}, not a Sampler")
    return sampler


__all__ = ["ENTRY_POINTS", "Factory", "FlatSampler", "build"]
