"""Engines and clients of this process, found when they are made: nobody has to name them."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from otel_distro.import_hooks import ImportHooks

from . import dependencies
from .check import Check, is_silent

if TYPE_CHECKING:
    from .process import Health

_PART = "health of dependencies"
_There = Callable[[type], list[Any]]


class Finder:
    """Tells the registry about every SQLAlchemy engine and every Redis client.

    Args:
        health: of the process.
    """

    def __init__(self, health: Health) -> None:
        self._health = health

    def watch(self, hooks: ImportHooks) -> None:
        """Look at what is there, and at what is made from now on; costs something only where one is made."""
        for name, watch in (("sqlalchemy.engine", self._sqlalchemy), ("redis", self._redis)):
            # nothing has been made yet of what is imported later
            hooks.on_import(name, functools.partial(watch, living if name in sys.modules else _none))

    def _sqlalchemy(self, there: _There, module: ModuleType) -> None:
        self._watch(module.Engine, self.engine, there)

    def _redis(self, there: _There, module: ModuleType) -> None:
        kinds = [getattr(place, name, None) for place in (module, module.asyncio) for name in ("Redis", "RedisCluster")]
        for kind in filter(None, kinds):
            self._watch(kind, self.client, there)

    def _watch(self, kind: type, tell: Callable[[Any], None], there: _There) -> None:
        original: Any = kind.__init__  # type: ignore[misc]  # of the class as it is
        guard = self._health.guard

        @functools.wraps(original)
        def __init__(thing: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original(thing, *args, **kwargs)
            if not is_silent():
                # what a check makes for itself is not the application's
                guard.call(_PART, None, tell, thing)

        kind.__init__ = __init__  # type: ignore[misc]
        for thing in there(kind):
            guard.call(_PART, None, tell, thing)

    def engine(self, engine: Any) -> None:
        """Check an engine; one of a database in this process's memory has nothing to be asked."""
        if engine.dialect.name == "sqlite" and engine.url.database in {None, "", ":memory:"}:
            return
        namespace = engine.url.database if engine.dialect.name != "sqlite" else None
        taken = any(probe.check.name == "database" for probe in self._health.registry.probes())
        name = f"database:{namespace}" if taken and namespace else "database"
        make = functools.partial(self._check, "database", lambda _: dependencies.database(engine))
        self._health.registry.find(engine.dialect, name, make)

    def client(self, client: Any) -> None:
        """Check a client, or rather its pool: clients of one pool are one dependency, and may come and go."""
        identity = getattr(client, "connection_pool", client)
        make = functools.partial(self._check, "redis", lambda seconds: dependencies.redis(identity, seconds))
        self._health.registry.find(identity, "redis", make)

    def _check(self, kind: str, function: Callable[[float], Callable[[], Any]], name: str) -> Check:
        seconds = self._health.options.timeout / 1000
        return self._health.check(name, function(seconds), critical=None, timeout=None, cache=None, kind=kind)


def living(kind: type) -> list[Any]:
    """Objects of a class, or of one below it, that are there already: made before anybody asked for health.

    Only what refers to these classes is held meanwhile, as each of their objects does. To hold everything, as
    `gc.get_objects()` does, breaks other threads: a tuple that one of them is filling from an iterator cannot grow as
    long as somebody else holds it, and raises SystemError there (CPython, `_PyTuple_Resize`).
    """
    return [thing for thing in gc.get_referrers(*_below(kind)) if issubclass(type(thing), kind)]


def _below(kind: type) -> Iterator[type]:
    yield kind
    subclasses: list[type] = type.__subclasses__(kind)
    for each in subclasses:
        yield from _below(each)


def _none(_: type) -> list[Any]:
    return []
