"""The health of this process: everything that its endpoints and gauges are made from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from otel_distro import settings
from otel_distro.guard import Guard
from otel_distro.process import in_forked_child

from .access import Access
from .check import Check
from .lifecycle import Lifecycle
from .probe import Probe
from .registry import Registry
from .report import Identity, Kind, Outcome, answer
from .routes import HealthRoute

_KINDS = frozenset({"database", "redis"})
"""Names that stand for all dependencies of a kind, of which a process may have none."""


class Health:
    """Checks, phase and identity of one process, and the answers made from them.

    Args:
        options: which paths, times and rights.
        guard: where failures go.

    Attributes:
        registry: the checks.
        lifecycle: the phase.
        adopted: whether a running distro has given it its settings.
        asked_at: when somebody last asked whether it is ready, by `time.monotonic`.
    """

    def __init__(self, options: settings.Health, guard: Guard) -> None:
        self.options = options
        self.guard = guard
        self.registry = Registry(guard)
        self.lifecycle = Lifecycle(time.monotonic())
        self.adopted = False
        self.asked_at = float("-inf")
        self._identity = Identity()
        self._access = Access(options.token)
        self._routes = self._made_routes()
        self._named = self._named_dependencies()
        in_forked_child(self.after_fork, guard.failed)

    def configure(self, options: settings.Health, guard: Guard, attributes: Mapping[str, Any]) -> None:
        """Take the settings of the process.

        Args:
            options: see above.
            guard: see above.
            attributes: of the resource.
        """
        self.options, self.guard, self.adopted = options, guard, True
        self.registry.use(guard)
        self._identity = Identity.of(attributes)
        self._access = Access(options.token)
        self._routes = self._made_routes()
        self._named = self._named_dependencies()

    def routes(self) -> dict[str, HealthRoute]:
        """An ASGI application for each path; the same ones each time, by which they are known as ours."""
        return dict(self._routes)

    def _made_routes(self) -> dict[str, HealthRoute]:
        options = self.options
        paths = {
            Kind.DETAILED: options.detailed_paths,
            Kind.READY: options.ready_paths,
            Kind.BASIC: options.basic_paths,
            Kind.LIVE: options.live_paths,
        }
        return {path: route for kind, some in paths.items() for route in (HealthRoute(self, kind),) for path in some}

    @property
    def summary(self) -> str:
        """The phase and the newest result of each check, in one line; no check is run for it."""
        told = [self.lifecycle.phase.value, *self.lifecycle.reasons]
        for probe in self.registry.probes():
            last = probe.last
            why = "" if last is None or last.reason is None else f" ({last.reason})"
            told.append(f"{probe.check.name} {'not asked yet' if last is None else last.status.value}{why}")
        return ", ".join(told)

    async def answer(self, kind: Kind, scope: Any) -> tuple[int, bytes]:
        """Status code and body for a request; the checks run side by side, each within its timeout."""
        outcomes = await self.outcomes() if kind.checks else ()
        return answer(kind, self.lifecycle, outcomes, self._identity, details=self._access.allows(scope))

    async def outcomes(self) -> Sequence[Outcome]:
        """Every check with its result."""
        self.asked_at = time.monotonic()
        probes = self.registry.probes()
        if self._named:
            self._name_strangers(probes)
        # all have begun before one is waited for
        begun = [(probe, probe.begin()) for probe in probes]
        return [(probe.check, await probe.result(run)) for probe, run in begun]

    def _named_dependencies(self) -> frozenset[str]:
        """What `OTEL_DISTRO_HEALTH_CRITICAL` names one by one and not by kind."""
        return frozenset(self.options.critical) - _KINDS - {"none"}

    def _name_strangers(self, probes: Sequence[Probe]) -> None:
        """A name that is nobody's makes nothing critical: the process stays ready whatever fails."""
        there = [probe.check.name for probe in probes]
        missing = self._named.difference(there)
        if missing:
            self.guard.warn(
                f"OTEL_DISTRO_HEALTH_CRITICAL names {', '.join(sorted(missing))}, and so far no check is called so; "
                f"there are: {', '.join(there) or 'none'}",
                once="health critical",
            )

    def check(
        self,
        name: str,
        function: Callable[[], Any],
        *,
        critical: bool | None,
        timeout: float | None,
        cache: float | None,
        kind: str = "",
    ) -> Check:
        """A check with the process's defaults where the caller says nothing.

        Args:
            name: of the check.
            function: see `Check`.
            critical: None lets `OTEL_DISTRO_HEALTH_CRITICAL` decide.
            timeout: seconds.
            cache: seconds.
            kind: `database` or `redis`, by which the setting may name all of them.
        """
        options = self.options
        if critical is None:
            critical = name in options.critical or (kind != "" and kind in options.critical)
        return Check(
            name,
            function,
            critical,
            options.timeout / 1000 if timeout is None else max(0.001, timeout),
            options.cache / 1000 if cache is None else max(0.0, cache),
        )

    def after_fork(self) -> None:
        """In a child: its own uptime, none of the parent's runs."""
        self.asked_at = float("-inf")
        self.lifecycle.after_fork()
        self.registry.after_fork()
