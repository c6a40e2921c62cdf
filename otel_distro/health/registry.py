"""The checks of this process: those that were declared, and those of engines and clients that were found."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from otel_distro.guard import Guard

from .check import Check
from .probe import Probe

MOST = 64
"""Checks of one process; with a thread that hangs for each, still few."""

Make = Callable[[str], Check]


class Registry:
    """Checks by name; a declared one replaces another of its name.

    Args:
        guard: says what is left out.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._declared: dict[str, Probe] = {}
        self._found: dict[int, tuple[weakref.ref[Any], Probe]] = {}
        self._claimed: set[int] = set()
        self._lock = threading.RLock()

    def use(self, guard: Guard) -> None:
        """Say things to another guard from now on."""
        self._guard = guard

    def probes(self) -> Sequence[Probe]:
        """All checks there are now, declared ones first."""
        with self._lock:
            # copied in one step: a garbage collection in between may take something out
            found = tuple(self._found.values())
            return (*self._declared.values(), *(probe for _, probe in found))

    def declare(self, check: Check) -> None:
        """Add a check, or replace the one of its name."""
        with self._lock:
            if check.name in self._declared or self._has_room(check.name):
                self._declared[check.name] = Probe(check, self._guard)

    def claim(self, identity: object) -> None:
        """What stands for an engine or a client has a declared check; it is not found as well."""
        key = id(identity)
        with self._lock:
            self._claimed.add(key)
            self._found.pop(key, None)
            weakref.finalize(identity, self._claimed.discard, key)

    def find(self, identity: Any, name: str, make: Make) -> None:
        """Check what was found, for as long as it lives.

        Args:
            identity: the object that stands for it, which is not kept alive.
            name: preferred; another one of that name gets a number behind it.
            make: makes the check under the name that it gets.
        """
        key = id(identity)
        with self._lock:
            if key in self._found or key in self._claimed or not self._has_room(name):
                return
            taken = {probe.check.name for probe in self.probes()}
            number = next(n for n in range(1, MOST + 2) if (name if n == 1 else f"{name}-{n}") not in taken)
            check = make(name if number == 1 else f"{name}-{number}")
            reference = weakref.ref(identity, lambda _: self._found.pop(key, None))
            self._found[key] = (reference, Probe(check, self._guard))

    def after_fork(self) -> None:
        """In a child: nothing of the parent's runs there."""
        self._lock = threading.RLock()
        for probe in self.probes():
            probe.forget()

    def _has_room(self, name: str) -> bool:
        if len(self._declared) + len(self._found) < MOST:
            return True
        self._guard.warn(f"more than {MOST} health checks: {name!r} and later ones are left out", once="health checks")
        return False
