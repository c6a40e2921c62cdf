"""The global propagator: how context travels between services, from the names in `OTEL_PROPAGATORS`."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from importlib.metadata import entry_points

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, get_current
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .guard import Guard

_VARIABLE = "OTEL_PROPAGATORS"
_BUILT_IN: dict[str, type[TextMapPropagator]] = {
    "tracecontext": TraceContextTextMapPropagator,
    "baggage": W3CBaggagePropagator,
}


def install(names: Sequence[str], environ: MutableMapping[str, str], guard: Guard) -> None:
    """Make the propagators of `names` the global one; one that cannot be loaded is left out and said.

    A distro has to set them: upstream reads the variable while it is imported, and raises there for a name that cannot
    be loaded (opentelemetry-python #4679). So it is imported without the variable, which is then put back.

    Args:
        names: built in or installed under `opentelemetry_propagator`; none at all propagates nothing.
        environ: the process's environment.
        guard: gets a propagator that fails to load, or later raises.
    """
    text = environ.pop(_VARIABLE, None)
    try:
        from opentelemetry.propagate import set_global_textmap
    finally:
        if text is not None:
            environ[_VARIABLE] = text
    made = [guard.call(f"propagator {name}", None, _one, name, guard) for name in names]
    set_global_textmap(CompositePropagator([propagator for propagator in made if propagator is not None]))


def _one(name: str, guard: Guard) -> TextMapPropagator:
    if name in _BUILT_IN:
        return _BUILT_IN[name]()
    point = next(iter(entry_points(group="opentelemetry_propagator", name=name)))
    return GuardedPropagator(name, point.load()(), guard)


class GuardedPropagator(TextMapPropagator):
    """A third party's propagator that never raises into the request it is asked for.

    Args:
        name: its entry point's name.
        propagator: the third party's.
        guard: gets what it raises.
    """

    def __init__(self, name: str, propagator: TextMapPropagator, guard: Guard) -> None:
        self._part = f"propagator {name}"
        self._propagator = propagator
        self._guard = guard

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """What the propagator finds, or the context as it was."""
        before = get_current() if context is None else context
        return self._guard.call(self._part, before, self._propagator.extract, carrier, context, getter)

    def inject(
        self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter
    ) -> None:
        """Write what the propagator has to tell."""
        self._guard.call(self._part, None, self._propagator.inject, carrier, context, setter)

    @property
    def fields(self) -> set[str]:
        """The names of its headers."""
        return self._guard.call(self._part, set(), lambda: self._propagator.fields)
