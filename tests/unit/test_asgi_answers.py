"""A path of the application's port that the distro answers: no telemetry of its own, no code of the application's."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount, Route

from tests.asgi_rig import Rig, get, ok, one_route, rigged


async def page(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the path it was asked for."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"page of " + scope["path"].encode()})


@pytest.fixture(params=["starlette", "fastapi"])
def app(request: Any) -> Any:
    """An application that knows nothing of the page."""
    if request.param == "starlette":
        return one_route()
    made = FastAPI()
    made.add_api_route("/p/{x}", lambda x: x)
    return made


def body(app: Any, path: str, method: str = "GET", **more: Any) -> bytes:
    return b"".join(m.get("body", b"") for m in get(app, path, method, **more))


def nothing(rig: Rig) -> bool:
    """Whether there is neither a span nor a measurement."""
    return not rig.take() and not rig.points("http.server.request.duration")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_the_page_is_answered_without_telemetry(app: Any, method: str) -> None:
    """Whatever the method, the page's own application decides, and the request is neither traced nor counted."""
    with rigged(answers={"/metrics": page}) as rig:
        assert body(app, "/metrics?name[]=x", method) == b"page of /metrics"
        assert nothing(rig)
        assert not rig.points("http.server.active_requests")


def test_other_paths_are_the_applications(app: Any) -> None:
    """Only the path itself is taken, not what begins or ends like it; the others are traced as ever."""
    with rigged(answers={"/metrics": page}) as rig:
        for path in ("/p/7", "/metrics/x", "/xmetrics", "/sub/metrics", "/"):
            assert b"page" not in body(app, path)
            assert len(rig.take()) == 1


def test_without_the_setting_there_is_no_page(app: Any) -> None:
    """The application answers the path itself, with telemetry."""
    with rigged() as rig:
        get(app, "/metrics")
        assert (rig.only().attributes or {})["http.response.status_code"] == 404


@pytest.mark.parametrize(("root", "path"), [("/api", "/api/metrics"), ("/api", "/metrics")])
def test_a_root_path_is_not_part_of_the_page(app: Any, root: str, path: str) -> None:
    """Behind a proxy the page is below the root path, whether the server's path has it or not."""
    with rigged(answers={"/metrics": page}) as rig:
        assert body(app, path, root_path=root) == b"page of " + path.encode()
        assert nothing(rig)


def test_a_root_path_of_fastapis_own_is_not_part_of_the_page() -> None:
    """`FastAPI(root_path=...)` moves the page as it moves the routes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions want it said to the server instead
        app = FastAPI(root_path="/api")
    with rigged(answers={"/metrics": page}):
        assert body(app, "/metrics") == b"page of /metrics"
        assert body(app, "/api/metrics") == b"page of /api/metrics"


def test_a_mounted_application_has_no_page_of_its_own() -> None:
    """Below a mount the path is an ordinary one: the page is there once."""
    inner = FastAPI()
    inner.add_api_route("/metrics", lambda: "inner")
    outer = Starlette(routes=[Mount("/sub", inner)])
    with rigged(answers={"/metrics": page}) as rig:
        assert body(outer, "/metrics") == b"page of /metrics"
        assert body(outer, "/sub/metrics") == b'"inner"'
        assert rig.only().name == "GET /sub/metrics"
        assert not rig.lines


def test_a_route_of_the_application_wins() -> None:
    """Whoever has a route of that exact path keeps it, with its telemetry; a route for anything does not count."""
    app = Starlette(routes=[Route("/metrics", ok)])
    catching = Starlette(routes=[Route("/{rest:path}", ok)])
    with rigged(answers={"/metrics": page}) as rig:
        for _ in range(3):
            assert body(app, "/metrics") == b"fine"
            assert body(catching, "/metrics") == b"page of /metrics"
        assert len(rig.take()) == 3


def test_middlewares_of_the_application_do_not_see_the_page() -> None:
    """Authentication, rate limits and access counters of the application stay out of scrapes."""
    seen: list[str] = []

    async def look(request: Any, call_next: Any) -> Any:
        seen.append(request.url.path)
        return await call_next(request)

    app = Starlette(routes=[Route("/p", ok)], middleware=[Middleware(BaseHTTPMiddleware, dispatch=look)])
    with rigged(answers={"/metrics": page}):
        body(app, "/metrics")
        body(app, "/p")
    assert seen == ["/p"]


def test_a_websocket_of_that_path_is_the_applications(app: Any) -> None:
    """The page speaks HTTP only."""
    with rigged(answers={"/metrics": page}):
        sent = get(app, "/metrics", type="websocket", scheme="ws", subprotocols=[])
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_an_application_without_telemetry_has_the_page(app: Any) -> None:
    """Excluded URLs and the page do not depend on each other."""
    with rigged({"OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": ".*"}, answers={"/metrics": page}) as rig:
        assert body(app, "/metrics") == b"page of /metrics"
        assert b"page" not in body(app, "/p/1")
        assert nothing(rig)
