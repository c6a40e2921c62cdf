"""Decides per library who instruments it: the library itself, ours or contrib's; and can say why."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from importlib import import_module
from types import ModuleType

from otel_distro.import_hooks import ImportHooks
from otel_distro.installed import Point

from . import contrib
from .base import Instrumentation, Toolbox
from .contrib import Decision
from .table import CONTRIB_AFTER, CONTRIB_MODULES, Own


class Arbiter:
    """Loads instrumentations when their libraries are imported.

    Args:
        own: our instrumentations.
        toolbox: what they are built from.
        hooks: where imports are watched.
    """

    def __init__(self, own: Iterable[Own], toolbox: Toolbox, hooks: ImportHooks) -> None:
        self._own = tuple(own)
        self._toolbox = toolbox
        self._hooks = hooks
        self._loaded: dict[str, Instrumentation] = {}
        self._decisions: dict[str, Decision] = {}

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Who instruments what and why, as far as it has been decided."""
        return tuple(self._decisions.values())

    def begin(self) -> None:
        """Watch for the libraries of ours and of contrib's table, and load what cannot wait."""
        disabled = self._toolbox.settings.disabled
        replaced: dict[str, str] = {}
        for own in self._own:
            if "*" in disabled or own.name in disabled:
                self._decide(Decision(own.name, "nobody", "disabled by OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"))
            else:
                replaced |= dict.fromkeys(own.replaces, f"otel-distro's own {own.name} takes its place")
                self._decide(Decision(own.name, "otel-distro", "waits for its import"))
                self._watch(own)
        mine = {own.name for own in self._own}
        self._begin_contrib(disabled, mine, replaced)

    def _begin_contrib(self, disabled: Collection[str], mine: Collection[str], replaced: Mapping[str, str]) -> None:
        for point in contrib.installed():
            module = CONTRIB_MODULES.get(point.name)
            if point.name in mine:
                continue
            if module is None or point.name in replaced or "*" in disabled or point.name in disabled:
                self._load_contrib(point, disabled, replaced)
            else:
                self._decide(Decision(point.name, "contrib", f"waits for the import of {module}"))
                self._hooks.on_import(module, partial(self._imported, point))

    def _imported(self, point: Point, module: ModuleType) -> None:
        ready = CONTRIB_AFTER.get(point.name)
        if ready is None:
            self._load_contrib(point, (), {})
        else:
            # imported by those whose library is one of the few that need it
            from .readiness import after_first_return

            self._decide(Decision(point.name, "contrib", f"waits for {module.__name__}.{ready}()"))
            after_first_return(module, ready, lambda: self._load_contrib(point, (), {}))

    def _load_contrib(self, point: Point, disabled: Collection[str], replaced: Mapping[str, str]) -> None:
        self._decide(contrib.load_one(point, disabled=disabled, skip=replaced, guard=self._toolbox.guard))

    def _watch(self, own: Own) -> None:
        for module in own.modules:
            self._hooks.on_import(module, partial(self._instrument, own))

    def _instrument(self, own: Own, module: ModuleType) -> None:
        try:
            instrumentation = self._loaded.get(own.name)
            if instrumentation is None:
                path, _, name = own.target.partition(":")
                instrumentation = getattr(import_module(path), name)(self._toolbox)
                self._loaded[own.name] = instrumentation
            instrumentation.instrument(module)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the library works without us
            remedy = f"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS={own.name} silences this"
            self._toolbox.guard.failed(f"instrumentation {own.name}", error, remedy=remedy)
            self._decide(Decision(own.name, "nobody", f"it raised {type(error).__name__}"))
            return
        self._decide(Decision(own.name, "otel-distro", f"{module.__name__} was imported"))

    def _decide(self, decision: Decision) -> None:
        self._decisions[decision.library] = decision
