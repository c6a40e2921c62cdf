"""What a user may say about one application: the arguments of contrib's instrumentors, under names of ours."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from opentelemetry.metrics import Meter, MeterProvider
from opentelemetry.trace import Span, Tracer, TracerProvider

from otel_distro.records import dataclass

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
RequestHook = Callable[[Span, Scope], None]
MessageHook = Callable[[Span, Scope, Message], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """None stands for "as the settings say" everywhere.

    Attributes:
        off: the user took telemetry away from this application.
        tracer_provider: instead of the toolbox's.
        meter_provider: likewise.
        tracer: instead of one of the provider's.
        meter: likewise.
        server_request_hook: called with the server span and the scope when a request begins.
        client_request_hook: called with the server span, the scope and each received message.
        client_response_hook: called with the server span, the scope and each sent message.
        excluded: tells from a URL whether it makes no telemetry.
        span_details: gives name and further attributes of a span from the scope.
        captured_request_headers: names or regular expressions.
        captured_response_headers: likewise.
        hidden_headers: likewise, of captured headers whose values are hidden.
    """

    off: bool | None = None
    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    tracer: Tracer | None = None
    meter: Meter | None = None
    server_request_hook: RequestHook | None = None
    client_request_hook: MessageHook | None = None
    client_response_hook: MessageHook | None = None
    excluded: Callable[[str], bool] | None = None
    span_details: Callable[[Scope], tuple[str, dict[str, Any]]] | None = None
    captured_request_headers: tuple[str, ...] | None = None
    captured_response_headers: tuple[str, ...] | None = None
    hidden_headers: tuple[str, ...] | None = None

    def over(self, others: Options) -> Options:
        """These options, and those of `others` where these say nothing."""
        values: dict[str, Any] = {}
        for name in self.__slots__:
            own = getattr(self, name)
            values[name] = getattr(others, name) if own is None else own
        return Options(**values)


NO_OPTIONS = Options()
