"""Import hooks: one call after the import, no trace on the module, no failure of ours in the import."""

from __future__ import annotations

import importlib
import importlib.resources
import sys
import threading
from collections.abc import Iterator
from importlib.abc import Loader
from pathlib import Path
from types import ModuleType

import pytest

from otel_distro.guard import Guard
from otel_distro.import_hooks import ImportHooks


@pytest.fixture
def hooks() -> Iterator[tuple[ImportHooks, list[str]]]:
    lines: list[str] = []
    made = ImportHooks(Guard(output=lambda level, text: lines.append(text)))
    made.install()
    yield made, lines
    made.remove()


@pytest.fixture
def package(tmp_path: Path) -> Iterator[str]:
    """A package of its own with a submodule and a data file."""
    name = f"hooked_{tmp_path.name.replace('-', '_')}"
    home = tmp_path / name
    home.mkdir()
    (home / "__init__.py").write_text("READY = True\n")
    (home / "part.py").write_text("import sys\nSEEN = __spec__.loader\n")
    (home / "data.txt").write_text("data")
    sys.path.insert(0, str(tmp_path))
    yield name
    sys.path.remove(str(tmp_path))
    for loaded in [module for module in sys.modules if module.startswith(name)]:
        del sys.modules[loaded]


def test_the_callback_sees_the_finished_module_once(hooks: tuple[ImportHooks, list[str]], package: str) -> None:
    """A callback gets the module after it has run, once, also when it is imported again."""
    seen: list[ModuleType] = []
    hooks[0].on_import(package, seen.append)
    module = importlib.import_module(package)
    importlib.import_module(package)
    assert seen == [module]
    assert module.READY


def test_what_is_imported_already_is_called_at_once(hooks: tuple[ImportHooks, list[str]], package: str) -> None:
    """A library that was imported before the distro started is covered too."""
    module = importlib.import_module(package)
    seen: list[ModuleType] = []
    hooks[0].on_import(package, seen.append)
    assert seen == [module]


def test_no_trace_is_left_on_the_module(hooks: tuple[ImportHooks, list[str]], package: str) -> None:
    """Loader, spec and resources are those of an import without hooks, also while the module runs."""
    hooks[0].on_import(package, lambda module: None)
    hooks[0].on_import(f"{package}.part", lambda module: None)
    module = importlib.import_module(f"{package}.part")
    assert type(module.__loader__).__name__ == "SourceFileLoader"
    assert module.SEEN is module.__spec__.loader is module.__loader__  # type: ignore[union-attr]
    assert importlib.resources.files(package).joinpath("data.txt").read_text() == "data"


def test_a_callback_that_raises_does_not_break_the_import(hooks: tuple[ImportHooks, list[str]], package: str) -> None:
    """The import succeeds, the next callback runs, the failure is said once."""
    seen: list[ModuleType] = []
    hooks[0].on_import(package, lambda module: 1 / 0)
    hooks[0].on_import(package, seen.append)
    assert importlib.import_module(package).READY
    assert len(seen) == 1
    assert len(hooks[1]) == 1


def test_a_module_that_is_missing_stays_missing(hooks: tuple[ImportHooks, list[str]]) -> None:
    """Waiting for a module that is not installed changes nothing about its ImportError."""
    hooks[0].on_import("no_such_module_here", lambda module: None)
    with pytest.raises(ModuleNotFoundError, match="no_such_module_here"):
        importlib.import_module("no_such_module_here")


def test_a_module_that_raises_is_tried_again(
    hooks: tuple[ImportHooks, list[str]], package: str, tmp_path: Path
) -> None:
    """When the first import fails, the callback waits for one that succeeds."""
    seen: list[ModuleType] = []
    hooks[0].on_import(f"{package}.broken", seen.append)
    broken = tmp_path / package / "broken.py"
    broken.write_text("raise RuntimeError('not yet')\n")
    with pytest.raises(RuntimeError):
        importlib.import_module(f"{package}.broken")
    assert seen == []
    broken.write_text("READY = 'now it can be'\n")
    importlib.invalidate_caches()
    importlib.import_module(f"{package}.broken")
    assert len(seen) == 1


def test_a_module_may_be_run_by_somebody_else_once(hooks: tuple[ImportHooks, list[str]], package: str) -> None:
    """`run_by` gets the real loader and the module; callbacks come behind it, and a later import runs as ever."""
    seen: list[str] = []

    def run(loader: Loader, module: ModuleType) -> None:
        seen.append("before")
        loader.exec_module(module)
        seen.append(f"run: {module.READY}")

    hooks[0].run_by(package, run)
    hooks[0].on_import(package, lambda module: seen.append("imported"))
    importlib.import_module(package)
    del sys.modules[package]
    importlib.import_module(package)
    assert seen == ["before", "run: True", "imported"]


def test_a_hidden_module_is_hidden_from_one_thread_only(hooks: tuple[ImportHooks, list[str]], package: str) -> None:
    """What is hidden cannot be found by the thread that hides it, while it does; another thread imports it."""
    others: list[ModuleType] = []
    with hooks[0].hidden(package):
        with pytest.raises(ModuleNotFoundError, match=package):
            importlib.import_module(package)
        thread = threading.Thread(target=lambda: others.append(importlib.import_module(package)))
        thread.start()
        thread.join()
    assert others == [importlib.import_module(package)]


@pytest.mark.parametrize("imported", ["", ".part"])
def test_what_takes_long_before_an_import_is_in_nobodys_way(
    hooks: tuple[ImportHooks, list[str]], package: str, tmp_path: Path, imported: str
) -> None:
    """A callback may import what another thread is importing below the same package, whichever of them began."""
    (tmp_path / package / "other.py").touch()
    raised: list[BaseException] = []
    others: list[ModuleType] = []

    def other() -> None:
        try:
            others.append(importlib.import_module(f"{package}.other"))
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=other)

    def before() -> None:
        thread.start()
        # until it has locked `other` and waits for its package, or has done
        while thread.is_alive() and not _waits(thread):
            pass
        assert importlib.import_module(f"{package}.other") is sys.modules[f"{package}.other"]

    hooks[0].before_import(package, before)
    module = importlib.import_module(f"{package}{imported}")
    thread.join()
    assert (raised, hooks[1]) == ([], [])
    assert others == [sys.modules[f"{package}.other"]]
    assert module is sys.modules[f"{package}{imported}"]
    assert not [name for name in _module_locks() if name.startswith(package)]


def test_a_handler_that_raises_while_an_import_waits_leaves_the_locks_as_they_were(
    hooks: tuple[ImportHooks, list[str]], package: str
) -> None:
    """What a callback lets through, the import raises, and it can be tried again."""

    def before() -> None:
        raise KeyboardInterrupt

    hooks[0].before_import(package, before)
    with pytest.raises(KeyboardInterrupt):
        importlib.import_module(f"{package}.part")
    assert not [name for name in _module_locks() if name.startswith(package)]
    assert importlib.import_module(f"{package}.part").__name__ == f"{package}.part"


def _module_locks() -> dict[str, object]:
    found: dict[str, object] = sys.modules["_frozen_importlib"]._module_locks  # type: ignore[attr-defined]
    return found


def _waits(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code.co_name == "acquire"
