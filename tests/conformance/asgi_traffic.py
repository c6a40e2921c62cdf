"""The traffic of the differential test: run by itself, it prints as JSON what one of the two sides made of each case.

`python -m tests.conformance.asgi_traffic contrib` uses contrib's instrumentation over upstream's SDK, `ours` ours.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, WebSocket
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.asgi_rig import drive, rigged, scope_of, test_client

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CAPTURE = {
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": "x-tenant,authorization",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE": "content-length,x-answer",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS": "authorization",
    "OTEL_PYTHON_EXCLUDED_URLS": "/excluded",
}


@dataclass(frozen=True)
class Case:
    """One request.

    Attributes:
        path: with the query.
        method: of HTTP.
        more: of the scope, headers among them.
        incoming: messages from the client.
        client: through Starlette's `TestClient` instead of by hand.
    """

    path: str
    method: str = "GET"
    more: dict[str, Any] = field(default_factory=dict)
    incoming: tuple[dict[str, Any], ...] = ()
    client: bool = False


_WEBSOCKET = {"type": "websocket", "scheme": "ws", "subprotocols": []}
_JSON = {"content-type": "application/json", "content-length": "8"}

CASES = {
    "plain": Case("/item/1"),
    "query": Case("/item/1?page=2&q=%C3%A4"),
    "secret query": Case("/item/1?token=abc"),
    "no route": Case("/nowhere"),
    "wrong method": Case("/item/1", "DELETE"),
    "unknown method": Case("/item/1", "BREW"),
    "lower method": Case("/item/1", "get"),
    "validation": Case("/item/x"),
    "post": Case("/item", "POST", {"headers": _JSON}, ({"type": "http.request", "body": b'{"a": 1}'},)),
    "router": Case("/v1/user/7"),
    "mount": Case("/below/user/7"),
    "starlette mount": Case("/star/x/7"),
    "application root": Case("/item/1", more={"root_path": "/shop"}),
    "parent": Case("/item/1", more={"headers": {"traceparent": PARENT, "tracestate": "a=1", "baggage": "u=1"}}),
    "bad parent": Case("/item/1", more={"headers": {"traceparent": PARENT.upper()}}),
    "http exception": Case("/teapot"),
    "server error": Case("/unavailable"),
    "handler raises": Case("/raises"),
    "dependency raises": Case("/depends"),
    "stream": Case("/stream"),
    "broken stream": Case("/broken-stream"),
    "background": Case("/background"),
    "no content": Case("/nothing"),
    "headers": Case("/item/1", more={"headers": {"x-tenant": "acme", "authorization": "Bearer x"}}),
    "https": Case("/item/1", more={"scheme": "https", "http_version": "2"}),
    "no host": Case("/item/1", more={"headers": {"host": ""}}),
    "no client": Case("/item/1", more={"client": None}),
    "excluded": Case("/excluded"),
    "bot": Case("/item/1", more={"headers": {"user-agent": "Googlebot/2.1"}}),
    "websocket": Case("/ws/lobby", more=_WEBSOCKET, incoming=({"type": "websocket.connect"},)),
    "test client": Case("/item/3", client=True),
}


def application() -> FastAPI:
    """The application of all cases, made anew for each."""
    app = FastAPI()
    router = APIRouter()

    @router.get("/user/{user}")
    async def user(user: int) -> int:
        return user

    app.include_router(router, prefix="/v1")
    below = FastAPI()
    below.include_router(router)
    app.mount("/below", below)
    app.mount("/star", Starlette(routes=[Route("/x/{x}", lambda request: PlainTextResponse("x"))]))
    _answers(app)
    _streams(app)
    _failures(app)
    return app


def _answers(app: FastAPI) -> None:
    @app.get("/item/{item}")
    async def item(item: int, response: Response) -> int:
        response.headers["x-answer"] = "42"
        return item

    @app.post("/item")
    async def make(body: dict[str, int]) -> dict[str, int]:
        return body

    def task() -> None:
        return None

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> int:
        tasks.add_task(task)
        return 1

    @app.get("/nothing")
    async def nothing() -> Response:
        return Response(status_code=204)

    @app.get("/excluded")
    async def excluded() -> int:
        return 1


def _streams(app: FastAPI) -> None:
    async def chunks() -> Any:
        for _ in range(3):
            yield b"chunk"

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(chunks())

    @app.websocket("/ws/{room}")
    async def websocket(websocket: WebSocket, room: str) -> None:
        await websocket.accept()
        await websocket.send_text(room)
        await websocket.close()


def _failures(app: FastAPI) -> None:
    async def dependency() -> None:
        raise LookupError("dependency")

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418)

    @app.get("/unavailable")
    async def unavailable() -> None:
        raise HTTPException(503)

    @app.get("/raises")
    async def raises() -> None:
        raise LookupError("handler")

    @app.get("/depends", dependencies=[Depends(dependency)])
    async def depends() -> None:
        return None

    async def broken() -> Any:
        yield b"chunk"
        raise LookupError("stream")

    @app.get("/broken-stream")
    async def broken_stream() -> StreamingResponse:
        return StreamingResponse(broken())


Run = Callable[[Case], dict[str, Any]]


def run(app: FastAPI, case: Case) -> None:
    """One request; what reaches the server as an exception is no concern of this test."""
    if case.client:
        with test_client(app) as client:
            client.request(case.method, case.path)
        return
    scope = scope_of(case.path, case.method, **case.more)
    if scope["type"] == "websocket":
        del scope["method"]
    try:
        asyncio.run(drive(app, scope, case.incoming))
    except (LookupError, ExceptionGroup):
        return


@contextmanager
def ours() -> Iterator[Run]:
    """The cases through our path and our providers."""

    def one(case: Case) -> dict[str, Any]:
        with rigged(CAPTURE) as rig:
            run(application(), case)
            return {"spans": [_span(span) for span in rig.take()], "metrics": _metrics(rig._reader)}

    yield one


@contextmanager
def contrib() -> Iterator[Run]:
    """The cases through contrib's instrumentation over upstream's SDK; the environment tells it to be stable."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    def one(case: Case) -> dict[str, Any]:
        exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracer_provider = TracerProvider(shutdown_on_exit=False)
        tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
        app = application()
        FastAPIInstrumentor.instrument_app(
            app,
            tracer_provider=tracer_provider,
            meter_provider=MeterProvider(metric_readers=[reader], shutdown_on_exit=False),
            exclude_spans=["send", "receive"],
        )
        run(app, case)
        # it also takes its patch of BackgroundTask back, which is bound to this case's tracer
        FastAPIInstrumentor.uninstrument_app(app)
        return {"spans": [_span(span) for span in exporter.get_finished_spans()], "metrics": _metrics(reader)}

    yield one


