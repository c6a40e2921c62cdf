"""The one way the demo says that it cannot go on."""

from __future__ import annotations


class DemoError(Exception):
    """What is wrong and what to do about it, in one line."""
