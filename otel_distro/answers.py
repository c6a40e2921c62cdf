"""Paths that the distro answers itself on the application's own port, before anything of the request is traced."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .guard import Guard

Message = MutableMapping[str, Any]
Answer = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
"""An ASGI application for one path."""


class Answers(dict[str, Answer]):
    """Answers by path; empty, and so false, unless something was switched on.

    The server path looks a request's path up here and nothing more: `path in answers`. A route that the application
    has for the path itself wins, which is said once; a route for anything (`/{rest:path}`, a mount at `/`) does not.

    Args:
        guard: says which paths were left to the application.
    """

    __slots__ = ("__weakref__", "_guard", "_kept")

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._guard = guard
        self._kept: weakref.WeakKeyDictionary[Any, dict[str, bool]] = weakref.WeakKeyDictionary()

    def of(self, app: Any, scope: MutableMapping[str, Any]) -> Answer | None:
        """The answer to an HTTP request; None when it is the application's.

        Args:
            app: the outermost application.
            scope: of the request; a `root_path` in front of the path is taken off.
        """
        path: str = scope["path"]
        answer = self.get(path)
        if answer is None:
            prefix: str = scope.get("root_path") or ""
            # servers put the prefix in front since ASGI 2.4, proxies may
            answer = self.get(path[len(prefix) :]) if prefix and path.startswith(prefix) else None
        if answer is None or scope.get("type") != "http" or self._keeps(app, path, scope):
            return None
        return answer

    def left(self, path: str) -> bool:
        """Whether an application that has been asked so far has this path itself."""
        return any(kept.get(path, False) for kept in tuple(self._kept.values()))

    def _keeps(self, app: Any, path: str, scope: MutableMapping[str, Any]) -> bool:
        """Whether the application has a route for exactly this path; worked out once for each."""
        kept = self._kept.setdefault(app, {})
        if path not in kept:
            kept[path] = bool(
                self._guard.call("paths of the application", False, _has_route, app, self.values(), scope)
            )
            if kept[path]:
                self._guard.warn(
                    f"{path} stays the application's own route, so what this distro would answer there is not shown; "
                    "remove that route or choose another path",
                    once=f"path {path}",
                )
        return kept[path]


def _has_route(app: Any, ours: Any, scope: MutableMapping[str, Any]) -> bool:
    for route in getattr(getattr(app, "router", None), "routes", ()):
        match, child = route.matches({**scope, "method": "GET"})
        if match.name != "FULL" or (hasattr(route, "app") and hasattr(route, "routes")):
            # a mount takes whatever lies below it
            continue
        if not child.get("path_params"):
            return not any(child.get("endpoint") is answer for answer in ours)
    return False
