"""How many examples a property is tried with: the same few each time in the gate, many new ones where asked for."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

VARIABLE = "TEST_EXAMPLES"
"""Examples of each property, random ones; set by `./scripts/test --thorough`."""
_IN_THE_GATE = 60


def choose() -> None:
    """Make it the default of the properties that are defined from now on; called by the suites' conftest."""
    asked = os.environ.get(VARIABLE)
    settings.register_profile(
        "suites",
        max_examples=int(asked or _IN_THE_GATE),
        derandomize=asked is None,
        database=None,
        deadline=None,  # the machine may be busy
        print_blob=True,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.function_scoped_fixture,
        ],
    )
    settings.load_profile("suites")
