"""Levels of loggers, by one variable; what it names stays so whatever an application's `dictConfig` says."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from otel_distro.guard import Guard

ROOT = "root"


class Levels:
    """Sets levels, and sets them again after each configuration of the application's.

    Args:
        levels: by name of the logger; `root` is the root logger.
        guard: gets what fails.
    """

    def __init__(self, levels: Mapping[str, int], guard: Guard) -> None:
        self._levels = levels
        self._guard = guard

    def apply(self) -> None:
        """Set the levels now."""
        for name, level in self._levels.items():
            logger = logging.getLogger() if name == ROOT else logging.getLogger(name)
            logger.setLevel(level)
            # `disable_existing_loggers` would silence a logger for no other reason than that it is named here
            logger.disabled = False

    def watch(self, module: ModuleType) -> None:
        """Set them again whenever `dictConfig` or `fileConfig` of `logging.config` has run; called at its import."""
        for name in ("dictConfig", "fileConfig"):
            setattr(module, name, self._again(getattr(module, name)))

    def watch_basic(self) -> None:
        """The same for `logging.basicConfig`."""
        logging.basicConfig = self._again(logging.basicConfig)

    def _again(self, configure: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(configure)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return configure(*args, **kwargs)
            finally:
                self._guard.call("log levels", None, self.apply)

        return call


__all__ = ["ROOT", "Levels"]
