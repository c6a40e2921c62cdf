"""FastAPI's own telemetry beside ours: one server span, its wishes honoured, its log events and data kept."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from fastapi import FastAPI
from opentelemetry import metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.asgi_rig import drive, get, rigged, scope_of, test_client

telemetry = pytest.importorskip("fastapi.telemetry", reason="this FastAPI has no telemetry of its own")


@pytest.fixture
def rig():
    """The instrumentation over our providers, which are the global ones: FastAPI's own telemetry would be active."""
    with rigged() as made, _as_global(made.tracer_provider, made.meter_provider):
        yield made


class _as_global:  # noqa: N801 - reads as a phrase
    """The API's global providers while the block lasts; FastAPI's telemetry looks there."""

    def __init__(self, tracer_provider: Any, meter_provider: Any) -> None:
        self._providers = (tracer_provider, meter_provider)

    def __enter__(self) -> None:
        metering = sys.modules["opentelemetry.metrics._internal"]
        self._before = (trace._TRACER_PROVIDER, metering._METER_PROVIDER)
        trace._TRACER_PROVIDER, metering._METER_PROVIDER = self._providers

    def __exit__(self, *error: object) -> None:
        metering = sys.modules["opentelemetry.metrics._internal"]
        trace._TRACER_PROVIDER, metering._METER_PROVIDER = self._before


def _app(**config: Any) -> FastAPI:
    app = FastAPI(telemetry=config)

    @app.post("/order/{number}")
    async def order(number: int, item: dict[str, int]) -> int:
        return number

    @app.get("/order/{number}")
    async def read(number: int) -> int:
        if number == 13:
            raise LookupError("no such order")
        return number

    return app


def test_the_providers_are_seen_by_fastapi(rig):
    """The bench is right: without our patches FastAPI's own telemetry makes spans here."""
    rig.instrumentation.uninstrument()
    get(_app(), "/order/1")
    assert "GET /order/{number}" in [span.name for span in rig.take()]


def test_there_is_one_server_span_and_no_other(rig):
    """FastAPI leaves the request to us, its spans of operations included."""
    get(_app(), "/order/1")
    assert rig.only().instrumentation_scope.name == "otel_distro.instrumentation.fastapi"
    assert len(rig.points("http.server.request.duration")) == 1


def test_a_mounted_application_adds_none(rig):
    """The outermost application's span is the only one, through FastAPI and Starlette."""
    app = FastAPI()
    app.mount("/in", _app())
    get(Starlette(routes=[Mount("/out", app=app)]), "/out/in/order/1")
    assert rig.only().name == "GET /out/in/order/{number}"


def test_get_telemetry_data_works(rig):
    """Within the request it has body, values and request, afterwards it is empty."""
    app = FastAPI()
    seen: list[Any] = []

    @app.post("/order/{number}")
    async def order(number: int, item: dict[str, int]) -> int:
        data = telemetry.get_telemetry_data()
        seen.append((data, data.request.url.path, data.body, data.values))
        return number

    incoming = [{"type": "http.request", "body": b'{"a": 1}'}]
    scope = scope_of("/order/4", "POST", headers={"content-length": "8", "content-type": "application/json"})
    asyncio.run(drive(app, scope, incoming))
    [(data, path, body, values)] = seen
    assert path == "/order/4"
    assert body == {"a": 1}
    assert values == {"number": 4, "item": {"a": 1}}
    assert isinstance(data, telemetry.TelemetryData)
    assert telemetry.get_telemetry_data() is None


def test_validation_errors_are_in_the_data(rig):
    """Who asks in an exception handler sees what was wrong."""
    app = _app()
    seen: list[Any] = []

    from fastapi.exceptions import RequestValidationError
    from starlette.responses import PlainTextResponse

    @app.exception_handler(RequestValidationError)
    async def bad(request: Any, error: Any) -> PlainTextResponse:
        seen.append(telemetry.get_telemetry_data().errors)
        return PlainTextResponse("bad", status_code=422)

    get(app, "/order/x")
    assert seen[0][0]["type"] == "int_parsing"


@pytest.mark.parametrize("path", ["/order/x", "/order/13"])
def test_the_log_events_are_kept(rig, path):
    """Events of failed validations and of exceptions come once, within our span, with the full route."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    app = FastAPI()
    app.mount("/in", _app())
    app._telemetry["logger_provider"] = provider
    try:
        get(app, "/in" + path)
    except LookupError:
        pass
    [record] = [item.log_record for item in exporter.get_finished_logs()]
    expected = "fastapi.validation.failed" if path.endswith("x") else "http.server.request.exception"
    assert record.event_name == expected
    assert record.attributes["http.route"] == "/in/order/{number}"
    assert record.span_id == rig.only().context.span_id


def test_without_logs_there_are_none(rig):
    """`FastAPI(telemetry={"logs": False})` keeps the events away."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    get(_app(logs=False, logger_provider=provider), "/order/x")
    assert exporter.get_finished_logs() == ()


