"""The arbiter: one instrumentation a library, when it is imported, and a reason for each decision."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PathDistribution
from inspect import isabstract
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider

from otel_distro.guard import Guard
from otel_distro.import_hooks import ImportHooks
from otel_distro.instrumentation import contrib
from otel_distro.instrumentation.arbiter import Arbiter
from otel_distro.instrumentation.base import Toolbox
from otel_distro.instrumentation.table import OURS, Own
from otel_distro.settings import parse


class Recording:
    """An instrumentation that tells what it was asked to patch."""

    name: ClassVar[str] = "recording"
    seen: ClassVar[list[str]] = []

    def __init__(self, toolbox: Toolbox) -> None:
        self.toolbox = toolbox

    def instrument(self, module: ModuleType) -> None:
        self.seen.append(module.__name__)

    def uninstrument(self) -> None:
        self.seen.clear()


class Raising(Recording):
    """One that breaks while it patches."""

    def instrument(self, module: ModuleType) -> None:
        raise RuntimeError("no such attribute")


@pytest.fixture
def hooks() -> Iterator[ImportHooks]:
    made = ImportHooks(Guard(output=lambda level, text: None))
    made.install()
    Recording.seen.clear()
    sys.modules.pop("json.tool", None)
    yield made
    made.remove()
    # contrib's, which the arbiter has put in force for the whole process
    for kind in _below(BaseInstrumentor):
        if not isabstract(kind) and kind().is_instrumented_by_opentelemetry:
            kind().uninstrument()


def _below(kind: type[Any]) -> Iterator[type[Any]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _below(subclass)


def begin(hooks: ImportHooks, target: str, *, disabled: str = "") -> tuple[Arbiter, Guard]:
    guard = Guard(output=lambda level, text: None)
    settings = parse({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": disabled})[0].instrumentation
    own = Own("recording", ("json.tool",), f"{__name__}:{target}", ("sqlalchemy",))
    arbiter = Arbiter([own], Toolbox(NoOpTracerProvider(), NoOpMeterProvider(), settings, guard), hooks)
    arbiter.begin()
    return arbiter, guard


def decisions(arbiter: Arbiter) -> dict[str, tuple[str, str]]:
    return {decision.library: (decision.by, decision.reason) for decision in arbiter.decisions}


def test_a_library_is_instrumented_when_it_is_imported(hooks: ImportHooks) -> None:
    """Before the import nothing happens; after it the library is patched, once, and the decision says so."""
    arbiter, _ = begin(hooks, "Recording")
    assert decisions(arbiter)["recording"] == ("otel-distro", "waits for its import")
    assert Recording.seen == []
    import_module("json.tool")
    assert Recording.seen == ["json.tool"]
    assert decisions(arbiter)["recording"] == ("otel-distro", "json.tool was imported")


def test_what_ours_replaces_is_not_loaded_from_contrib(hooks: ImportHooks) -> None:
    """Contrib's instrumentor for the same library stays unloaded, with the reason."""
    arbiter, _ = begin(hooks, "Recording")
    assert decisions(arbiter)["sqlalchemy"] == ("otel-distro", "otel-distro's own recording takes its place")


def test_a_disabled_instrumentation_stays_off(hooks: ImportHooks) -> None:
    """OTEL_PYTHON_DISABLED_INSTRUMENTATIONS counts for ours and for contrib's alike."""
    arbiter, _ = begin(hooks, "Recording", disabled="recording,redis")
    import_module("json.tool")
    assert Recording.seen == []
    assert {decisions(arbiter)[name][0] for name in ("recording", "redis")} == {"nobody"}


def test_the_wildcard_disables_all(hooks: ImportHooks) -> None:
    """`*` leaves every library alone."""
    arbiter, _ = begin(hooks, "Recording", disabled="*")
    assert {by for by, _ in decisions(arbiter).values()} == {"nobody"}


def test_one_that_breaks_is_said_and_the_import_works(hooks: ImportHooks) -> None:
    """The library is imported as without us, the failure is counted with its remedy."""
    arbiter, guard = begin(hooks, "Raising")
    assert import_module("json.tool").main
    assert decisions(arbiter)["recording"] == ("nobody", "it raised RuntimeError")
    assert guard.failures[0].part == "instrumentation recording"
    assert "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=recording" in guard.failures[0].remedy


@pytest.mark.parametrize("own", OURS, ids=lambda own: own.name)
def test_the_table_says_what_the_classes_say(own: Own) -> None:
    """The table, which is read without importing the classes, has their names."""
    path, _, name = own.target.partition(":")
    found = getattr(import_module(path), name)
    assert own.name == found.name


@pytest.mark.parametrize(
    ("extra", "needs", "wanted"),
    [
        ("instruments", ["pytest>=999"], "pytest>=999"),
        ("instruments-any", ["pytest>=999", "no-such-package>=1"], "pytest>=999 or no-such-package>=1"),
    ],
)
def test_what_contrib_wants_instead_is_told(tmp_path: Path, extra: str, needs: list[str], wanted: str) -> None:
    """A library of a version that an instrumentor refuses is one line: what is there, and what would do."""
    folder = tmp_path / "thing-1.dist-info"
    folder.mkdir()
    required = "".join(f"Requires-Dist: {need}; extra == '{extra}'\n" for need in needs)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: thing\nVersion: 1\n{required}")
    (folder / "entry_points.txt").write_text("[opentelemetry_instrumentor]\nthing = thing:Thing\n")
    (point,) = PathDistribution(folder).entry_points
    lines: list[str] = []
    decision = contrib._load(point, Guard(output=lambda _, text: lines.append(text)))
    reason = f"installed is pytest {pytest.__version__}, contrib's instrumentor wants {wanted}"
    assert (decision.by, decision.reason) == ("nobody", reason)
    assert lines == [f"thing is not instrumented: {reason}"]
