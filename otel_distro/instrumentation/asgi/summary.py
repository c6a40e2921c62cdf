"""What is said of a request at its end: what it spent, on its span; slow ones and repeated statements, in the log.

The lines go to the application's own logging, under `otel_distro.requests`, while the request's span and context are
still the current ones: they carry its ids like every other line of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Span

from otel_distro import settings
from otel_distro.guard import Guard
from otel_distro.loggers import REQUESTS, speaking

if TYPE_CHECKING:
    from otel_distro.spent import Repeated, Spent

    from .exchange import Exchange

_MOST_WARNED = 256
_WEBSOCKET = "WS"


class Summary:
    """The end of an application's requests.

    Args:
        chosen: when a request is slow, and how often a statement may run.
        guard: where failures go.

    Attributes:
        slow: seconds; what is quicker is slow on no route.
        repeats: how often one request may run the same statement, 0 for any number.
    """

    def __init__(self, chosen: settings.Requests, guard: Guard) -> None:
        self._guard = guard
        self._general = chosen.slow / 1000 or inf
        self._routes: Mapping[str, float] = {route: ms / 1000 or inf for route, ms in chosen.slow_routes.items()}
        self.slow = min(self._general, *self._routes.values(), inf)
        self.repeats = chosen.repeated_statements
        self._warned: set[tuple[str, str]] = set()

    def of(self, exchange: Exchange, span: Span | None, seconds: float) -> None:
        """Say what there is to say.

        Args:
            exchange: at its end.
            span: its server span where that records.
            seconds: how long it took.
        """
        try:
            spent = exchange.spent
            if spent is not None:
                if span is not None:
                    spent.tell(span)
                for finding in spent.repeated:
                    self._warn_of(finding, spent, exchange)
            if seconds > self.slow and exchange.origin.word != _WEBSOCKET:
                self._look_at_time(exchange, spent, seconds)
        except Exception as error:  # noqa: BLE001 - a log handler of the application's may raise
            self._guard.failed("summary of a request", error)

    def _warn_of(self, finding: Repeated, spent: Spent, exchange: Exchange) -> None:
        """Once for each statement and line in a process: the span of every such request has it."""
        key = (finding.statement.name, str(finding.line))
        if key in self._warned or len(self._warned) >= _MOST_WARNED:
            return
        self._warned.add(key)
        count = spent.count(finding.statement)
        text = str(finding.statement.attributes.get("db.query.text", finding.statement.name))[:300]
        speaking(REQUESTS).warning(
            "%s ran the same statement %d times: %s: %s", _name(exchange), count, finding, text, extra=_extra(exchange)
        )

    def _look_at_time(self, exchange: Exchange, spent: Spent | None, seconds: float) -> None:
        limit = self._routes.get(exchange.route or "", self._general)
        if seconds <= limit:
            return
        extra = {**_extra(exchange), "http.server.request.duration": round(seconds, 6)}
        parts = [f"{_name(exchange)} {exchange.status_code} took {seconds * 1000:.0f} ms, limit {limit * 1000:.0f} ms"]
        if spent is None:
            parts.append("no calls")
        else:
            extra |= spent.attributes
            parts.append(str(spent))
            parts += [f"{spent.count(each.statement)} times {each}" for each in spent.repeated]
        speaking(REQUESTS).warning("slow request: %s", "; ".join(parts), extra=extra)


def _name(exchange: Exchange) -> str:
    return f"{exchange.origin.word} {exchange.route or '(no route)'}"


def _extra(exchange: Exchange) -> dict[str, Any]:
    return {"http.request.method": exchange.origin.word, "http.route": exchange.route}


__all__ = ["Summary"]