def _span(span: Any) -> dict[str, Any]:
    return {
        "name": span.name,
        "kind": span.kind.name,
        "parent": None if span.parent is None else ("remote" if span.parent.is_remote else "local"),
        "tracestate": span.context.trace_state.to_header(),
        "attributes": {name: _plain(value) for name, value in span.attributes.items()},
        "status": span.status.status_code.name,
        "description": span.status.description,
        "events": [
            {
                "name": event.name,
                **{k: event.attributes.get(f"exception.{k}") for k in ("type", "message", "escaped")},
            }
            for event in span.events
        ],
        "links": len(span.links),
    }


def _metrics(reader: InMemoryMetricReader) -> dict[str, list[dict[str, Any]]]:
    data = reader.get_metrics_data()
    found: dict[str, list[dict[str, Any]]] = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                found[f"{metric.name} {metric.unit}"] = [_point(metric.name, p) for p in metric.data.data_points]
    return found


def _point(name: str, point: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"attributes": {key: _plain(value) for key, value in point.attributes.items()}}
    if hasattr(point, "value"):
        told["value"] = point.value
    else:
        told |= {"count": point.count, "bounds": list(point.explicit_bounds)}
        if name.endswith("size"):
            told["sum"] = point.sum
    return told


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


if __name__ == "__main__":
    with {"ours": ours, "contrib": contrib}[sys.argv[1]]() as side:
        json.dump({name: side(case) for name, case in CASES.items()}, sys.stdout)
