"""Hooks before a first call: once, for that call as well, in the shape of what they stand before."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from otel_distro.first_calls import OF_API, OF_LIBRARIES, hook
from otel_distro.instrumentation.table import OURS


def library() -> tuple[ModuleType, Any]:
    """A module with classes of its own, and the first of them: what is hooked stays hooked."""

    class Library:
        def call(self, *parts: str, end: str = "") -> str:
            return "-".join(parts) + end

        async def wait(self, part: str) -> str:
            return part

    class Derived(Library):
        """Defines nothing itself."""

    module = ModuleType("library")
    vars(module).update(Library=Library, Derived=Derived, answer=lambda: "answer")
    return module, Library


def test_the_first_call_goes_through_what_waking_has_put_there() -> None:
    """The hooks are taken away, the library is patched, and the call that woke is the first that is told of."""
    module, kind = library()
    original = kind.call
    silences: list[Callable[[], None]] = []

    def wake() -> None:
        for silence in silences:
            silence()
        assert kind.call is original
        kind.call = lambda self, *args, **kwargs: f"told({original(self, *args, **kwargs)})"

    silences += hook(module, ("Library.call",), wake)
    assert kind.call is not original
    assert [kind().call("a", "b", end="!"), kind().call("c")] == ["told(a-b!)", "told(c)"]


def test_an_object_whose_method_somebody_kept_still_answers() -> None:
    """A bound method from before, and another library's patch above the hook, end in the original, once."""
    module, kind = library()
    kept = kind().call
    hook(module, ("Library.call",), lambda: None)
    hooked = kind().call
    below = kind.call
    kind.call = lambda self, part: f"theirs({below(self, part)})"
    assert [kept("a"), hooked("a"), kind().call("a")] == ["a", "a", "theirs(a)"]


def test_silence_leaves_what_others_have_put_above() -> None:
    """A hook that is taken away brings the very original back, and touches nobody else's patch."""
    module, kind = library()
    original = kind.call
    for silence in hook(module, ("Library.call",), lambda: None):
        silence()
    assert kind.call is original
    (silence,) = hook(module, ("Library.call",), lambda: None)
    kind.call = theirs = lambda self, part: part
    silence()
    assert kind.call is theirs


def test_a_coroutine_function_stays_one() -> None:
    """Servers look whether an application is a coroutine function, and get the answer they got before."""
    module, kind = library()
    woken: list[int] = []
    hook(module, ("Library.wait", "Library.call"), lambda: woken.append(1))
    assert inspect.iscoroutinefunction(kind().wait)
    assert not inspect.iscoroutinefunction(kind().call)
    assert asyncio.run(kind().wait("a")) == "a"
    assert woken == [1]


def test_what_a_version_does_not_define_itself_is_left_out() -> None:
    """A missing class, a missing method, an inherited one: no hook, and nothing is added to a class."""
    module, _ = library()
    assert hook(module, ("Missing.call", "Library.missing", "Derived.call", "nothing"), lambda: None) == []
    assert "call" not in vars(module.Derived)


def test_a_function_of_a_module_is_hooked_too() -> None:
    """Those of the API are no methods."""
    module, _ = library()
    woken: list[int] = []
    (silence,) = hook(module, ("answer",), lambda: woken.append(1))
    assert (module.answer(), woken) == ("answer", [1])
    silence()
    assert (module.answer(), woken) == ("answer", [1])


@pytest.mark.parametrize("name", sorted(OF_LIBRARIES))
def test_libraries_have_what_is_said_to_be_called_first(name: str) -> None:
    """Contract with each library: every module that is there defines at least one of the named methods."""
    for module_name, paths in OF_LIBRARIES[name].items():
        try:
            module = import_module(module_name)
        except ModuleNotFoundError:
            continue  # redis-py before 7.1 has no observability
        found = [path for path in paths if path.rpartition(".")[2] in vars(getattr(module, path.split(".")[0], object))]
        assert found, f"{module_name}: none of {paths}"


def test_only_our_own_libraries_wait_for_a_call() -> None:
    """What is named is an instrumentation of ours: nobody else's is known to take a late patch."""
    assert set(OF_LIBRARIES) <= {module for own in OURS for module in own.modules}


@pytest.mark.parametrize("name", sorted(OF_API))
def test_the_api_has_the_functions_that_ask_for_a_provider(name: str) -> None:
    """Contract with OpenTelemetry's API: each function is there, and nothing else of it gets or sets a provider."""
    functions = {found for found in vars(import_module(name)) if found.startswith(("get_", "set_"))}
    assert set(OF_API[name]) <= functions
    providers = {found for found in functions if "provider" in found or "textmap" in found}
    assert providers <= set(OF_API[name])
