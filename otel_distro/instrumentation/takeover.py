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
    """Replaces what contrib's package offers to applications until `restore`.

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
        self._replaced: list[tuple[Any, str, Any]] = []
        self.replace("instrument", lambda _self, **kwargs: self._call(configure, kwargs))
        self.replace("uninstrument", lambda _self, **_kwargs: self._call(uninstrument))

    def replace(self, method: str, function: Any) -> None:
        """Put `function` (a plain function or a `staticmethod`) in the place of a method of the class."""
        self.put(self._class, method, function)

    def put(self, place: Any, name: str, thing: Any) -> None:
        """Put `thing` in the place of an attribute of any class or module of contrib's."""
        self._replaced.append((place, name, vars(place).get(name)))
        setattr(place, name, thing)

    def restore(self) -> None:
        """Give every place its own back."""
        for place, name, original in reversed(self._replaced):
            if original is None:
                delattr(place, name)
            else:
                setattr(place, name, original)
        self._replaced.clear()

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        self._guard.info(
            f"{self._class.__name__}: otel-distro instruments {self._name} already; hooks and options are taken over",
            once=f"takeover {self._name}",
        )
        return self._guard.call(f"{self._name} takeover", None, function, *args)
