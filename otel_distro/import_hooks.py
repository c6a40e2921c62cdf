"""Calls back when a module has been imported, so that a library nobody uses costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .guard import Guard

if TYPE_CHECKING:
    # the base classes ask for importlib.resources and more, and the import system wants no base class
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec

Callback = Callable[[ModuleType], object]
Before = Callable[[], object]


class ImportHooks:
    """A finder that hands every import on and, after those it was asked about, calls back once.

    wrapt has the like; its import costs more than this whole module, and start-up is part of what is promised.

    Args:
        guard: gets callbacks that raise; the import itself always succeeds or fails as without us.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._callbacks: dict[str, list[Callback]] = {}
        self._before: dict[str, Before] = {}
        self._running: set[str] = set()

    def install(self) -> None:
        """Go first on `sys.meta_path`."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Leave `sys.meta_path`; callbacks that have not been called will not be."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def on_import(self, name: str, callback: Callback) -> None:
        """Call `callback(module)` once `name` has been imported: at once when it has been already."""
        module = sys.modules.get(name)
        if module is not None and name not in self._running:
            self._guard.call(f"import hook {name}", None, callback, module)
        else:
            self._callbacks.setdefault(name, []).append(callback)

    def before_import(self, name: str, callback: Before) -> None:
        """Call `callback()` when `name` is about to be imported for the first time; it may import it itself."""
        self._before[name] = callback

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the other finders give, with a loader that calls back."""
        before = self._before.pop(fullname, None)
        if before is not None:
            self._guard.call(f"import hook {fullname}", None, before)
            module = sys.modules.get(fullname)
            if module is not None:
                return _spec_of_imported(fullname, module)
        if fullname not in self._callbacks:
            return None
        for finder in tuple(sys.meta_path):
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    spec.loader = _CallingLoader(spec.loader, self)  # type: ignore[assignment]  # one by shape
                return spec
        return None

    def running(self, name: str) -> None:
        """The loader of `name` is about to run it: what is asked for from now on is called when it has."""
        self._running.add(name)

    def failed(self, name: str) -> None:
        """The loader of `name` raised: the callbacks wait for another try."""
        self._running.discard(name)

    def imported(self, module: ModuleType) -> None:
        """The loader of `module` has run it."""
        self._running.discard(module.__name__)
        for callback in self._callbacks.pop(module.__name__, ()):
            self._guard.call(f"import hook {module.__name__}", None, callback, module)


class _CallingLoader:
    """Stands in for a loader until the module has run, then leaves no trace on it."""

    def __init__(self, loader: Loader, hooks: ImportHooks) -> None:
        self._loader = loader
        self._hooks = hooks

    def __getattr__(self, name: str) -> Any:
        """Whoever asks before the import sees what the real loader has: `get_data`, `is_package`, ..."""
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # resources, pickling and tracebacks ask the module for its loader, also while it runs
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._hooks.running(module.__name__)
        try:
            self._loader.exec_module(module)
        except BaseException:
            self._hooks.failed(module.__name__)
            raise
        self._hooks.imported(module)


def _spec_of_imported(name: str, module: ModuleType) -> ModuleSpec:
    """A spec with which the import system, which is in the middle of importing `name`, ends with this very module."""
    from importlib.machinery import ModuleSpec

    original = module.__spec__
    spec = ModuleSpec(name, _Imported(original), is_package=hasattr(module, "__path__"))  # type: ignore[arg-type]
    # it takes the spec of the module rather than the one it is given (`importlib._bootstrap._find_spec`)
    module.__spec__ = spec
    return spec


class _Imported:
    """Gives a module that is there already to the import system, and leaves no trace on it."""

    def __init__(self, original: ModuleSpec | None) -> None:
        self._original = original

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._original
