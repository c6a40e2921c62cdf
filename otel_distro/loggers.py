"""The loggers of ours that speak about the application, not about the distro."""

from __future__ import annotations

import logging
from typing import Final

CAPTURES: Final = "otel_distro.captures"
"""What the application captured by hand."""
REQUESTS: Final = "otel_distro.requests"
"""Slow requests and repeated statements."""


def speaking(name: str) -> logging.Logger:
    """The logger of this name, fit to speak.

    `logging.config.dictConfig` disables every logger that exists when it is called, unless it is told not to: that is
    meant for leftovers of an earlier configuration. A level silences these loggers.
    """
    logger = logging.getLogger(name)
    logger.disabled = False
    return logger


__all__ = ["CAPTURES", "REQUESTS", "speaking"]
