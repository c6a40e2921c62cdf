"""The global propagator: how context travels between services, from the names in `OTEL_PROPAGATORS`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagate import set_global_textmap
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .guard import Guard

_BUILT_IN: dict[str, type[TextMapPropagator]] = {
    "tracecontext": TraceContextTextMapPropagator,
    "baggage": W3CBaggagePropagator,
}


def install(names: Sequence[str], guard: Guard) -> None:
    """Make the propagators of `names` the global one; one that cannot be loaded is left out and said.

    A distro has to set them: upstream reads the variable while it is imported (opentelemetry-python #4679).

    Args:
        names: built in or installed under `opentelemetry_propagator`; none at all propagates nothing.
        guard: gets a propagator that fails to load.
    """
    made = [guard.call(f"propagator {name}", None, _one, name) for name in names]
    set_global_textmap(CompositePropagator([propagator for propagator in made if propagator is not None]))


def _one(name: str) -> TextMapPropagator:
    if name in _BUILT_IN:
        return _BUILT_IN[name]()
    point = next(iter(entry_points(group="opentelemetry_propagator", name=name)))
    made: TextMapPropagator = point.load()()
    return made
