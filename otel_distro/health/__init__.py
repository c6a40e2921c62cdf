"""Health endpoints with checks: `OTEL_DISTRO_HEALTH=on` and not a line of code, or `health.mount(app)`.

    from otel_distro import health

    @health.check("search index")
    def index_is_loaded() -> bool:
        return index.loaded

Every function works, as far as it can, where the distro is not running. See `docs/health.md`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar, overload

from . import dependencies
from .dependencies import REACHABLE, Heartbeat
from .mounting import mount as _mount
from .result import Degraded
from .setup import this_process

F = TypeVar("F", bound=Callable[[], Any])
App = Callable[[Any, Any, Any], Awaitable[None]]
A = TypeVar("A", bound=App)


@overload
def check(
    name: str,
    function: None = None,
    *,
    critical: bool = True,
    timeout: float | None = None,
    cache: float | None = None,
) -> Callable[[F], F]: ...
@overload
def check(
    name: str, function: F, *, critical: bool = True, timeout: float | None = None, cache: float | None = None
) -> F: ...
def check(
    name: str,
    function: F | None = None,
    *,
    critical: bool = True,
    timeout: float | None = None,
    cache: float | None = None,
) -> F | Callable[[F], F]:
    """Check something of the application's own; a decorator, or a call with the function.

    The function takes no arguments. None, True or a mapping (shown as details) means up, False down; `Degraded` says
    that it works, but badly; any other exception means down. A synchronous one runs in a thread of its own. An
    asynchronous one runs on the event loop, which it must not block. It is never traced.

    Args:
        name: under which it is shown and measured; a later check of that name replaces it.
        function: to call.
        critical: without it the process is not ready; else it is degraded.
        timeout: seconds a run may take; `OTEL_DISTRO_HEALTH_TIMEOUT` by default.
        cache: seconds its result counts; `OTEL_DISTRO_HEALTH_CACHE` by default.
    """

    def declare(function: F) -> F:
        health = this_process()
        health.registry.declare(health.check(name, function, critical=critical, timeout=timeout, cache=cache))
        return function

    return declare if function is None else declare(function)


def check_database(
    engine: Any,
    name: str = "database",
    *,
    critical: bool | None = None,
    timeout: float | None = None,
    cache: float | None = None,
) -> None:
    """Check a SQLAlchemy engine under a name; engines that nobody names are found by themselves.

    Args:
        engine: `Engine` or `AsyncEngine`; not kept alive.
        name: see `check`.
        critical: see `check`; None lets `OTEL_DISTRO_HEALTH_CRITICAL` decide, and so below.
        timeout: see `check`.
        cache: see `check`.
    """
    health = this_process()
    health.registry.claim(getattr(engine, "sync_engine", engine).dialect)
    function = dependencies.database(engine)
    made = health.check(name, function, critical=critical, timeout=timeout, cache=cache, kind="database")
    health.registry.declare(made)


def check_redis(
    client: Any,
    name: str = "redis",
    *,
    critical: bool | None = None,
    timeout: float | None = None,
    cache: float | None = None,
) -> None:
    """Check a Redis client, sync or async, under a name; clients that nobody names are found by themselves."""
    health = this_process()
    health.registry.claim(getattr(client, "connection_pool", client))
    function = dependencies.redis(client, _seconds(timeout))
    made = health.check(name, function, critical=critical, timeout=timeout, cache=cache, kind="redis")
    health.registry.declare(made)


def check_http(
    name: str,
    url: str,
    *,
    statuses: Collection[int] = REACHABLE,
    method: str = "HEAD",
    critical: bool | None = None,
    timeout: float | None = None,
    cache: float | None = None,
) -> None:
    """Check a URL: `http`, `https`, or `ws` and `wss`, which must accept a WebSocket.

    By default any answer below 500 is good: a dependency that asks for credentials is there.

    Raises:
        ValueError: it is no such URL.
    """
    function = dependencies.url(url, _seconds(timeout), statuses, method)
    health = this_process()
    health.registry.declare(health.check(name, function, critical=critical, timeout=timeout, cache=cache))


def check_celery(
    app: Any,
    name: str = "celery",
    *,
    workers: int = 1,
    critical: bool | None = None,
    timeout: float | None = None,
    cache: float | None = None,
) -> None:
    """Check that at least `workers` of a Celery application's workers answer a ping."""
    health = this_process()
    function = dependencies.celery(app, workers, _seconds(timeout))
    health.registry.declare(health.check(name, function, critical=critical, timeout=timeout, cache=cache))


def heartbeat(name: str, max_age: float, *, critical: bool | None = None) -> Heartbeat:
    """Check something that runs by itself in this process: it calls `beat()` at least every `max_age` seconds."""
    made = Heartbeat(max_age)
    health = this_process()
    health.registry.declare(health.check(name, made.ask, critical=critical, timeout=None, cache=0.0))
    return made


def hold(reason: str) -> Callable[[], None]:
    """Stay in the start, and so not ready, until the returned function is called: a model loads, a cache warms up."""
    return this_process().lifecycle.hold(reason)


def drain() -> None:
    """Be not ready from now on, for good: for servers whose SIGTERM nobody here sees."""
    this_process().lifecycle.drain()


def mount(app: A) -> A:
    """Answer the health paths of an application; where the distro runs, before anything of the request is traced.

    Args:
        app: FastAPI's, Starlette's, or any other ASGI application, which is then wrapped.

    Returns:
        The application to serve: `app` itself for FastAPI and Starlette.
    """
    served: A = _mount(app)
    return served


def _seconds(timeout: float | None) -> float:
    return this_process().options.timeout / 1000 if timeout is None else timeout


__all__ = [
    "REACHABLE",
    "Degraded",
    "Heartbeat",
    "check",
    "check_celery",
    "check_database",
    "check_http",
    "check_redis",
    "drain",
    "heartbeat",
    "hold",
    "mount",
]
