"""What every trace backend answers, so that an assertion is written once and runs against each."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from tests.servers.base import Server
from tests.servers.waiting import wait_until

if TYPE_CHECKING:
    from tests.servers.signals import SpanRecord


class TraceBackend(Server):
    """A server that takes traces by OTLP/gRPC and shows them again."""

    @property
    @abstractmethod
    def otlp_endpoint(self) -> str:
        """`host:port` of the OTLP/gRPC receiver."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Base URL of the query API, and of the pages where it has some."""

    @abstractmethod
    def trace_url(self, trace_id: str) -> str:
        """Address that shows one trace (as JSON: test builds hold no pages)."""

    @abstractmethod
    def trace(self, trace_id: str) -> list[SpanRecord]:
        """Spans of a trace (id in hex) by start time; empty while the backend does not know it.

        Raises:
            OSError: no connection, or an error status.
        """

    @abstractmethod
    def search(self, service: str) -> list[str]:
        """Ids in hex of up to 1,000 traces of the last hour that have a span of `service`.

        Raises:
            OSError: no connection, or an error status.
        """

    def wait_for_trace(self, trace_id: str, *, spans: int = 1, seconds: float = 30.0) -> list[SpanRecord]:
        """Wait until the trace has at least `spans` spans, and return it.

        Raises:
            TimeoutError: it has not after `seconds`.
        """
        return wait_until(
            lambda: found if len(found := self.trace(trace_id)) >= spans else [],
            seconds=seconds,
            what=f"trace {trace_id} with {spans} spans in {self.name}",
        )

    def wait_for_search(self, service: str, trace_id: str, *, seconds: float = 60.0) -> list[str]:
        """Wait until a search for `service` finds the trace, and return all ids found.

        Raises:
            TimeoutError: it does not after `seconds`.
        """
        return wait_until(
            lambda: found if trace_id in (found := self.search(service)) else [],
            seconds=seconds,
            what=f"trace {trace_id} in a search for {service} in {self.name}",
        )
