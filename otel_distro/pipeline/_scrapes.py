"""`/metrics` in the life of a process: which group it belongs to, and when it begins to answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, MutableMapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import Meter
from opentelemetry.sdk.resources import Resource
from opentelemetry.util.types import Attributes

from otel_distro.guard import Guard
from otel_distro.metrics import LeanMeterProvider, LocalStore, Store
from otel_distro.process import in_forked_child, launch

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData

    from otel_distro.prometheus import Answer, Endpoint, MetricsRoute

Killed = Callable[["MetricsData"], object] | None
"""Sends the last numbers of a killed process, where that can be done."""


def group(environ: MutableMapping[str, str], service: str, port: int) -> str:
    """The name of this process's group: the processes of one launch of one service on one port of one network.

    Args:
        environ: read, and written for the children.
        service: `service.name`.
        port: of `/metrics`.
    """
    from otel_distro.metrics.shared import group_name, network

    return group_name(launch(environ), service, port, network())


def store(
    environ: MutableMapping[str, str], name: str, guard: Guard, resource: Callable[[], Resource], *, serves: bool
) -> Store:
    """The series of this process: shared with its group, or its own where nothing can be shared (said once).

    Args:
        environ: says where the directory may be.
        name: of the group.
        guard: gets what fails.
        resource: of this process.
        serves: this process does the application's work; of one that supervises, nothing that it observes of itself is
            in the group's numbers, although it collects them where it pushes.
    """
    from otel_distro.metrics.shared import directories, open_store

    bases = directories(environ)
    return guard.call("shared metrics", LocalStore(), open_store, bases, name, guard, resource, observes=serves)


def killed(made: Iterable[tuple[str, Any]]) -> Killed:
    """Sends what others of the group had counted when they were killed; None where nothing is pushed by OTLP.

    Only by our own exporter, which may be called by several threads, and only cumulative numbers: what a dead process
    had sent of its differences nobody knows.

    Args:
        made: exporters by name.
    """
    ours = [exporter for name, exporter in made if name == "otlp" and getattr(exporter, "takes_last_numbers", False)]
    return (lambda data: [exporter.export(data) for exporter in ours]) if ours else None


class Scrapes:
    """Begins to answer scrapes when somebody measures, or a server is about to start; never in a supervisor.

    A thread that is older than a fork makes Python 3.12 warn in the application, and a program that measures nothing
    needs no port.

    Args:
        make: makes what answers; called when it begins, so that who measures nothing does not pay its import.
        serves: this process does the application's work; else only its forked children do.
        guard: gets what fails.
    """

    def __init__(self, make: Callable[[], Endpoint], *, serves: bool, guard: Guard) -> None:
        self._make = make
        self._endpoint: Endpoint | None = None
        self._serves = serves
        self._guard = guard
        self._begun = False
        self._route: MetricsRoute | None = None
        in_forked_child(self._in_child, guard.failed)

    def begin(self, module: ModuleType | None = None, *, patiently: bool = False) -> None:
        """Answer from now on, where this process serves; again is harmless.

        Args:
            module: what was imported, when an import was the sign.
            patiently: see `Keeper.start`.
        """
        del module
        if self._serves and not self._begun:
            self._begun = True
            self._guard.call("/metrics", None, self._start, patiently=patiently)

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        """An ASGI application that answers scrapes on the application's own port, whichever process got the request."""
        if self._route is None:
            from otel_distro.prometheus import MetricsRoute

            self._route = MetricsRoute(self._scrape, self._guard)
        await self._route(scope, receive, send)

    def place(self) -> tuple[bool, str]:
        """Whether the port answers, and its address or why it does not."""
        if self._endpoint is None or not self._begun:
            return False, "from the first measurement on" if self._serves else "its workers answer"
        return self._endpoint.place()

    def end(self, seconds: float) -> None:
        """Give the port back to the others of the group, within `seconds`."""
        if self._endpoint is not None:
            self._endpoint.stop(min(seconds, 1.0))

    def rest(self) -> None:
        """Answer nothing until `go_on`: this process is about to become another user's."""
        if self._endpoint is not None:
            self._guard.call("/metrics", None, self._endpoint.stop)

    def go_on(self) -> None:
        """Answer again, as a member of another group."""
        if self._endpoint is not None:
            self._guard.call("/metrics", None, self._endpoint.after_fork)
            if self._begun:
                self._guard.call("/metrics", None, self._start, patiently=True)

    def _start(self, *, patiently: bool) -> None:
        self._made().start(patiently=patiently)

    def _scrape(self, accept: str, accept_encoding: str) -> Answer:
        return self._made().scrape(accept, accept_encoding)

    def _made(self) -> Endpoint:
        if self._endpoint is None:
            self._endpoint = self._make()
            # hooks run in the order of their registration: before the endpoint's own this would start what that ends
            in_forked_child(self._begin_in_child, self._guard.failed)
        return self._endpoint

    def _in_child(self) -> None:
        if self._endpoint is None:
            self._begin_in_child()

    def _begin_in_child(self) -> None:
        # children of a supervisor are workers; those of a process that serves may outlive it and take over
        if not self._serves or self._begun:
            self._serves, self._begun = True, False
            self.begin(patiently=os.geteuid() == 0)


class ScrapedMeterProvider(LeanMeterProvider):
    """A meter provider that tells when it is first asked for a meter."""

    on_meter: Callable[[], None] | None = None

    def get_meter(
        self, name: str, version: str | None = None, schema_url: str | None = None, attributes: Attributes = None
    ) -> Meter:
        """As the base class; the first call begins the scrapes."""
        asked, self.on_meter = self.on_meter, None
        if asked is not None:
            asked()
        return super().get_meter(name, version, schema_url, attributes)
