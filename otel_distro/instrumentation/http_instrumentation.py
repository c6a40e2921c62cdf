"""What instrumentations of HTTP clients have in common: when they patch, and what contrib's instrumentor tells them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import ModuleType
from typing import Any, ClassVar

from .base import Toolbox
from .hooks import Hooks
from .http_client import HttpClient
from .takeover import Takeover


class HttpClientInstrumentation(ABC):
    """Patches a library when it is imported; contrib's module for it configures this instead of patching as well.

    Args:
        toolbox: see `Toolbox`.
        client: begins the exchanges.

    Attributes:
        name: see `Instrumentation`.
        contrib: contrib's module for the library.
        instrumentor: contrib's class in it.
    """

    name: ClassVar[str]
    contrib: ClassVar[str]
    instrumentor: ClassVar[str]

    def __init__(self, toolbox: Toolbox, client: HttpClient) -> None:
        self._guard = toolbox.guard
        self._client = client
        self._hooks = Hooks(self.name, toolbox.guard)
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
        self._hooks.forget()
        if self._takeover is not None:
            self._takeover.restore()
            self._takeover = None

    @abstractmethod
    def wrap(self, library: Any) -> None:
        """Patch the library, once."""

    @abstractmethod
    def unwrap(self) -> None:
        """Take the patches of the library back."""

    def configured(self, options: dict[str, Any]) -> None:  # noqa: B027 - most libraries have nothing of their own
        """Use what `instrument(...)` of contrib's class was given for this library alone."""

    def replace(self, module: ModuleType, takeover: Takeover) -> None:  # noqa: B027 - as above
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
        self._hooks.use(options)
        self.configured(options)
        if options.get("excluded_urls") is not None:
            # imported by those who exclude something
            from .url_exclusion import patterns_of

            self._client.exclude(patterns_of(options["excluded_urls"]))
        if options.get("tracer_provider") is not None:
            self._client.trace_by(options["tracer_provider"])


__all__ = ["HttpClientInstrumentation"]
