"""What `_compat` takes from upstream's propagators is still there."""

from opentelemetry.propagators.composite import CompositePropagator

from otel_distro import _compat


def test_any_other_propagator_is_its_own_part():
    """A subclass may have overridden anything, so it is taken whole."""

    class Mine(CompositePropagator):
        pass

    mine = Mine([])
    assert _compat.parts_of_propagator(mine) == (mine,)
