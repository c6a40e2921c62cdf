"""OpenTelemetry-first tracing and metrics for FastAPI services; configured by environment variables."""

from ._version import __version__

__all__ = ["__version__"]
