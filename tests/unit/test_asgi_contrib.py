"""Code of users that calls contrib's instrumentors: one span, and what it said is done."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.responses import PlainTextResponse

from tests.asgi_rig import MODULES, drive, get, rigged, scope_of

ALL = (*MODULES, "opentelemetry.instrumentation.asgi", "opentelemetry.instrumentation.fastapi")


@pytest.fixture
def rig():
    """The instrumentation with contrib's packages imported, as a user's code imports them."""
    with rigged(modules=ALL) as made:
        yield made


def _app() -> FastAPI:
    app = FastAPI()

    @app.get("/item/{item}")
    async def read(item: int) -> int:
        return item

    return app


def _hooks(calls: list[Any]) -> dict[str, Any]:
    return {
        "server_request_hook": lambda span, scope: calls.append(("request", span.name, scope["path"])),
        "client_request_hook": lambda span, scope, message: calls.append(("receive", message["type"])),
        "client_response_hook": lambda span, scope, message: calls.append(("send", message["type"])),
    }


def test_instrument_app_makes_no_second_span(rig):
    """The call that every tutorial shows leaves one server span, ours, and contrib's middleware is not built in."""
    app = _app()
    FastAPIInstrumentor.instrument_app(app)
    FastAPIInstrumentor.instrument_app(app)
    get(app, "/item/1")
    span = rig.only()
    assert span.name == "GET /item/{item}"
    assert span.instrumentation_scope.name == "otel_distro.instrumentation.fastapi"


def test_hooks_are_called(rig):
    """All three hooks are called in order, with the server span."""
    calls: list[Any] = []
    app = _app()
    FastAPIInstrumentor.instrument_app(app, **_hooks(calls))
    asyncio.run(drive(app, scope_of("/item/1"), [{"type": "http.request", "body": b""}]))
    assert calls[0] == ("request", "GET", "/item/1")
    assert [call for call in calls if call[0] == "send"] == [
        ("send", "http.response.start"),
        ("send", "http.response.body"),
    ]
    assert len(rig.take()) == 1


def test_the_receive_hook_sees_messages(rig):
    """What the application receives passes the hook."""
    calls: list[Any] = []
    app = FastAPI()

    @app.post("/item")
    async def make(body: dict[str, int]) -> int:
        return body["a"]

    FastAPIInstrumentor.instrument_app(app, **_hooks(calls))
    scope = scope_of("/item", "POST", headers={"content-type": "application/json", "content-length": "7"})
    asyncio.run(drive(app, scope, [{"type": "http.request", "body": b'{"a":1}'}]))
    assert ("receive", "http.request") in calls


def test_hooks_may_be_set_after_the_first_request(rig):
    """`instrument_app` on an application that has answered already takes effect."""
    calls: list[Any] = []
    app = _app()
    get(app, "/item/1")
    FastAPIInstrumentor.instrument_app(app, **_hooks(calls))
    get(app, "/item/2")
    assert ("request", "GET", "/item/2") in calls


def test_a_hook_may_name_the_span(rig):
    """A name that a hook gave is not replaced by the route's."""
    app = _app()
    FastAPIInstrumentor.instrument_app(app, server_request_hook=lambda span, scope: span.update_name("mine"))
    get(app, "/item/1")
    assert rig.only().name == "mine"


@pytest.mark.parametrize("hook", ["server_request_hook", "client_request_hook", "client_response_hook"])
def test_a_failing_hook_costs_the_request_nothing(rig, hook):
    """It is counted, said once, and put on the span."""

    def failing(*arguments: Any) -> None:
        raise LookupError("hook")

    app = FastAPI()

    @app.post("/item")
    async def make(body: dict[str, int]) -> int:
        return body["a"]

    FastAPIInstrumentor.instrument_app(app, **{hook: failing})
    headers = {"content-type": "application/json", "content-length": "7"}
    for _ in range(2):
        scope = scope_of("/item", "POST", headers=headers)
        sent = asyncio.run(drive(app, scope, [{"type": "http.request", "body": b'{"a":1}'}]))
        assert [message.get("status", message.get("body")) for message in sent] == [200, b"1"]
    for span in rig.take():
        assert {event.attributes["exception.type"] for event in span.events} == {"LookupError"}
        assert span.status.is_ok
    assert len(rig.lines) == 1


def test_excluded_urls_of_one_application(rig):
    """The argument replaces the variable for this application and no other."""
    app, other = _app(), _app()
    FastAPIInstrumentor.instrument_app(app, excluded_urls="item/1,item/2")
    for path in ("/item/1", "/item/2", "/item/3"):
        get(app, path)
    assert rig.only().attributes["url.path"] == "/item/3"
    get(other, "/item/1")
    assert len(rig.take()) == 1


def test_captured_headers_of_one_application(rig):
    """The three arguments about headers work, and credentials stay hidden."""
    app = _app()
    FastAPIInstrumentor.instrument_app(
        app,
        http_capture_headers_server_request=["x-a", "x-b", "authorization"],
        http_capture_headers_server_response=["content-length"],
        http_capture_headers_sanitize_fields=["x-b"],
    )
    get(app, "/item/1", headers={"x-a": "1", "x-b": "2", "authorization": "Basic s"})
    captured = {name: list(value) for name, value in rig.only().attributes.items() if ".header." in name}
    assert captured == {
        "http.request.header.x-a": ["1"],
        "http.request.header.x-b": ["[REDACTED]"],
        "http.request.header.authorization": ["[REDACTED]"],
        "http.response.header.content-length": ["1"],
    }


