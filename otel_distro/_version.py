"""The version, in a file of its own so that the build and the resource read the same text."""

__version__ = "0.1.0"
