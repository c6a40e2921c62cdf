"""Our log provider and loggers as upstream's to everyone who asks with `isinstance`, once upstream's are imported."""

from __future__ import annotations


def adopt() -> None:
    """Register our classes; called when the logs SDK has been imported."""
    from opentelemetry.sdk import _logs as sdk

    from .provider import LeanLogger, LeanLoggerProvider

    sdk.LoggerProvider.register(LeanLoggerProvider)
    sdk.Logger.register(LeanLogger)


__all__ = ["adopt"]
