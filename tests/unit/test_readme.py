"""The README keeps up with the code."""

from __future__ import annotations

from pathlib import Path

from otel_distro.settings.reference import markdown

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_table_of_settings_is_the_one_the_code_makes() -> None:
    """The variables' table in the README is made from the settings, not written."""
    _, _, rest = README.read_text().partition("reference`) -->\n")
    shown, _, _ = rest.partition("<!-- settings: end -->")
    assert shown == markdown()
