"""Properties of this suite are tried as often as `tests.examples` says."""

from __future__ import annotations

from tests import examples

examples.choose()
