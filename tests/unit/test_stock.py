"""What stands in for the stock launcher's start of a program, and when it does."""

from __future__ import annotations

import os

import pytest
from opentelemetry.instrumentation import auto_instrumentation

from otel_distro.stock import chosen


def test_the_launcher_starts_programs_by_the_name_that_is_replaced() -> None:
    """Contract with opentelemetry-instrumentation: its module has `os.execl` as `execl`."""
    start = vars(auto_instrumentation)["execl"]
    assert getattr(start, "args", (start,))[0] is os.execl


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"OTEL_PYTHON_DISTRO": "otel_distro"}, True),
        ({"OTEL_PYTHON_DISTRO": "otel_distro", "OTEL_PYTHON_CONFIGURATOR": "otel_distro"}, True),
        ({"OTEL_PYTHON_DISTRO": "otel_distro", "OTEL_DISTRO_PIPELINE": "lean"}, True),
        ({"OTEL_PYTHON_DISTRO": ""}, False),
        ({"OTEL_PYTHON_DISTRO": "distro"}, False),
        ({"OTEL_PYTHON_DISTRO": "otel_distro", "OTEL_PYTHON_CONFIGURATOR": "configurator"}, False),
        ({"OTEL_PYTHON_DISTRO": "otel_distro", "OTEL_DISTRO_PIPELINE": "upstream"}, False),
        ({"OTEL_PYTHON_DISTRO": "otel_distro", "OTEL_DISTRO_PIPELINE": "typo"}, False),
    ],
)
def test_it_does_where_the_launcher_would_choose_ours(environ: dict[str, str], expected: bool) -> None:
    """Named, with no other configurator and no other pipeline; whatever is unclear is left to the launcher."""
    assert chosen(environ) is expected


def test_without_a_name_ours_has_to_be_the_only_one() -> None:
    """The launcher takes the first distro it finds, which is certain where there is one."""
    from otel_distro.installed import entry_points

    names = {point.name for point in entry_points("opentelemetry_distro") or ()}
    assert chosen({}) is (names == {"otel_distro"})
