"""`SomeInstrumentor().instrument(...)` in the application's code, where the distro instruments that library already.

Contrib's instrumentor would wrap a second time and every call would make two spans. Its `instrument` becomes a way to
configure ours: the hooks and options that were given are used, and nothing is wrapped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otel_distro.guard import Guard

Configure = Callable[[dict[str, Any]], Any]


class Takeover:
    """Replaces methods of contrib's instrumentor class until `restore`.

    Args:
        instrumentor: contrib's class.
        name: the library, for messages.
        guard: where failures go.
        configure: gets the arguments of `instrument(...)`.
        uninstrument: called for `uninstrument()`.
    """

    def __init__(
        self,
        instrumentor: type,
        *,
        name: str,
        guard: Guard,
        configure: Configure,
        uninstrument: Callable[[], None],
    ) -> None:
        self._class = instrumentor
        self._name = name
        self._guard = guard
        self._replaced: dict[str, Any] = {}
        self.replace("instrument", lambda _self, **kwargs: self._call(configure, kwargs))
        self.replace("uninstrument", lambda _self, **_kwargs: self._call(uninstrument))

    def replace(self, method: str, function: Any) -> None:
        """Put `function` (a plain function or a `staticmethod`) in the place of a method of the class."""
        self._replaced[method] = self._class.__dict__.get(method)
        setattr(self._class, method, function)

    def restore(self) -> None:
        """Give the class its own methods back."""
        for method, original in self._replaced.items():
            if original is None:
                delattr(self._class, method)
            else:
                setattr(self._class, method, original)
        self._replaced.clear()

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        self._guard.info(
            f"{self._class.__name__}: otel-distro instruments {self._name} already; hooks and options are taken over",
            once=f"takeover {self._name}",
        )
        return self._guard.call(f"{self._name} takeover", None, function, *args)
