"""`python -m benchmarks.context`: what request ids, context and health add to a plain request.

One Starlette route, driven in process with its server path, its span, the span's encoding and its metrics, no network.
Every case is an application of its own in one process; rounds of all cases alternate, in an order that turns; CPU is
that of the thread. Several processes do the same, one after another, and the medians are told. The base is the same
server path with these features taken out: no ids, no health, and the scope of a request neither opened nor closed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from itertools import count
from statistics import median
from typing import Any

from opentelemetry.sdk.resources import Resource
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from benchmarks.stats import order
from otel_distro import sampling, set_context, set_user, settings
from otel_distro.answers import Answers
from otel_distro.guard import Guard
from otel_distro.health.process import Health
from otel_distro.instrumentation.asgi import FastApiInstrumentation, exchange, server
from otel_distro.instrumentation.asgi.servers import Servers
from otel_distro.instrumentation.base import Toolbox
from otel_distro.metrics import LeanMeterProvider
from otel_distro.otlp.encode_traces import SpanEncoder
from otel_distro.otlp.queue import SpanQueue
from otel_distro.tracing import LeanTracerProvider

UNUSED, USED = 3.0, 8.0
"""Microseconds."""

_BASE = "without"
_Round = Callable[[int], Coroutine[Any, Any, int]]


class _Nowhere:
    """An exporter that takes batches, joins them, and sends nothing."""

    def hand_over(self, encode: Callable[[], object]) -> bool:
        encode()
        return True

    hand_over_now = hand_over

    def feed(self, fetch: object, every: float) -> Callable[[], object]:
        return lambda: None

    def force_flush(self, timeout_millis: float) -> bool:
        return True

    def shutdown(self, timeout_millis: float | None) -> None:
        return


class _Bench:
    """The distro's providers, and applications that differ in their settings."""

    def __init__(self) -> None:
        self._guard = Guard(level=logging.WARNING)
        parsed, _ = settings.parse({})
        self._tracers = LeanTracerProvider(
            resource=Resource({}),
            sampler=sampling.build("parentbased_always_on"),
            limits=parsed.traces.limits,
            guard=self._guard,
        )
        queue = SpanQueue(_Nowhere(), SpanEncoder(), batch=parsed.traces.batch, guard=self._guard)
        self._tracers.add_span_processor(queue)
        self._meters = LeanMeterProvider(resource=Resource({}), guard=self._guard, readers=[])
        patched = FastApiInstrumentation(self._toolbox({}))
        import starlette.applications
        import starlette.routing

        for module in (starlette.routing, starlette.applications):
            patched.instrument(module)

    def _toolbox(self, environ: Mapping[str, str], *, health: bool = False) -> Toolbox:
        parsed, _ = settings.parse(dict(environ))
        answers = Answers(self._guard)
        if health:
            answers.update(Health(parsed.health, self._guard).routes())
        return Toolbox(self._tracers, self._meters, parsed.instrumentation, self._guard, answers)

    def application(
        self, handler: Callable[..., Awaitable[Any]], environ: Mapping[str, str], *, health: bool = False
    ) -> Starlette:
        """One route under settings of its own."""
        made = Starlette(routes=[Route("/p/{x}", handler)])
        Servers(self._toolbox(environ, health=health)).of(made)
        return made


async def _plain(request: Any) -> PlainTextResponse:
    return PlainTextResponse("fine")


async def _telling(request: Any) -> PlainTextResponse:
    set_user("u-17")
    set_context(tenant="acme")
    return PlainTextResponse("fine")


