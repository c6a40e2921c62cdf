"""One lean server path for every FastAPI and Starlette."""

from .instrumentation import FastApiInstrumentation

__all__ = ["FastApiInstrumentation"]
