"""The one line of an application that wants health endpoints."""

from __future__ import annotations

import os
from typing import Any

from otel_distro.session import opened

from .setup import adopt_environment, this_process


def mount(app: Any) -> Any:
    """See `otel_distro.health.mount`."""
    session = opened()
    if session is None or not session.active:
        adopt_environment(os.environ)
    health = this_process()
    routes = health.routes()
    if session is not None:
        session.answers.update(routes)
    router: Any = getattr(app, "router", None)
    if router is None or not hasattr(router, "routes"):
        return _Wrapped(app, routes)
    from starlette.routing import Route

    # in front of everything: a route for any path must not take them
    router.routes[:0] = [Route(path, route, include_in_schema=False) for path, route in routes.items()]
    return app


class _Wrapped:
    """An ASGI application of another framework, with the health paths in front."""

    def __init__(self, app: Any, routes: Any) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        route = self._routes.get(scope.get("path")) if scope["type"] == "http" else None
        await (route or self._app)(scope, receive, send)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)
