"""Hooks and options that the application gave to contrib's instrumentor, kept for ours."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from otel_distro.guard import Guard
from otel_distro.records import dataclass

from .calls import guarded

Hook = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class HookSet:
    """The hooks of all clients, or of one.

    Attributes:
        request: called when a span has begun.
        response: called before it ends.
        async_request: the same for asynchronous clients; returns an awaitable.
        async_response: likewise.
    """

    request: Hook | None = None
    response: Hook | None = None
    async_request: Hook | None = None
    async_response: Hook | None = None


class Hooks:
    """The hooks of one library.

    Args:
        library: for messages.
        guard: gets hooks that raise; the call they look at goes on.

    Attributes:
        wanted: whether any client has hooks or is to be left alone: the one thing a call without hooks looks at.
    """

    __slots__ = ("_all", "_guard", "_library", "_of_one", "_silent", "wanted")

    def __init__(self, library: str, guard: Guard) -> None:
        self._library = library
        self._guard = guard
        self.forget()

    def use(self, options: Mapping[str, Any]) -> None:
        """Hooks for every client, by the names of contrib's arguments."""
        self._all = self._set(options)
        self._look()

    def use_for(self, owner: object, options: Mapping[str, Any]) -> None:
        """Hooks for one client (or transport, or session)."""
        self._silent.discard(owner)
        self._of_one[owner] = self._set(options)
        self._look()

    def silence(self, owner: object) -> None:
        """No telemetry for this client."""
        self._silent.add(owner)
        self._look()

    def forget(self) -> None:
        """No hooks at all."""
        self._all = HookSet()
        self._of_one: weakref.WeakKeyDictionary[object, HookSet] = weakref.WeakKeyDictionary()
        self._silent: weakref.WeakSet[object] = weakref.WeakSet()
        self.wanted = False

    def of(self, owner: object) -> HookSet | None:
        """The hooks for this client, None where it is to be left alone."""
        if owner in self._silent:
            return None
        return self._of_one.get(owner, self._all)

    def _look(self) -> None:
        self.wanted = bool(self._of_one) or bool(self._silent) or self._all != HookSet()

    def _set(self, options: Mapping[str, Any]) -> HookSet:
        part = f"{self._library} hook"
        return HookSet(
            request=guarded(self._guard, part, options.get("request_hook")),
            response=guarded(self._guard, part, options.get("response_hook")),
            async_request=guarded(self._guard, part, options.get("async_request_hook")),
            async_response=guarded(self._guard, part, options.get("async_response_hook")),
        )
