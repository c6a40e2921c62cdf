"""The two ways telemetry takes through a process: ours, and the unmodified upstream SDK as its oracle."""

from ._base import Exporting, Pipeline
from ._exporters import ExporterFactory

__all__ = ["ExporterFactory", "Exporting", "Pipeline"]
