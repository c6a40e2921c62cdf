"""redis-py's import of the metrics SDK, which it reads in an annotation alone: put off until somebody uses it.

From 7.2 on, `redis.observability.providers` imports it wherever it is installed, and so did every application that
uses Redis. That took a fifth of what our own start takes, and close to a megabyte.
"""

from __future__ import annotations

import sys
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from .guard import Guard, is_interrupt
from .import_hooks import ImportHooks

if TYPE_CHECKING:
    from importlib.abc import Loader

_SDK = "opentelemetry.sdk.metrics"
_CLASS = "MeterProvider"
_FLAG = "OTEL_AVAILABLE"
_FUNCTION = 0x1  # CO_OPTIMIZED, which the code of a class or a module has not; `inspect` takes long to import


def run_without_sdk(hooks: ImportHooks, guard: Guard, loader: Loader, module: ModuleType) -> None:
    """Run `redis.observability.providers`: without the SDK, unless that is there or this redis-py does more with it.

    Raises:
        Exception: what the module raises with the SDK.
    """
    if _SDK in sys.modules or not guard.call("import of redis", False, _only_annotates, loader, module.__name__):
        loader.exec_module(module)
        return
    try:
        with hooks.hidden(_SDK):
            loader.exec_module(module)
    except Exception as error:
        if is_interrupt(error):
            raise
        # whatever it is, it may be for want of the SDK
        loader.exec_module(module)
        return
    guard.call("import of redis", None, _complete, module)


def _only_annotates(loader: Any, name: str) -> bool:
    return not used_later(loader.get_code(name), {_CLASS, _FLAG})


def used_later(code: CodeType, names: set[str]) -> bool:
    """Whether a function in the code of a module names one of `names`, as a global or otherwise."""
    if code.co_flags & _FUNCTION and not names.isdisjoint(code.co_names):
        return True
    return any(used_later(inner, names) for inner in code.co_consts if isinstance(inner, CodeType))


def _complete(module: ModuleType) -> None:
    """What the module has with the SDK, it has now; the class when it is asked for."""
    there: dict[str, Any] = vars(module)
    if there.get(_FLAG) is not False or there.get(_CLASS, module) is not None or "__getattr__" in there:
        return
    there[_FLAG] = True
    del there[_CLASS]

    def missing(name: str) -> Any:
        if name != _CLASS:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        from opentelemetry.sdk.metrics import MeterProvider

        there[_CLASS] = MeterProvider
        return MeterProvider

    there["__getattr__"] = missing


__all__ = ["run_without_sdk", "used_later"]
