"""`/metrics` as a whole: the numbers of this process or of its group, on a port and for whoever mounts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource

from otel_distro.guard import Guard
from otel_distro.metrics.provider import LeanMeterProvider
from otel_distro.metrics.shared import GroupSource, SharedStore
from otel_distro.metrics.source import LocalSource
from otel_distro.process import in_forked_child

from .keeper import Keeper, ask
from .render import Renderer
from .scraper import Answer, Scraper
from .server import Server

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData

_ONE_PROCESS = ("process.pid", "thread.id")


class Endpoint:
    """Answers scrapes, on its own port (`start`) or wherever `scrape` is called.

    With a `SharedStore` every process of the group gives the same numbers, those of all; `target_info` then names
    the group as `service.instance.id`, so that it does not change with the process that answers.

    Args:
        provider: whose numbers are shown.
        guard: gets failures.
        host: to bind.
        port: to bind; 0 for any.
        listens: whether there is a port at all; without one scrapes come through `scrape`.
        instance_id: what `target_info` shows as `service.instance.id`; None for the resource's own.
        scope_labels: whether samples name their instrumentation scope.
        killed: gets the last numbers of processes of the group that were killed.
    """

    def __init__(
        self,
        provider: LeanMeterProvider,
        guard: Guard,
        *,
        host: str = "127.0.0.1",
        port: int = 9464,
        listens: bool = True,
        instance_id: str | None = None,
        scope_labels: bool = True,
        killed: Callable[[MetricsData], object] | None = None,
    ) -> None:
        self._provider = provider
        self._instance_id = instance_id
        self._shown: tuple[Resource, Resource] | None = None
        renderer = Renderer(guard, self._target, scope_labels=scope_labels)
        store = provider.store
        self._group: GroupSource | None = None
        self._server = Server(self.scrape, host, port, guard) if listens else None
        if isinstance(store, SharedStore):
            self._group = group = GroupSource(
                provider,
                store,
                guard,
                pause=renderer.pause,
                refresh=lambda: ask(store.group.path, store.name),
                killed=killed,
            )
            self._scraper = Scraper(group, renderer)
            self._keeper = Keeper(
                self._server,
                guard,
                directory=lambda: store.group.path,
                name=lambda: store.name,
                observe=lambda: provider.observe_within(1000),
                tidy=group.tidy,
                sweep=lambda: store.group.sweep(0.05),
            )
        else:
            self._scraper = Scraper(LocalSource(provider), renderer)
            self._keeper = Keeper(self._server, guard)
        in_forked_child(self.after_fork, guard.failed)

    @property
    def port(self) -> int:
        """The port this process answers on; 0 while another process of the group does, or none."""
        return 0 if self._server is None else self._server.port

    def place(self) -> tuple[bool, str]:
        """Once started: whether the port answers, and its address or why it does not; nothing without a port."""
        server = self._server
        if server is None:
            return False, ""
        if server.port == 0 and self._keeper.owns:
            return False, f"{server.address} cannot be bound"
        return True, server.address + ("" if server.port else ", by another process of the group")

    def start(self, *, patiently: bool = False) -> None:
        """Bind the port unless another process of the group has it, and take over when that ends.

        For processes that serve, once they have forked for the last time; supervisors never call it.

        Args:
            patiently: see `Keeper.start`.
        """
        self._keeper.start(patiently=patiently)

    def stop(self, timeout: float = 1.0) -> None:
        """Give the port back, within about `timeout` seconds."""
        self._keeper.stop(timeout)

    def scrape(self, accept: str = "", accept_encoding: str = "") -> Answer:
        """One scrape, for a route of the application; blocks for some milliseconds, so not on an event loop.

        Args:
            accept: the request's `Accept`.
            accept_encoding: the request's `Accept-Encoding`.
        """
        return self._scraper.scrape(accept, accept_encoding)

    def after_fork(self) -> None:
        """In a child: the port and its threads are the parent's; or in a process that is another user's from now on."""
        if self._group is not None:
            self._group.forget()
        self._scraper.after_fork()
        self._keeper.after_fork()

    def _target(self) -> Resource:
        """The resource that `target_info` shows; the same object while nothing has changed."""
        resource = self._provider.resource
        if self._instance_id is None:
            return resource
        if self._shown is None or self._shown[0] is not resource:
            attributes = {k: v for k, v in resource.attributes.items() if k not in _ONE_PROCESS}
            attributes["service.instance.id"] = self._instance_id
            self._shown = (resource, Resource(attributes, resource.schema_url))
        return self._shown[1]
