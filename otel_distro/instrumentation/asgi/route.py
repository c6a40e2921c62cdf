"""Learns which route was chosen from the routers themselves, without matching again.

`scope["route"]` is not the route: an included router's prefix, a mount's and a middleware's copy of the scope are
missing from it. So the moment when a router hands a request to a route is watched: each `handle` of Starlette's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from otel_distro.guard import Guard

from .exchange import MARK, Exchange
from .messages import Receive, Send
from .native import included_path
from .options import Scope
from .patches import Patches

Handle = Callable[[Any, Scope, Receive, Send], Awaitable[None]]


def watch_starlette(routing: ModuleType, patches: Patches, guard: Guard) -> None:
    """Watch the routes of `starlette.routing`."""
    patches.wrap(routing.Route, "handle", lambda original: _watched(original, guard, mount=False))
    patches.wrap(routing.WebSocketRoute, "handle", lambda original: _watched(original, guard, mount=False))
    patches.wrap(routing.Mount, "handle", lambda original: _watched(original, guard, mount=True))


def watch_fastapi(routing: ModuleType, patches: Patches, guard: Guard) -> None:
    """Watch `fastapi.routing.APIRoute` where it hands requests on by itself and has no telemetry that would tell."""
    if "handle" in vars(routing.APIRoute):
        patches.wrap(routing.APIRoute, "handle", lambda original: _watched(original, guard, mount=False))


def _watched(original: Handle, guard: Guard, *, mount: bool) -> Handle:
    # no coroutine of its own: the route's is handed on
    def handle(self: Any, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        try:
            exchange = scope.get(MARK)
            if not isinstance(exchange, Exchange):
                pass
            elif exchange.routed_by_fastapi:
                exchange.routed_by_fastapi = False
            else:
                exchange.choose(included_path(self, scope) or self.path_format, mount=mount)
        except Exception as error:  # noqa: BLE001 - a route without a template is no reason to fail a request
            guard.failed("route", error)
        return original(self, scope, receive, send)

    return handle
