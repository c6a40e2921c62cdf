"""Every name of sentry-sdk that is private or differs between 2.x and 3.x, in one place; scopes are in `_scopes`.

Written against 2.75.0 and 3.0.0b2; `tests/unit/test_sentry_sdk.py` holds a contract for each, so that a release that
moves one of them turns a test red. Importing this module imports sentry-sdk.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any

import sentry_sdk
from sentry_sdk import consts, integrations, scope, transport, utils
from sentry_sdk.client import BaseClient
from sentry_sdk.integrations import logging as logging_integration
from sentry_sdk.profiler import continuous_profiler
from sentry_sdk.scope import Scope

from .transports import bound_answers, silence

VERSION: str = consts.VERSION
MAJOR = int(VERSION.partition(".")[0])
_HANDLING = (
    "_handle_record",
    "_handle_event_record",
    "_handle_breadcrumb_record",
    "_handle_sentry_logs_record",
    "_handle_logs_record",
)
"""Methods of sentry-sdk's integration of `logging` that take a record, of all versions."""
MOST_EXCEPTIONS = 100
"""Exceptions of one event, of a group and below."""


def known(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` without those that the installed sentry-sdk does not know: it raises on each of them."""
    return {name: value for name, value in options.items() if name in consts.DEFAULT_OPTIONS}


def knows(option: str) -> bool:
    """Whether the installed sentry-sdk has this option of `init`."""
    return option in consts.DEFAULT_OPTIONS


def exception_event(error: BaseException, client: BaseClient, mechanism: Mapping[str, Any]) -> tuple[Any, Any]:
    """An event for `error` with its hint."""
    arguments: dict[str, Any] = {"mechanism": dict(mechanism)}
    if "client_options" in inspect.signature(utils.event_from_exception).parameters:
        arguments["client_options"] = client.options
    return utils.event_from_exception(error, **arguments)


def bound_exceptions() -> None:
    """Have an event tell of an exception once, and of a hundred at most, whatever refers to whatever.

    sentry-sdk 2.55 follows groups in circles until the stack is full: for seconds, and the event is lost. Every group
    that Starlette takes apart below a middleware is such a circle. 3.0.0b2 follows long chains as deep as they are.
    """
    module: Any = utils
    original = module.exceptions_from_error
    told: ContextVar[set[int] | None] = ContextVar("otel_distro_sentry_exceptions", default=None)

    @functools.wraps(original)
    def exceptions_from_error(exc_type: Any, exc_value: Any, tb: Any, *args: Any, **kwargs: Any) -> Any:
        known = told.get()
        if known is None:
            token = told.set({id(exc_value)})
            try:
                return original(exc_type, exc_value, tb, *args, **kwargs)
            finally:
                told.reset(token)
        if id(exc_value) in known or len(known) >= MOST_EXCEPTIONS:
            return kwargs.get("exception_id", 0), []
        known.add(id(exc_value))
        return original(exc_type, exc_value, tb, *args, **kwargs)

    module.exceptions_from_error = exceptions_from_error


def ignore_loggers(names: Iterable[str], *, logs: bool = True) -> None:
    """Make no events and breadcrumbs of what these loggers say; `*` stands for anything.

    Args:
        names: of loggers.
        logs: no Sentry logs either.
    """
    for_events = getattr(logging_integration, "ignore_logger_for_events", logging_integration.ignore_logger)
    for_logs = getattr(logging_integration, "ignore_logger_for_sentry_logs", logging_integration.ignore_logger)
    for name in names:
        for_events(name)
        if logs:
            for_logs(name)


def handle_record(client: BaseClient, record: logging.LogRecord) -> None:
    """Have sentry-sdk make of a record of another library what it makes of one of `logging`."""
    integration = client.get_integration(logging_integration.LoggingIntegration)
    for name in _HANDLING:
        handle = getattr(integration, name, None)
        if handle is not None:
            handle(record)


def silence_transports() -> None:
    """Have no telemetry made of the requests that sentry-sdk itself makes, whoever set it up."""
    silence(transport)


def bound_transports() -> None:
    """Have transports that are made from now on read the beginning of an answer, whatever its length."""
    bound_answers(transport)


def watch_clients(changed: Callable[[Any], object]) -> None:
    """Call `changed(client)` whenever the global scope gets a client, which is how `sentry_sdk.init` ends.

    A library that reports its own failures has a scope and a client for itself, which change nothing here.
    """
    owner: Any = Scope
    original = owner.set_client

    @functools.wraps(original)
    def set_client(self: Scope, client: Any = None) -> None:
        original(self, client)
        if self is Scope.get_global_scope():
            changed(client)

    owner.set_client = set_client


def watch_senders() -> Callable[[], BaseClient | None]:
    """From now on, what is given back says which client is making an event; None for one that nobody knows of."""
    sending: ContextVar[BaseClient | None] = ContextVar("otel_distro_sentry_client", default=None)
    owner: Any = sentry_sdk.Client
    original = owner.capture_event

    @functools.wraps(original)
    def capture_event(self: BaseClient, *args: Any, **kwargs: Any) -> Any:
        token = sending.set(self)
        try:
            return original(self, *args, **kwargs)
        finally:
            sending.reset(token)

    owner.capture_event = capture_event
    return sending.get


def renew_transport(client: BaseClient) -> None:
    """Give `client` a transport of this process, after a fork.

    The inherited one has a queue whose waiting thread is gone: the first event stays in it until a second comes
    (sentry-python #6164), and what the parent had not sent yet would be sent twice.
    """
    if client.transport is not None and not isinstance(client.options.get("transport"), transport.Transport):
        client.transport = transport.make_transport(client.options)


def process_events(processor: Callable[[Any, Any], Any]) -> None:
    """Have every event of every client pass `processor`, after the scopes have written into it."""
    scope.add_global_event_processor(processor)


def start_profiler() -> None:
    """Profile this process from now on, if the dice of its session say so."""
    continuous_profiler.start_profiler()


def end_profiler() -> None:
    """Stop profiling and hand over what was sampled; a chunk is a minute long otherwise."""
    continuous_profiler.teardown_continuous_profiler()


def set_ids(ids: Callable[[], tuple[str, str] | None]) -> None:
    """Tell sentry-sdk which trace and span are current; it then writes no propagation headers of its own."""
    scope.register_external_propagation_context(ids)


def has_integration(client: BaseClient, *names: str) -> bool:
    """Whether any of these integrations is set up for `client`."""
    integrations: Mapping[str, object] = getattr(client, "integrations", {})
    return any(name in integrations for name in names)


def add_integration(client: BaseClient, integration: Any) -> None:
    """Set up another integration for a client that runs already; again is harmless."""
    from sentry_sdk.integrations import setup_integrations

    made = setup_integrations([integration], with_defaults=False, options=client.options)
    client.integrations.update(made)


def is_installing() -> bool:
    """Whether integrations are being set up, by this thread or another: whoever did it as well might wait for ever."""
    lock: Any = getattr(integrations, "_installer_lock", None)
    return lock is not None and lock.locked()


def client() -> BaseClient:
    """The active client, or one that records nothing."""
    return sentry_sdk.get_client()


__all__ = [
    "MAJOR",
    "MOST_EXCEPTIONS",
    "VERSION",
    "add_integration",
    "bound_exceptions",
    "bound_transports",
    "client",
    "end_profiler",
    "exception_event",
    "handle_record",
    "has_integration",
    "ignore_loggers",
    "is_installing",
    "known",
    "knows",
    "process_events",
    "renew_transport",
    "set_ids",
    "silence_transports",
    "start_profiler",
    "watch_clients",
    "watch_senders",
]