def test_exclude_is_honoured(rig):
    """The application's own function decides, and what it excludes makes neither our telemetry nor FastAPI's."""
    asked: list[Any] = []

    def exclude(scope: Any) -> bool:
        asked.append(scope["app"])
        return scope["path"] == "/order/1"

    app = _app(exclude=exclude)
    get(app, "/order/1")
    assert rig.take() == []
    assert rig.points("http.server.request.duration") == []
    get(app, "/order/2")
    assert len(rig.take()) == 1
    assert asked == [app, app]


def test_an_exclude_that_raises_excludes_nothing(rig):
    """The user's function failing is said once and costs the request nothing."""
    app = _app(exclude=lambda scope: scope["no such key"])
    for _ in range(2):
        assert get(app, "/order/1")[0]["status"] == 200
    assert len(rig.take()) == 2
    assert len(rig.lines) == 1


def test_tracing_may_be_off(rig):
    """`tracing: False` leaves the metrics."""
    get(_app(tracing=False), "/order/1")
    assert rig.take() == []
    assert len(rig.points("http.server.request.duration")) == 1


def test_metrics_may_be_off(rig):
    """`metrics: False` leaves the span."""
    get(_app(metrics=False), "/order/1")
    assert len(rig.take()) == 1
    assert rig.points("http.server.request.duration") == []


def test_own_providers_get_what_is_theirs(rig):
    """Spans and metrics go where the application said."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracer_provider = TracerProvider(shutdown_on_exit=False)
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    meter_provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    get(_app(tracer_provider=tracer_provider, meter_provider=meter_provider), "/order/1")
    assert rig.take() == []
    assert rig.points("http.server.request.duration") == []
    [span] = exporter.get_finished_spans()
    assert span.name == "GET /order/{number}"
    assert span.attributes["http.response.status_code"] == 200
    assert reader.get_metrics_data() is not None


def test_excluded_urls_keep_fastapis_own_telemetry_away_too():
    """What the settings exclude makes no span of anybody's."""
    with rigged({"OTEL_PYTHON_EXCLUDED_URLS": "order"}) as rig, _as_global(rig.tracer_provider, rig.meter_provider):
        app = FastAPI()
        app.mount("/in", _app())
        get(app, "/in/order/1")
        assert rig.take() == []


def test_an_excluded_request_within_another_leaves_its_data_alone():
    """A request an application makes to itself and that is excluded writes nothing into the outer one's data."""
    with rigged({"OTEL_PYTHON_EXCLUDED_URLS": "inner"}) as rig, _as_global(rig.tracer_provider, rig.meter_provider):
        app = FastAPI()
        seen: list[Any] = []

        @app.get("/inner")
        async def inner() -> None:
            seen.append(telemetry.get_telemetry_data())

        @app.get("/outer")
        async def outer() -> None:
            await drive(app, scope_of("/inner"))
            seen.append(telemetry.get_telemetry_data().request.url.path)

        get(app, "/outer")
        assert seen == [None, "/outer"]
        assert len(rig.take()) == 1


def test_auto_configure_adds_no_exporter_to_our_providers(rig):
    """`FASTAPI_OTEL_AUTO_CONFIGURE` finds our providers served already."""
    from fastapi.telemetry import _runtime

    app = _app(auto_configure=True)
    before = list(_runtime._configured)
    processors = rig.tracer_provider._active_span_processor._span_processors
    try:
        with test_client(app) as client:
            assert client.get("/order/1").status_code == 200
        added = _runtime._configured[len(before) :]
        assert ("TRACES", rig.tracer_provider) in added
        assert ("METRICS", rig.meter_provider) in added
        assert rig.tracer_provider._active_span_processor._span_processors == processors
        assert len(rig.take()) == 1
    finally:
        _runtime._configured[:] = before


def test_the_bench_puts_the_global_providers_back():
    """Tests with global providers leave the API as they found it."""
    before = trace._TRACER_PROVIDER, metrics.get_meter_provider()
    with rigged() as made, _as_global(made.tracer_provider, made.meter_provider):
        assert (trace._TRACER_PROVIDER, metrics.get_meter_provider()) == (made.tracer_provider, made.meter_provider)
    assert (trace._TRACER_PROVIDER, metrics.get_meter_provider()) == before