def test_providers_of_one_application(rig):
    """Spans and metrics of an application go where `instrument_app` said."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracer_provider = TracerProvider(shutdown_on_exit=False)
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = _app()
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=tracer_provider,
        meter_provider=MeterProvider(metric_readers=[reader], shutdown_on_exit=False),
    )
    get(app, "/item/1")
    assert rig.take() == []
    assert [span.name for span in exporter.get_finished_spans()] == ["GET /item/{item}"]
    assert reader.get_metrics_data() is not None


class UnhashableProvider(MeterProvider):
    """One with an `__eq__` and so without a hash, as logfire's, which is a dataclass."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnhashableProvider)

    __hash__ = None  # type: ignore[assignment]


def test_a_meter_provider_without_a_hash(rig):
    """What another vendor's provider is made of costs no span, and its instruments are made once for all."""
    reader = InMemoryMetricReader()
    provider = UnhashableProvider(metric_readers=[reader], shutdown_on_exit=False)
    for app in (_app(), _app()):
        FastAPIInstrumentor.instrument_app(app, meter_provider=provider)
        get(app, "/item/1")
        assert rig.only().name == "GET /item/{item}"
    (metrics,) = (
        scope.metrics for resource in reader.get_metrics_data().resource_metrics for scope in resource.scope_metrics
    )
    assert [
        metric.data.data_points[0].count for metric in metrics if metric.name == "http.server.request.duration"
    ] == [2]


def test_instrument_configures_every_application(rig):
    """`FastAPIInstrumentor().instrument(...)` speaks for all that say nothing themselves, also those made before."""
    calls: list[Any] = []
    app, own = _app(), _app()
    get(app, "/item/1")
    FastAPIInstrumentor.instrument_app(own, excluded_urls="item/2")
    FastAPIInstrumentor().instrument(skip_dep_check=True, **_hooks(calls))
    try:
        get(app, "/item/2")
        get(own, "/item/2")
        assert [call for call in calls if call[0] == "request"] == [("request", "GET", "/item/2")]
        assert len(rig.take()) == 2
    finally:
        FastAPIInstrumentor().uninstrument()
    get(app, "/item/3")
    assert rig.take() == []


def test_uninstrument_app_takes_telemetry_away(rig):
    """The user's last word about an application counts."""
    app = _app()
    FastAPIInstrumentor.instrument_app(app)
    FastAPIInstrumentor.uninstrument_app(app)
    get(app, "/item/1")
    assert rig.take() == []
    FastAPIInstrumentor.instrument_app(app)
    get(app, "/item/1")
    assert len(rig.take()) == 1


def test_the_middleware_inside_adds_no_span(rig):
    """`add_middleware(OpenTelemetryMiddleware)` is contrib's ASGI way: one span, its hook is called."""
    calls: list[Any] = []
    app = _app()
    app.add_middleware(OpenTelemetryMiddleware, **_hooks(calls))
    get(app, "/item/1")
    assert rig.only().name == "GET /item/{item}"
    assert [call[0] for call in calls] == ["request", "send", "send"]


def test_the_middleware_around_adds_no_span(rig):
    """`OpenTelemetryMiddleware(app)` is the outermost application, and makes the one span."""
    calls: list[Any] = []
    app = OpenTelemetryMiddleware(
        _app(), tracer_provider=rig.tracer_provider, meter_provider=rig.meter_provider, **_hooks(calls)
    )
    get(app, "/item/1")
    span = rig.only()
    assert span.name == "GET /item/{item}"
    assert [call[0] for call in calls] == ["request", "send", "send"]


def test_the_middleware_serves_any_asgi_application(rig):
    """Other frameworks that wrap themselves in it get our path, with the span's details they give."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("any")(scope, receive, send)

    app = OpenTelemetryMiddleware(
        asgi,
        tracer_provider=rig.tracer_provider,
        meter_provider=rig.meter_provider,
        default_span_details=lambda scope: ("theirs", {"framework": "other"}),
        excluded_urls="/quiet",
    )
    get(app, "/loud")
    get(app, "/quiet")
    span = rig.only()
    assert span.name == "theirs"
    assert span.attributes["framework"] == "other"
    assert span.attributes["http.response.status_code"] == 200


def test_starlettes_own_middleware_adds_no_span():
    """Starlette's experimental middleware within and around an application leaves one span as well."""
    middleware = pytest.importorskip("starlette.middleware.opentelemetry")
    with rigged(modules=(*ALL, "starlette.middleware.opentelemetry")) as rig:
        app = _app()
        app.add_middleware(middleware.OpenTelemetryMiddleware)
        get(app, "/item/1")
        assert rig.only().name == "GET /item/{item}"
        around = middleware.OpenTelemetryMiddleware(_app(), tracer_provider=rig.tracer_provider, excluded_urls="item/9")
        get(around, "/item/1")
        get(around, "/item/9")
        assert rig.only().name == "GET /item/{item}"