def _rounds_of(app: Starlette, *, ids: bool = False, bare: bool = False) -> _Round:
    """A round of `app`: gives the nanoseconds of a request; with `ids` each has an id, else a header as long."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/p/1",
        "raw_path": b"/p/1",
        "query_string": b"",
        "root_path": "",
        "client": ("192.0.2.7", 40_000),
        "server": ("10.0.0.1", 8000),
        "state": {},
    }
    usual = [(b"host", b"shop.test"), (b"user-agent", b"probe/1"), (b"accept", b"*/*")]
    numbers, named = count(), b"x-request-id" if ids else b"x-other-name"
    message = {"type": "http.request", "body": b"", "more_body": False}

    async def receive() -> dict[str, Any]:
        return message

    async def send(_: Any) -> None:
        return

    async def run(requests: int) -> int:
        began = time.thread_time_ns()
        for _ in range(requests):
            # new objects in each request, as a server makes them
            await app({**scope, "headers": [*usual, (named, b"%032x" % next(numbers))]}, receive, send)
        return (time.thread_time_ns() - began) // requests

    async def run_bare(requests: int) -> int:
        with _TakenOut():
            return await run(requests)

    return run_bare if bare else run


class _TakenOut:
    """While it is entered, nothing opens or closes the scope of a request."""

    _CALLS = (
        (server, "set_scope", id),
        (exchange, "reset_scope", id),
    )

    def __enter__(self) -> None:
        self._before = [(module, name, getattr(module, name)) for module, name, _ in self._CALLS]
        for module, name, nothing in self._CALLS:
            setattr(module, name, nothing)

    def __exit__(self, *_: object) -> None:
        for module, name, call in self._before:
            setattr(module, name, call)


def _cases() -> dict[str, _Round]:
    bench = _Bench()
    none = {"OTEL_DISTRO_REQUEST_ID": "none"}
    return {
        _BASE: _rounds_of(bench.application(_plain, none), bare=True),
        "OTEL_DISTRO_REQUEST_ID=none": _rounds_of(bench.application(_plain, none)),
        "by default, nothing used": _rounds_of(bench.application(_plain, {})),
        "and health on": _rounds_of(bench.application(_plain, {}, health=True)),
        "and the caller's id": _rounds_of(bench.application(_plain, {}, health=True), ids=True),
        "and user and tenant said": _rounds_of(bench.application(_telling, {}, health=True), ids=True),
    }


async def _measure(cases: Mapping[str, _Round], rounds: int, requests: int) -> dict[str, list[int]]:
    took: dict[str, list[int]] = {name: [] for name in cases}
    for turn in range(rounds):
        for name in order(list(cases), turn):
            took[name].append(await cases[name](requests))
        gc.collect(0)
    return took


def _added(rounds: int, requests: int) -> dict[str, float]:
    """Microseconds of each case in this process, those of the base included."""
    cases = _cases()
    asyncio.run(_measure(cases, 5, requests))
    took = asyncio.run(_measure(cases, rounds, requests))
    # the tenth quietest of a hundred rounds: the rest had neighbours
    quiet = {name: sorted(values)[len(values) // 10] / 1000 for name, values in took.items()}
    return {name: value if name == _BASE else value - quiet[_BASE] for name, value in quiet.items()}


def _in_another(rounds: int, requests: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.context", "--processes", "1"]
    command += ["--rounds", str(rounds), "--requests", str(requests), "--json"]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main() -> int:
    """Print the table; exit status 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.context", description=__doc__)
    parser.add_argument("--processes", type=int, default=5, help="the medians of as many are told")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--requests", type=int, default=100, help="of each case in a round")
    parser.add_argument("--json", action="store_true", help="print the figures of one process alone")
    parser.add_argument("--profile", metavar="CASE", help="run one case alone, for a profiler")
    chosen = parser.parse_args()
    if chosen.profile is not None:
        asyncio.run(_cases()[chosen.profile](chosen.requests * chosen.rounds))
        return 0
    if chosen.json:
        print(json.dumps(_added(chosen.rounds, chosen.requests)))
        return 0
    # one program lies in memory differently each time it starts, which is worth a microsecond of such a request
    every = [_in_another(chosen.rounds, chosen.requests) for _ in range(chosen.processes)]
    added = {name: [figures[name] for figures in every] for name in every[0]}
    base = added.pop(_BASE)
    print(f"a request without these features: {median(base):.2f} us of CPU; added by them, medians of {len(every)}:")
    for name, figures in added.items():
        print(f"  {name:<30} {median(figures):6.2f} us  ({min(figures):.2f} to {max(figures):.2f})")
    unused, used = median(added["by default, nothing used"]), median(added["and user and tenant said"])
    print(f"unused {unused:.2f} us (goal {UNUSED}), used {used:.2f} us (goal {USED})")
    return 0 if unused <= UNUSED and used <= USED else 1


if __name__ == "__main__":
    raise SystemExit(main())
