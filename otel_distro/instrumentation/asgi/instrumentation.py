"""FastAPI and Starlette under the distro's interface: which module is patched how."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar

from otel_distro.instrumentation import binding
from otel_distro.instrumentation.base import Toolbox

from . import contrib, native, route
from .background import traced
from .call import served
from .patches import Patches
from .servers import Servers


class FastApiInstrumentation:
    """The server side of FastAPI and Starlette, on their classes: applications made before are covered as well.

    The server span ends with the last byte of the response, as contrib's and FastAPI's own do; background tasks run
    after it, each in a span of its own, as with contrib. A response of 500 or above waits for the exception that
    explains it, with the time of its last byte.

    Args:
        toolbox: providers, settings and guard.
    """

    name: ClassVar[str] = "fastapi"

    def __init__(self, toolbox: Toolbox) -> None:
        self._servers = Servers(toolbox)
        self._patches = Patches()
        self._guard = toolbox.guard

    def instrument(self, module: ModuleType) -> None:
        """Patch one of the table's modules, which has just been imported; again is harmless."""
        steps: dict[str, Callable[[ModuleType], None]] = {
            "starlette.background": self._background,
            "starlette.routing": self._routing,
            "starlette.applications": self._starlette,
            "fastapi.applications": self._fastapi,
            "starlette.middleware.opentelemetry": self._middleware,
            "opentelemetry.instrumentation.asgi": self._middleware,
            "opentelemetry.instrumentation.fastapi": self._contrib_fastapi,
            "opentelemetry.instrumentation.starlette": self._contrib_starlette,
        }
        step = steps.get(module.__name__)
        if step is not None:
            step(module)

    def uninstrument(self) -> None:
        """Put every original back and forget all applications."""
        self._patches.undo()
        self._servers.forget()
        self._servers.native = None

    def _background(self, module: ModuleType) -> None:
        tracer = binding.tracing(self._servers.tracer())
        self._patches.wrap(module.BackgroundTask, "__call__", lambda original: traced(original, tracer, self._guard))

    def _routing(self, module: ModuleType) -> None:
        route.watch_starlette(module, self._patches, self._guard)

    def _starlette(self, module: ModuleType) -> None:
        self._patches.wrap(module.Starlette, "__call__", self._served)

    def _fastapi(self, module: ModuleType) -> None:
        package = sys.modules["fastapi"]
        self._servers.native = native.load(package, self._guard)
        # applications that answered before FastAPI was imported may mount it now
        self._servers.forget()
        if "fastapi.telemetry" in sys.modules:
            if not native.silence(self._patches):
                self._patches.wrap(module.FastAPI, "__call__", self._served)
        else:
            route.watch_fastapi(sys.modules["fastapi.routing"], self._patches, self._guard)

    def _middleware(self, module: ModuleType) -> None:
        contrib.adopt_middleware(module, self._patches, self._servers)

    def _contrib_fastapi(self, module: ModuleType) -> None:
        contrib.adopt_instrumentor(module.FastAPIInstrumentor, self._patches, self._servers)

    def _contrib_starlette(self, module: ModuleType) -> None:
        contrib.adopt_instrumentor(module.StarletteInstrumentor, self._patches, self._servers)

    def _served(self, original: Any) -> Any:
        return served(original, self._servers)


__all__ = ["FastApiInstrumentation"]
