"""The demo against the real servers: PostgreSQL, Redis, the collector, Jaeger, Tempo or its stand-in, Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from tests.servers import PostgresServer, RedisServer, ServerError, Stack, binaries

from . import story
from .children import Family, Janitor, free_ports
from .errors import DemoError
from .options import Options
from .receiver import Trace
from .records import EventRecord, Source, SpanRecord
from .screen import Screen
from .services import Backends, start_services
from .traffic import Sent

if TYPE_CHECKING:
    from tests.servers.backend import TraceBackend
    from tests.servers.signals import SpanRecord as Found

_METRICS = ("orders-metrics", "inventory-metrics")
_PATIENCE = 60.0  # seconds; Tempo's search sees a trace after some 20
_QUIET = 1.5  # seconds in which a trace got no span
_COUNTED = "sum(http_server_request_duration_seconds_count{{instance=~'{}'}})"


def run(screen: Screen, directory: Path, options: Options) -> None:
    """Start everything, send, and look for it in every backend; arguments as for the embedded demo."""
    chosen = free_ports(options.ports)
    try:
        _find_programs(screen)
        screen.say("starting them, and orders and inventory under opentelemetry-instrument")
        targets = [f"127.0.0.1:{chosen[name]}" for name in _METRICS]
        with (
            Janitor(directory) as janitor,
            RedisServer(directory) as redis,
            PostgresServer(directory) as postgres,
            Stack(directory, apps=targets) as stack,
            Family(directory, janitor) as family,
        ):
            for server in (redis, postgres, stack.jaeger, stack.tempo, stack.prometheus, stack.collector):
                janitor.watch(server.pid)
            backends = Backends(stack.collector.url, redis.url, postgres.url(), postgres.url())
            services = start_services(family, chosen, backends)
            sent = story.send_traffic(screen, chosen["orders"], options.rounds, services)
            story.save_picture(options.picture, _show_trace(screen, stack))
            story.show_metrics(screen, chosen, sent)
            _show_prometheus(screen, stack, chosen, sent)
            story.show_next(screen, _addresses(stack, chosen, keep=options.keep))
            while options.keep:
                for service in services:
                    service.check()
                time.sleep(0.5)
    except (ServerError, TimeoutError, OSError) as error:
        raise DemoError(_one_line(error)) from error


def _find_programs(screen: Screen) -> None:
    """Find or build the programs, saying which, for a build takes minutes; a missing one ends the demo early."""
    programs: dict[str, Callable[[], str]] = {
        "PostgreSQL": lambda: binaries.debian_binary("postgres", "postgresql"),
        "Redis": lambda: binaries.debian_binary("redis-server", "redis-server"),
        "collector": binaries.collector_binary,
        "Jaeger": binaries.jaeger_binary,
        "Prometheus": binaries.prometheus_binary,
    }
    screen.say("looking for the servers; a Go program that is not in the cache is built first (minutes, once)")
    for name, find in programs.items():
        screen.say(f"  {name:<12} {find()}")
    tempo = binaries.tempo_binary() or "not found: a second Jaeger, called tempo-standin, is in its place"
    screen.say(f"  {'Tempo':<12} {tempo}")


def _show_trace(screen: Screen, stack: Stack) -> Trace:
    """Draw the order as Jaeger has it, and find the same in the second backend."""
    trace = _wait_for_order(stack.jaeger)
    trace_id = story.trace_id_of(trace)
    screen.heading("One order, across both services, as Jaeger has it")
    screen.tree(trace)
    screen.say()
    for backend in stack.backends:
        spans = backend.wait_for_trace(trace_id, spans=len(trace), seconds=_PATIENCE)
        if len(spans) != len(trace):
            raise DemoError(f"{backend.name} has {len(spans)} spans of trace {trace_id}, Jaeger has {len(trace)}")
        screen.say(f"  trace {trace_id} found in {backend.name}: {len(spans)} spans")
    return trace


def _wait_for_order(backend: TraceBackend) -> Trace:
    """The richest trace of an order in both services, once traces have stopped growing."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if any(story.is_order(trace) for trace in _traces(backend)):
            time.sleep(_QUIET)
            return max(filter(story.is_order, _traces(backend)), key=len)
        time.sleep(0.2)
    raise DemoError(f"{backend.name} has no trace of an order across both services after {_PATIENCE:.0f} s")


def _traces(backend: TraceBackend) -> Iterator[Trace]:
    for trace_id in backend.search("orders"):
        yield [_record(span) for span in backend.trace(trace_id)]


def _show_prometheus(screen: Screen, stack: Stack, ports: Mapping[str, int], sent: Sent) -> None:
    targets = "|".join(f"127.0.0.1:{ports[name]}" for name in _METRICS)
    stack.prometheus.wait_for_value(_COUNTED.format(targets), sent.total, seconds=_PATIENCE)
    screen.say(f"  {sent.total} requests found in {stack.prometheus.name}")


def _addresses(stack: Stack, ports: Mapping[str, int], *, keep: bool) -> list[str]:
    if not keep:
        return ["./scripts/demo --stack --keep    leaves all of it running, to be opened in a browser"]
    lines = [f"{name:<14} {url}" for name, url in stack.addresses.items()]
    lines.append(f"{'orders':<14} http://127.0.0.1:{ports['orders']}/docs")
    return [*lines, "Ctrl-C ends everything"]


def _record(span: Found) -> SpanRecord:
    """A span as a backend shows it, in the shape that the tree draws."""
    trace_id = int(span.trace_id, 16)
    parent = SpanContext(trace_id, int(span.parent_span_id, 16), is_remote=False) if span.parent_span_id else None
    return SpanRecord(
        name=span.name,
        context=SpanContext(trace_id, int(span.span_id, 16), is_remote=False),
        parent=parent,
        kind=SpanKind[span.kind] if span.kind in SpanKind.__members__ else SpanKind.INTERNAL,
        start_time=span.start_unix_nano,
        end_time=span.end_unix_nano,
        status=Status(StatusCode[span.status], span.status_message if span.status == "ERROR" else None),
        attributes=span.attributes,
        events=tuple(EventRecord(event.name, event.attributes) for event in span.events),
        resource=Source(span.resource),
    )


def _one_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
