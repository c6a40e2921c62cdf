"""Calls back when a module has been imported, so that a library nobody uses costs nothing."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .guard import Guard

if TYPE_CHECKING:
    # the base classes ask for importlib.resources and more, and the import system wants no base class
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec

Callback = Callable[[ModuleType], object]
Before = Callable[[], object]
Run = Callable[["Loader", ModuleType], object]

_GIVE_WAY = 0.001  # seconds


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
        self._runs: dict[str, Run] = {}
        self._running: set[str] = set()
        self._hidden: dict[int, str] = {}

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

    def run_by(self, name: str, run: Run) -> None:
        """Have `run(loader, module)` run `name` when it is imported, once; what it raises, the import raises."""
        self._runs[name] = run

    @contextmanager
    def hidden(self, name: str) -> Iterator[None]:
        """To this thread's imports, `name` is not installed, unless it has been imported."""
        here = threading.get_ident()
        self._hidden[here] = name
        try:
            yield
        finally:
            self._hidden.pop(here, None)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the other finders give, with a loader that calls back.

        Raises:
            ModuleNotFoundError: if `fullname` is `hidden` here.
        """
        if self._hidden and self._hidden.get(threading.get_ident()) == fullname:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        announced = fullname in self._before
        # as `_awaits`, written out: some libraries try an import that fails with each call
        if not announced and fullname not in self._callbacks and fullname not in self._runs:
            return None
        for finder in tuple(sys.meta_path):
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if announced:
                    spec.loader = _AnnouncingLoader(spec.loader, self)  # type: ignore[assignment]  # one by shape
                else:
                    self.call_afterwards(spec)
                return spec
        return None

    def call_afterwards(self, spec: ModuleSpec) -> None:
        """Have the loader of `spec` call back, where somebody waits for its module."""
        if self._awaits(spec.name) and spec.loader is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _CallingLoader(spec.loader, self)  # type: ignore[assignment]  # one by shape

    def announce(self, name: str) -> None:
        """The loader of `name` is about to make it."""
        before = self._before.pop(name, None)
        if before is not None:
            with _unlocked(name):
                self._guard.call(f"import hook {name}", None, before)

    def run(self, loader: Loader, module: ModuleType) -> None:
        """Have `loader` run `module`, and call back; if it raises, the callbacks wait for another try."""
        name = module.__name__
        self._running.add(name)  # what is asked for from now on is called when it has run
        try:
            run = self._runs.pop(name, None)
            if run is None:
                loader.exec_module(module)
            else:
                run(loader, module)
        finally:
            self._running.discard(name)
        for callback in self._callbacks.pop(name, ()):
            self._guard.call(f"import hook {name}", None, callback, module)

    def _awaits(self, name: str) -> bool:
        return name in self._callbacks or name in self._runs


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
        self._hooks.run(self._loader, module)


class _AnnouncingLoader:
    """Stands in for a loader until it is asked for the module, and calls back before that.

    Not the finder: the import system holds the lock of all imports while it asks one, and who imports something there
    waits for ever for a thread that is in the middle of importing the same.
    """

    def __init__(self, loader: Loader | None, hooks: ImportHooks) -> None:
        self._loader = loader
        self._hooks = hooks
        self._imported = False
        self._original: ModuleSpec | None = None

    def __getattr__(self, name: str) -> Any:
        """See `_CallingLoader.__getattr__`."""
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        self._hooks.announce(spec.name)
        there = sys.modules.get(spec.name)
        if there is not None:
            # the callback has imported it: the import system ends with that very module
            self._imported, self._original = True, there.__spec__
            return there
        loader: Any = spec.loader
        if loader is self:
            spec.loader = self._loader
            self._hooks.call_afterwards(spec)
        return None if self._loader is None else self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if self._imported:
            module.__spec__ = self._original
        elif self._loader is not None:
            # a lazy loader has put itself between the two
            self._loader.exec_module(module)


@contextmanager
def _unlocked(name: str) -> Iterator[None]:
    """Unlock what this thread imports `name` for, while that import is put off; nothing of it has been made yet.

    `import a.b.c` locks `a.b.c`, then `a.b`, then `a`, and only then makes any of them. Where `a` takes long, a thread
    that wants `a.b.d` waits with that one locked; whoever imports it in the meantime has gone in a circle, and Python
    raises in one of the two.
    """
    package, here = name.partition(".")[0], threading.get_ident()
    held: list[Any] = []
    for of, lock in _held_locks():
        # of a module that runs already, others would see the half
        while lock.owner == here and of not in sys.modules and of.partition(".")[0] == package:
            lock.release()
            held.append(lock)
    try:
        yield
    finally:
        _lock_again(held, here)


def _lock_again(locks: Sequence[Any], here: int) -> None:
    """Lock them, as the imports of the thread `here` expect it when they go on; whatever is raised is raised then."""
    interrupt: BaseException | None = None
    while True:
        try:
            for lock in locks:
                lock.acquire()
            break
        except BaseException as error:  # noqa: BLE001 - see above
            for lock in locks:
                while lock.owner == here:
                    lock.release()
            # a RuntimeError is a circle with a thread that can go on now
            if not isinstance(error, RuntimeError):
                interrupt = error
            time.sleep(_GIVE_WAY)
    if interrupt is not None:
        raise interrupt


def _held_locks() -> list[tuple[str, Any]]:
    """The modules that are being imported and the locks of their imports, the first one to begin first."""
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})  # no public name tells
    found = [(name, reference()) for name, reference in tuple(locks.items())]
    return [(name, lock) for name, lock in found if getattr(lock, "owner", None) is not None]


def locked_for_ever() -> str | None:
    """A module that was being imported by another thread when this process was forked, by name; for the child."""
    here = threading.get_ident()
    return next((name for name, lock in _held_locks() if lock.owner != here), None)
