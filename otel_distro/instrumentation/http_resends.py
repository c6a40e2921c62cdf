"""Requests that are sent again, each attempt by a call of its own that is a span.

Source: semantic conventions 1.44, "HTTP client spans", `http.request.resend_count`: the number of an attempt that has a
span of its own. Where one span stands for all attempts (requests, aiohttp, the retries of urllib3), nothing is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import Span

from otel_distro.bounded import BoundedCache
from otel_distro.context import current_scope
from otel_distro.propagation import Propagation

from .calls import current
from .request_ids import PassingOn

RESEND_COUNT = "http.request.resend_count"
_TRACEPARENT = "traceparent"
_MAX_WAITING = 500


class Resends:
    """What was written into headers that may be sent again, found by the `traceparent` in them.

    Args:
        propagation: writes headers.
        passing: what else is sent as baggage.
    """

    def __init__(self, propagation: Propagation, passing: PassingOn | None) -> None:
        self._propagation = propagation
        self._passing = passing
        self._sent: BoundedCache[str, tuple[int, Mapping[str, str]]] = BoundedCache(_MAX_WAITING)

    def written(self, span: Span) -> dict[str, str]:
        """The headers that make `span` the parent of what the receiver does; not the request's id.

        That is no secret, and an application that sets it itself sets the same.
        """
        headers: dict[str, str] = {}
        context, scope = current(), current_scope()
        if scope is not None and self._passing is not None:
            context = self._passing.baggage(scope, context)
        self._propagation.inject(headers.__setitem__, span, context)
        return headers

    def expect(self, span: Span) -> None:
        """The request of `span`, redirected, refused or failed, may be sent again with what is in its headers."""
        written = self.written(span)
        if _TRACEPARENT in written:
            attributes = getattr(span, "attributes", None) or {}
            self._sent.keep(written[_TRACEPARENT], (attributes.get(RESEND_COUNT, 0) + 1, written))

    def count(self, span: Span, headers: Any) -> None:
        """Number the request of `span`, whose headers had a `traceparent` before ours was written."""
        found = self._sent.get(headers.get(_TRACEPARENT)) if self._sent.known else None
        if found is not None:
            span.set_attribute(RESEND_COUNT, found[0])

    def withdraw(self, headers: Any) -> None:
        """Take out of the headers of a request to an excluded URL what was written for the one before it."""
        found = self._sent.get(headers.get(_TRACEPARENT)) if self._sent.known else None
        if found is not None:
            withdraw(headers, found[1])


def withdraw(headers: Any, written: Mapping[str, str]) -> None:
    """Take headers out that are as they were written; any other is the application's.

    Args:
        headers: of any library.
        written: what was.
    """
    for name, value in written.items():
        if headers.get(name) == value:
            del headers[name]


__all__ = ["RESEND_COUNT", "Resends", "withdraw"]
