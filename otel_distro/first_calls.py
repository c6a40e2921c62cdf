"""What is called first of a library that is used: an import alone tells of nothing that there would be telemetry about.

Each is the method that our instrumentation patches, or one that is called before it, on a class: objects that were made
before count as well, and the very call that wakes goes through what has been put there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from types import ModuleType
from typing import Any

_COROUTINE = 0x80
"""The flag of a code object (`inspect.CO_COROUTINE`); `inspect` is an import of 8 ms."""

OF_LIBRARIES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "starlette.applications": {"starlette.applications": ("Starlette.__call__",)},
    "starlette.background": {"starlette.background": ("BackgroundTask.__call__",)},
    "starlette.routing": {},  # routes are asked by applications
    "fastapi.applications": {"fastapi.applications": ("FastAPI.__call__",)},
    # every connection is obtained through it, and every statement needs one
    "sqlalchemy": {"sqlalchemy.engine.base": ("Engine.raw_connection",)},
    "redis": {
        "redis.client": ("Redis.execute_command", "Pipeline.immediate_execute_command", "Pipeline.execute"),
        "redis.cluster": ("RedisCluster.execute_command", "ClusterPipeline.execute"),
        "redis.asyncio.client": ("Redis.execute_command", "Pipeline.immediate_execute_command", "Pipeline.execute"),
        "redis.asyncio.cluster": ("RedisCluster.execute_command", "ClusterPipeline.execute"),
        "redis.observability.providers": ("ObservabilityInstance.init",),
    },
    "httpx": {"httpx": ("HTTPTransport.handle_request", "AsyncHTTPTransport.handle_async_request")},
    "requests": {"requests.sessions": ("Session.send",)},
    "urllib3": {"urllib3.connectionpool": ("HTTPConnectionPool.urlopen",)},
}
"""By each module of `instrumentation.table.OURS` whose import is no sign: what is called, by the module that has it."""

OF_API: Mapping[str, tuple[str, ...]] = {
    "opentelemetry.trace": ("get_tracer_provider", "set_tracer_provider"),
    "opentelemetry.metrics": ("get_meter", "get_meter_provider", "set_meter_provider"),
    "opentelemetry._logs": ("get_logger", "get_logger_provider", "set_logger_provider"),
    "opentelemetry.propagate": ("get_global_textmap", "set_global_textmap"),
}
"""The functions of OpenTelemetry's API through which everything else of it comes to a provider or a propagator."""


def hook(module: ModuleType, paths: tuple[str, ...], wake: Callable[[], object]) -> list[Callable[[], None]]:
    """Call `wake` before the first call of any of `paths`.

    Args:
        module: has just been imported.
        paths: `function` or `Class.method`; what this version does not define itself is left out.
        wake: may put something else in their place.

    Returns:
        What takes each hook away again; empty where nothing was found.
    """
    silences = []
    for path in paths:
        where, _, name = path.rpartition(".")
        holder = getattr(module, where, None) if where else module
        if holder is not None and name in vars(holder):
            silences.append(hook_one(holder, name, wake))
    return silences


def hook_one(holder: Any, name: str, wake: Callable[[], object]) -> Callable[[], None]:
    """Call `wake` before the first call of one function.

    Args:
        holder: a class or a module.
        name: of the function in it.
        wake: see `hook`.

    Returns:
        What takes the hook away.
    """
    original = getattr(holder, name)

    def woken() -> Callable[..., Any]:
        # the original: another thread has just begun to wake
        outermost = getattr(holder, name) in {first, original}
        wake()
        # what stands here by now serves this call, too
        current: Callable[..., Any] = getattr(holder, name)
        return current if outermost and current is not first else original

    def plain(*args: Any, **kwargs: Any) -> Any:
        return woken()(*args, **kwargs)

    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        return await woken()(*args, **kwargs)

    # servers look at an application whether it is a coroutine function
    code = getattr(original, "__code__", None)
    first = wraps(original)(coroutine if code is not None and code.co_flags & _COROUTINE else plain)

    def silence() -> None:
        # who has put something over it keeps that, and what is below hands on
        if getattr(holder, name) is first:
            setattr(holder, name, original)

    setattr(holder, name, first)
    return silence
