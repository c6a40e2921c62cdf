"""`SomeInstrumentor().instrument(...)` in the application's code, where the distro instruments that library already.

Contrib's instrumentor would wrap a second time and every call would make two spans. Its `instrument` becomes a way to
configure ours: the hooks and options that were given are used, and nothing is wrapped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar

from otel_distro.guard import Guard

from .base import Toolbox

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


class LibraryInstrumentation(ABC):
    """Patches a library when it is imported; contrib's module for it configures this instead of patching as well.

    Args:
        toolbox: see `Toolbox`.

    Attributes:
        name: see `Instrumentation`.
        contrib: contrib's module for the library.
        instrumentor: contrib's class in it.
    """

    name: ClassVar[str]
    contrib: ClassVar[str]
    instrumentor: ClassVar[str]

    def __init__(self, toolbox: Toolbox) -> None:
        self._guard = toolbox.guard
        self._library: Any = None
        self._takeover: Takeover | None = None

    def instrument(self, module: ModuleType) -> None:
        """Patch the library, or take over what contrib's module offers for it."""
        if module.__name__ == self.contrib:
            self._take_over(module)
        else:
            self._library = module
            self.wrap(module)

    def uninstrument(self) -> None:
        """Take every patch back."""
        self.unwrap()
        if self._takeover is not None:
            self._takeover.restore()
            self._takeover = None

    @abstractmethod
    def wrap(self, library: Any) -> None:
        """Patch the library, once."""

    @abstractmethod
    def unwrap(self) -> None:
        """Take the patches of the library back."""

    @abstractmethod
    def configured(self, options: dict[str, Any]) -> None:
        """Use what `instrument(...)` of contrib's class was given."""

    def replace(self, module: ModuleType, takeover: Takeover) -> None:  # noqa: B027 - not every module has more
        """Replace what contrib's module has besides `instrument` and `uninstrument`."""

    def _take_over(self, module: ModuleType) -> None:
        if self._takeover is None:
            self._takeover = Takeover(
                getattr(module, self.instrumentor),
                name=self.name,
                guard=self._guard,
                configure=self._configure,
                uninstrument=self.unwrap,
            )
            self.replace(module, self._takeover)

    def _configure(self, options: dict[str, Any]) -> None:
        if self._library is not None:
            self.wrap(self._library)
        self.configured(options)


__all__ = ["LibraryInstrumentation", "Takeover"]
