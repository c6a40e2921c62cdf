"""A bench for the server path: providers in memory, the instrumentation applied, and ASGI driven by hand."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import anyio.lowlevel
from opentelemetry import propagate
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_distro import sampling, settings
from otel_distro.answers import Answers
from otel_distro.guard import Guard
from otel_distro.instrumentation.asgi import FastApiInstrumentation
from otel_distro.instrumentation.base import Toolbox
from otel_distro.metrics import LeanMeterProvider
from otel_distro.tracing import LeanTracerProvider
from tests.recording import TakingBrief

Message = Mapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[Any]]

MODULES = ("starlette.background", "starlette.routing", "starlette.applications", "fastapi.applications")


class Rig:
    """The instrumentation at work.

    Args:
        environ: settings, as environment variables.
        lean: our providers, else upstream's.
        sampler: a name of `OTEL_TRACES_SAMPLER`; lean providers only.
        modules: which modules are patched.
        answers: what the distro answers by itself, by path.
        brief: spans of requests are put together only where somebody looks; lean providers only.
        measures: the instrumentation has a meter provider that measures.

    Attributes:
        lines: the guard's warnings.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        lean: bool = True,
        sampler: str = "parentbased_always_on",
        modules: Iterable[str] = MODULES,
        answers: Mapping[str, App] | None = None,
        brief: bool = True,
        measures: bool = True,
    ) -> None:
        self.lines: list[str] = []
        self.guard = Guard(level=logging.WARNING, output=lambda _, text: self.lines.append(text))
        parsed, _ = settings.parse(dict(environ or {}))
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider: TracerProvider
        self.meter_provider: MeterProvider
        if lean:
            self.tracer_provider = LeanTracerProvider(
                resource=Resource({}), sampler=sampling.build(sampler), limits=parsed.traces.limits, guard=self.guard
            )
            self.meter_provider = LeanMeterProvider(resource=Resource({}), guard=self.guard, readers=[self._reader])
        else:
            self.tracer_provider = TracerProvider(shutdown_on_exit=False)
            self.meter_provider = MeterProvider(metric_readers=[self._reader], shutdown_on_exit=False)
        processor = (TakingBrief if lean and brief else SimpleSpanProcessor)(self._exporter)
        self.tracer_provider.add_span_processor(processor)
        self._settle = processor.settle if isinstance(processor, TakingBrief) else lambda: None
        self._waits = isinstance(processor, TakingBrief)
        if isinstance(self.meter_provider, LeanMeterProvider):
            self.meter_provider.settle_before_reading(self._settle)
        self.tools = Toolbox(
            self.tracer_provider,
            self.meter_provider if measures else NoOpMeterProvider(),
            parsed.instrumentation,
            self.guard,
            Answers(self.guard),
        )
        self.tools.answers.update(answers or {})
        self.instrumentation = FastApiInstrumentation(self.tools)
        for name in modules:
            self.patch(name)

    def patch(self, name: str) -> None:
        """Import a module and patch it, as the import hook does."""
        importlib.import_module(name)
        self.instrumentation.instrument(sys.modules[name])

    @property
    def spans(self) -> list[ReadableSpan]:
        """Finished spans so far, the first to end first."""
        self._settle()
        found = list(self._exporter.get_finished_spans())
        # those that waited were made spans after others that had ended later
        return sorted(found, key=lambda span: span.end_time or 0) if self._waits else found

    def take(self) -> list[ReadableSpan]:
        """Finished spans since the last time."""
        found = self.spans
        self._exporter.clear()
        return found

    def only(self) -> ReadableSpan:
        """The one span since the last time."""
        found = self.take()
        assert len(found) == 1, [span.name for span in found]
        return found[0]

    def points(self, name: str) -> list[Any]:
        """The data points of a metric, in no certain order."""
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@contextmanager
def rigged(environ: Mapping[str, str] | None = None, **how: Any) -> Iterator[Rig]:
    """A `Rig` whose patches are taken back at the end."""
    before = propagate.get_global_textmap()
    rig = Rig(environ, **how)
    try:
        yield rig
    finally:
        rig.instrumentation.uninstrument()
        propagate.set_global_textmap(before)


def scope_of(path: str, method: str = "GET", **more: Any) -> dict[str, Any]:
    """The scope of a request as uvicorn makes it; `headers` as a mapping of text."""
    path, _, query = path.partition("?")
    headers = {"host": "shop.test:8080", "user-agent": "probe/1", **more.pop("headers", {})}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogateescape"),
        "query_string": query.encode(),
        "root_path": "",
        "client": ("192.0.2.7", 40_000),
        "server": ("10.0.0.1", 8000),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        "state": {},
        **more,
    }


async def drive(
    app: App, scope: dict[str, Any], incoming: Iterable[Message] = (), *, leaves: bool = False
) -> list[Message]:
    """Run one request to its end and give what the application sent.

    Args:
        app: an ASGI application.
        scope: of the connection.
        incoming: what `receive` gives; an empty body follows.
        leaves: the client goes away after that, else it waits.
    """
    waiting = iter([*incoming, {"type": "http.request", "body": b"", "more_body": False}])
    sent: list[Message] = []

    async def receive() -> Message:
        await anyio.lowlevel.checkpoint()
        message = next(waiting, None)
        if message is None and not leaves:
            await anyio.sleep(3600)
        return message or {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        await anyio.lowlevel.checkpoint()
        sent.append(message)

    await app(scope, receive, send)
    return sent


def get(app: App, path: str, method: str = "GET", *, leaves: bool = False, **more: Any) -> list[Message]:
    """One request in an event loop of its own; what it raises is raised."""
    return asyncio.run(drive(app, scope_of(path, method, **more), leaves=leaves))


def test_client(app: App, **options: Any) -> Any:
    """Starlette's `TestClient`, which warns about the HTTP client it is used with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from starlette.testclient import TestClient
    return TestClient(app, **options)


test_client.__test__ = False  # type: ignore[attr-defined]


# --- applications of several suites ----------------------------------------------------------------------------------


class Broken(RuntimeError):
    """What applications of these tests raise."""


def ok(request: Any) -> Any:
    """A handler that answers `fine`."""
    from starlette.responses import PlainTextResponse

    return PlainTextResponse("fine")


def one_route(handler: Any = ok, path: str = "/p/{x}", **more: Any) -> Any:
    """A Starlette application with one route."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    return Starlette(routes=[Route(path, handler, methods=["GET", "POST", "PUT"])], **more)
