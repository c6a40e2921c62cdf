"""Samplers: built by name, decided by one comparison."""

from __future__ import annotations

import math

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import SpanContext, TraceFlags

from otel_distro import sampling
from otel_distro.sampling import FlatSampler

SAMPLED = SpanContext(1, 1, True, TraceFlags(1))
UNSAMPLED = SpanContext(1, 1, False, TraceFlags(2))


def flat(name: str, argument: str | None = None) -> FlatSampler:
    """A sampler of the specification."""
    built = sampling.build(name, argument)
    assert isinstance(built, FlatSampler)
    return built


@pytest.mark.parametrize(
    ("name", "root", "with_sampled", "with_unsampled"),
    [
        ("always_on", True, True, True),
        ("always_off", False, False, False),
        ("traceidratio", True, True, True),
        ("parentbased_always_on", True, True, False),
        ("parentbased_always_off", False, True, False),
        ("parentbased_traceidratio", True, True, False),
        ("ParentBased_Always_On", True, True, False),
    ],
)
def test_the_parent_decides_where_the_name_says_so(
    name: str, root: bool, with_sampled: bool, with_unsampled: bool
) -> None:
    """`parentbased_*` asks a valid parent and nobody else; the others never do; letter case does not matter."""
    sampler = flat(name)
    assert isinstance(sampler, Sampler)
    assert sampler.decide(None, 1) is root
    assert sampler.decide(SAMPLED, 1) is with_sampled
    assert sampler.decide(UNSAMPLED, 1) is with_unsampled


def test_a_ratio_keeps_the_ids_below_its_bound() -> None:
    """A ratio of a half keeps exactly the ids whose low 64 bits are in the lower half, whatever the high bits are."""
    sampler = flat("traceidratio", "0.5")
    assert sampler.decide(None, (1 << 63) - 1)
    assert not sampler.decide(None, 1 << 63)
    assert sampler.decide(None, 0xABC << 64)
    assert flat("traceidratio", "1").decide(None, (1 << 128) - 1)
    assert not flat("traceidratio", "0").decide(None, 1 << 64)


@pytest.mark.parametrize("argument", ["2", "-0.1", "nan", "half"])
def test_a_ratio_that_is_none_is_refused(argument: str) -> None:
    """A ratio outside 0..1 or no number raises; what to use instead is the caller's to say."""
    with pytest.raises(ValueError):  # noqa: PT011 - float() words one of them
        sampling.build("traceidratio", argument)
    assert math.isclose(flat("traceidratio").bound, 2**64)


def test_a_third_party_gets_its_argument() -> None:
    """A name that is not the specification's is looked up as it is written, its factory called with the argument."""
    asked: list[object] = []

    def installed(name: str) -> sampling.Factory | None:
        asked.append(name)
        return None if name != "Mine" else lambda argument: asked.append(argument) or ALWAYS_ON

    assert sampling.build("Mine", "x=1", installed=installed) is ALWAYS_ON
    assert asked == ["Mine", "x=1"]
    with pytest.raises(ValueError, match="no sampler 'other' is installed"):
        sampling.build("other", installed=installed)
    with pytest.raises(TypeError, match="is a str, not a Sampler"):
        sampling.build("bad", installed=lambda _: lambda _: "sampler")  # type: ignore[arg-type,return-value]


def test_installed_entry_points_are_found() -> None:
    """Without a look-up of the caller's, the entry points of the environment are asked."""
    with pytest.raises(ValueError, match="no sampler 'nobody_has_this' is installed"):
        sampling.build("nobody_has_this")
