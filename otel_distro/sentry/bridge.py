"""sentry-sdk at work beside OpenTelemetry: set up by us, or joined when the application does it itself.

Importing this module imports sentry-sdk.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from types import FrameType, ModuleType
from typing import Any

import sentry_sdk
from opentelemetry.propagate import get_global_textmap, set_global_textmap
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import SpanContext
from sentry_sdk.envelope import Envelope, Item, PayloadRef

from otel_distro import settings
from otel_distro._compat import endpoint_of, parts_of_propagator
from otel_distro.guard import LOGGER_NAME, Guard
from otel_distro.import_hooks import ImportHooks
from otel_distro.otlp._batch import Piece
from otel_distro.process import in_forked_child
from otel_distro.tracing import LeanTracerProvider

from . import _sdk
from ._scopes import separate
from .crumbs import Crumbs
from .events import Events
from .frameworks import Frameworks
from .identity import Identity
from .link import Link, Noting, note, tell, told_in
from .options import options
from .propagation import SentryTrace
from .requests import Requests
from .scrub import Scrub
from .tasks import Tasks
from .words import TRACE

MARK = "fastapi.telemetry"
"""Where the server instrumentation leaves what it knows of a request, in the ASGI scope."""

_OURS = (LOGGER_NAME, f"{LOGGER_NAME}.*", "opentelemetry", "opentelemetry.*")
_CLIENTS = ("sqlalchemy", "redis", "httpx", "httpx2", "stdlib", "asyncpg")
_SERVERS = frozenset({"uvicorn.error", "_granian.utils"})
"""Loggers of servers that tell of an exception by its stack trace as a text: of a failed start, granian of any."""
_TRACING = ("traces_sample_rate", "traces_sampler", "enable_tracing")

Json = MutableMapping[str, Any]


class Bridge:
    """One process's sentry-sdk.

    Args:
        sentry: the settings, with a DSN.
        who: environment, release and host.
        guard: gets what fails.
        decide: whether a trace is recorded, by its id; for callers that leave the decision to us.
        profiles: whether this process does the application's work, so may be profiled.
    """

    def __init__(
        self,
        sentry: settings.Sentry,
        who: Identity,
        guard: Guard,
        *,
        decide: Callable[[int], bool] = lambda _: True,
        profiles: bool = True,
    ) -> None:
        self._sentry = sentry
        self._guard = guard
        self._decide = decide
        self._profiled = profiles and bool(sentry.profile_session_sample_rate)
        self._scrub = Scrub(
            personal=sentry.send_default_pii,
            messages=sentry.messages == "full",
            variables=sentry.local_variables,
        )
        self._crumbs = Crumbs()
        self._requests = Requests(self.capture, self.owned, guard, MARK)
        self._link = Link(self._request_span)
        self._events = Events(
            self._link,
            self._requests.current,
            self._crumbs,
            personal=sentry.send_default_pii,
            baggage_keys=sentry.baggage,
            guard=guard,
        )
        self._tasks = Tasks(self.capture, self.owned, guard)
        self._frameworks = Frameworks(lambda: self._client, guard)
        self._options = options(sentry, who, self._events, self._scrub)
        self._client: Any | None = None
        self._sender: Callable[[], Any] = bool
        self._setting_up = False
        self._textmap = get_global_textmap()
        self._provider: Any = None

    def owned(self) -> bool:
        """Whether the active client is ours."""
        return self._client is not None

    def begin(self, hooks: ImportHooks) -> None:
        """Set sentry-sdk up, or join what the application has set up; from now on events are linked.

        Args:
            hooks: where imports are watched.
        """
        _sdk.silence_transports()
        _sdk.bound_transports()
        _sdk.bound_exceptions()
        _sdk.ignore_loggers(_OURS)
        _sdk.set_ids(self._link.current)
        _sdk.process_events(self._process)
        _sdk.watch_clients(self._changed)
        self._sender = _sdk.watch_senders()
        separate(self._requests.running, self._requests.isolation)
        if self._sentry.propagation:
            parts = parts_of_propagator(self._textmap)
            self._textmap = CompositePropagator([SentryTrace(self._decide), *parts])
            set_global_textmap(self._textmap)
        active = _sdk.client()
        if active.is_active():
            self._guard.call("Sentry", None, self._join, active)
        else:
            self._guard.call("Sentry", None, self._set_up)
        self._watch(hooks)
        in_forked_child(self._after_fork, self._guard.failed)

    def observe(self, provider: Any, recent: Callable[[], Sequence[Piece]] | None) -> None:
        """Have the spans of `provider` noted on the exceptions that they record, and found for breadcrumbs.

        Args:
            provider: of tracers; None where there is none.
            recent: the encoded spans that wait or have just been sent; None where nobody keeps them.
        """
        self._provider = provider
        if provider is None:
            return
        if isinstance(provider, LeanTracerProvider):
            provider.pipeline.on_error = note
        else:
            provider.add_span_processor(Noting())
        if recent is None:
            # a further processor costs every span, whether there is an event or not
            provider.add_span_processor(self._crumbs)
        else:
            self._crumbs.recent = recent

    def capture(self, error: BaseException, mechanism: Mapping[str, Any]) -> None:
        """Send `error` as an event.

        Args:
            error: with its traceback.
            mechanism: who caught it, and whether the application handled it.
        """
        event, hint = _sdk.exception_event(error, _sdk.client(), mechanism)
        sentry_sdk.capture_event(event, hint=hint)

    def send_transaction(self, event_id: str, transaction: bytes) -> None:
        """Send spans as a transaction, by the active client's transport: its rate limits and its queue.

        Args:
            event_id: of the transaction.
            transaction: as JSON.
        """
        client = _sdk.client()
        if client.transport is None:
            return
        item = Item(payload=PayloadRef(bytes=transaction), type="transaction", content_type="application/json")
        client.transport.capture_envelope(Envelope(headers={"event_id": event_id}, items=[item]))

    def lose_spans(self, count: int) -> None:
        """Have Sentry show that so many spans were not sent (develop.sentry.dev, "Client Reports")."""
        client = _sdk.client()
        if client.transport is not None:
            client.transport.record_lost_event("buffer_overflow", data_category="span", quantity=count)

    def flush(self, seconds: float) -> None:
        """Send what waits, within this time."""
        _sdk.client().flush(timeout=seconds)

    def end(self, seconds: float) -> None:
        """As `flush`, at the end of the process or of its server: nothing is profiled any more."""
        if self._client is not None and self._profiled:
            _sdk.end_profiler()
        self.flush(seconds)

    def _watch(self, hooks: ImportHooks) -> None:
        hooks.on_import("starlette.middleware.errors", self._requests.errors)
        hooks.on_import("starlette.middleware.exceptions", self._requests.exceptions)
        hooks.on_import("asyncio.base_events", self._tasks.asyncio)
        hooks.on_import("uvloop", self._tasks.uvloop)
        hooks.on_import("loguru", self._loguru)
        self._frameworks.watch(hooks)

    def _loguru(self, module: ModuleType) -> None:
        """Have errors that loguru writes make events, as those of `logging` do, also after its `remove()`.

        sentry-sdk's own integration is gone then, groups nothing, for each message has its time, and tells twice what
        `logging` passes on to loguru.
        """
        from otel_distro.logs.loguru_join import LoguruJoin

        LoguruJoin(module, lambda _: None, self._logged, None, self._guard).join()

    def _logged(self, record: Any, _: Any) -> None:
        if self.owned():
            for name, value in record.msg.fields.items():
                record.__dict__.setdefault(name, value)
            _sdk.handle_record(_sdk.client(), record)

    def _request_span(self) -> SpanContext | None:
        request = self._requests.current()
        return None if request is None else request.span

    def _process(self, event: Json, hint: MutableMapping[str, Any]) -> Json | None:
        sender = self._sender()
        if sender and sender is not _sdk.client():
            return event  # of a library that reports its own failures: whom a request is about is none of its business
        if self._is_copy(hint.get("log_record")):
            return None
        raised = (hint.get("exc_info") or (None, None))[1]
        if isinstance(raised, BaseException) and not self._is_news(raised, hint):
            return None
        return self._events(event, hint)

    def _is_copy(self, record: Any) -> bool:
        """Whether another event tells it.

        A server's line about an exception that left a Starlette application was captured there; what loguru passes on
        to `logging` was told by loguru.
        """
        if record is None or not self.owned():
            return False
        if record.name in _SERVERS and not record.exc_info and self._requests.has_lifespan:
            return TRACE in str(record.msg)
        return type(record.__dict__.get("extra")) is dict and _within("loguru._simple_sinks")

    def _is_news(self, error: BaseException, hint: Mapping[str, Any]) -> bool:
        """Whether no event tells this exception yet; sentry-sdk itself knows only those of the same task or thread."""
        if "log_record" in hint and self._tasks.told(error):
            return False
        found = self._link.find(error)
        trace_id = 0 if found is None else int(found.trace_id, 16)
        if trace_id and self.owned() and told_in(error) == trace_id:
            return False
        tell(error, trace_id)
        return True

    def _set_up(self) -> None:
        self._setting_up = True
        try:
            sentry_sdk.init(**self._options)
        finally:
            self._setting_up = False
        self._client = _sdk.client()
        # the request itself says what an access log would
        _sdk.ignore_loggers(("uvicorn.access",), logs=False)
        if self._profiled:
            _sdk.start_profiler()

    def _changed(self, client: Any) -> None:
        """The global scope has got a client: ours, or the application has called `sentry_sdk.init`."""
        if self._setting_up or client is self._client or not getattr(client, "is_active", bool)():
            return
        self._guard.call("Sentry", None, self._join, client)

    def _join(self, client: Any) -> None:
        """Link what another client sends, and see that nothing leaves twice."""
        self._client = None
        if _sdk.has_integration(client, *_CLIENTS):
            self._events.crumbs = None
        chosen = client.options
        for name in ("before_send_log", "before_send_metric"):
            if _sdk.knows(name):
                chosen[name] = _after(self._events.log, chosen.get(name))
        if self._sentry.spans != "off":
            self._stop_tracing(client)
        if get_global_textmap() is not self._textmap and _of_sentry(get_global_textmap()):
            set_global_textmap(self._textmap)
            self._guard.warn(
                "sentry_sdk.init put a propagator of its own in the place of OTEL_PROPAGATORS, which is back"
                " (OTEL_DISTRO_SENTRY_PROPAGATION=true adds sentry-trace)",
                once="sentry propagator",
            )

    def _stop_tracing(self, client: Any) -> None:
        chosen = client.options
        on = [name for name in _TRACING if chosen.get(name) not in {None, False}]
        for name in on:
            chosen[name] = None
        if on:
            self._guard.warn(
                f"{', '.join(on)} of sentry_sdk.init is switched off: spans come from OpenTelemetry, and would be"
                " sent twice (OTEL_TRACES_SAMPLER or SENTRY_TRACES_SAMPLE_RATE says how many;"
                " OTEL_DISTRO_SENTRY_SPANS=off leaves tracing to sentry-sdk)",
                once="sentry tracing",
            )
        self._stop_second_exporter(client)

    def _stop_second_exporter(self, client: Any) -> None:
        """Take away the processor by which `OTLPIntegration` sends every span once more."""
        parsed = getattr(client, "parsed_dsn", None)
        if not isinstance(self._provider, LeanTracerProvider) or parsed is None:
            return
        pipeline = self._provider.pipeline
        second = [
            each for each in pipeline.processors if parsed.netloc in endpoint_of(each) and "/otlp/" in endpoint_of(each)
        ]
        if second:
            pipeline.use(tuple(each for each in pipeline.processors if each not in second))
            self._guard.warn(
                "OTLPIntegration of sentry_sdk.init sends no spans: they go to Sentry from here, and would arrive twice"
                " (OTEL_DISTRO_SENTRY_SPANS=off leaves them to it)",
                once="sentry otlp",
            )

    def _after_fork(self) -> None:
        self._crumbs.clear()
        # a forked child works for the application, whatever its parent does
        self._profiled = bool(self._sentry.profile_session_sample_rate)
        if self._client is not None:
            # the parent's client has queues whose threads are gone, and what is in them is the parent's to send
            self._set_up()
            self._frameworks.again()
        else:
            _sdk.renew_transport(_sdk.client())


def _after(ours: Callable[[Json], Json], theirs: Callable[[Any, Any], Any] | None) -> Callable[[Any, Any], Any]:
    """What the application's callback makes of what ours has completed."""

    def before_send(item: Any, hint: Any) -> Any:
        completed = ours(item)
        return completed if theirs is None else theirs(completed, hint)

    return before_send


def _within(module: str) -> bool:
    """Whether code of this module called, at whatever distance."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - documented
    while frame is not None:
        if frame.f_globals.get("__name__") == module:
            return True
        frame = frame.f_back
    return False


def _of_sentry(textmap: object) -> bool:
    return type(textmap).__module__.startswith("sentry_sdk.")


__all__ = ["MARK", "Bridge"]
