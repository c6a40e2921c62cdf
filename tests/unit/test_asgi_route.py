"""`http.route` is the full template, whatever stands between the outermost application and the handler."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router

from tests.asgi_rig import App, get, rigged


def _plain(request: Any) -> PlainTextResponse:
    return PlainTextResponse("plain")


class _Copying:
    """A middleware that hands on a copy of the scope."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(dict(scope), receive, send)


class _Dispatching(BaseHTTPMiddleware):
    async def dispatch(self, request: Any, call_next: Any) -> Any:
        return await call_next(request)


def _router() -> APIRouter:
    innermost = APIRouter()

    @innermost.get("/leaf/{leaf}")
    def leaf(leaf: int) -> int:
        return leaf

    router = APIRouter(prefix="/r")

    @router.get("/user/{user}")
    async def user(user: int) -> int:
        return user

    router.include_router(innermost, prefix="/inner/{tenant}")
    router.add_route("/plain/{name}", _plain)
    return router


def _app(*middlewares: Any) -> FastAPI:
    app = FastAPI()
    app.include_router(_router(), prefix="/v1")

    @app.get("/direct/{item}")
    def direct(item: int) -> int:
        return item

    below = FastAPI()
    below.include_router(_router(), prefix="/v2")
    app.mount("/below/{area}", below)
    deep = Mount("/m/{level}", routes=[Route("/z/{last}", _plain)])
    app.mount("/star", Starlette(routes=[Route("/x/{one}", _plain), deep, Mount("/files", app=_plain_asgi)]))
    for middleware in middlewares:
        app.add_middleware(middleware)
    return app


async def _plain_asgi(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("asgi")(scope, receive, send)


ROUTES = {
    "/direct/1": "/direct/{item}",
    "/v1/r/user/1": "/v1/r/user/{user}",
    "/v1/r/user/not-a-number": "/v1/r/user/{user}",
    "/v1/r/inner/acme/leaf/3": "/v1/r/inner/{tenant}/leaf/{leaf}",
    "/v1/plain/joe": "/v1/plain/{name}",
    "/below/eu/v2/r/user/1": "/below/{area}/v2/r/user/{user}",
    "/below/eu/v2/r/inner/acme/leaf/3": "/below/{area}/v2/r/inner/{tenant}/leaf/{leaf}",
    "/star/x/1": "/star/x/{one}",
    "/star/m/2/z/3": "/star/m/{level}/z/{last}",
    "/star/files/secret/report.pdf": "/star/files/{path}",
    "/docs": "/docs",
    "/nowhere": None,
    "/below/eu/nowhere": "/below/{area}/{path}",
}


@pytest.mark.parametrize("middlewares", [(), (_Copying,), (_Dispatching,), (_Dispatching, _Copying)], ids=str)
def test_the_route_is_the_full_template(middlewares):
    """Router prefixes, mounts of FastAPI and Starlette, and middlewares that copy the scope leave the route whole."""
    with rigged() as rig:
        app = _app(*middlewares)
        found = {}
        for path in ROUTES:
            get(app, path)
            span = rig.only()
            found[path] = span.attributes.get("http.route")
            assert span.name == (f"GET {found[path]}" if found[path] else "GET")
        assert found == ROUTES
    assert rig.lines == []


class _Naming:
    """A middleware that says a route of its own on the server span."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        trace.get_current_span().set_attribute("http.route", "/mine")
        await self._app(scope, receive, send)


@pytest.mark.parametrize("brief", [True, False])
@pytest.mark.parametrize("path", ROUTES)
def test_a_route_that_the_application_said_before_routing_stays(path, brief):
    """Matched once, through mounts, or never: a user's http.route is not replaced; the name is that of the match."""
    with rigged(brief=brief) as rig:
        get(_app(_Naming), path)
        span = rig.only()
        assert span.attributes["http.route"] == "/mine"
        assert span.name == (f"GET {ROUTES[path]}" if ROUTES[path] else "GET")


@pytest.mark.parametrize("brief", [True, False])
def test_a_route_is_completed_on_a_span_that_somebody_has_read(brief):
    """What routing has told so far gives way to what it tells later."""

    class Reading(_Naming):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            assert "http.route" not in trace.get_current_span().attributes
            await self._app(scope, receive, send)

    with rigged(brief=brief) as rig:
        get(_app(Reading), "/below/eu/v2/r/user/1")
        assert rig.only().attributes["http.route"] == "/below/{area}/v2/r/user/{user}"


def test_the_route_is_never_the_raw_path():
    """Without a template there is no route: a path nobody knows does not become one."""
    with rigged() as rig:
        get(_app(), "/raw/4711?token=x")
        assert "http.route" not in rig.only().attributes


def test_a_method_that_is_not_allowed_still_has_its_route():
    """The router chose the route and found the method missing: 405 belongs to that route."""
    with rigged() as rig:
        get(_app(), "/direct/1", "DELETE")
        span = rig.only()
        assert span.name == "DELETE /direct/{item}"
        assert span.attributes["http.response.status_code"] == 405


def test_plain_starlette_has_full_routes_too():
    """Routers, mounts and hosts of Starlette without FastAPI around them."""
    app = Starlette(
        routes=[
            Mount("/a/{b}", routes=[Route("/c/{d}", _plain)]),
            Host("shop.test", app=Router([Route("/hosted/{e}", _plain)])),
        ]
    )
    with rigged() as rig:
        get(app, "/a/1/c/2")
        get(app, "/hosted/3")
        assert sorted(span.name for span in rig.take()) == ["GET /a/{b}/c/{d}", "GET /hosted/{e}"]


def test_fastapi_under_starlette_has_one_span_and_the_full_route():
    """The outermost application makes the span, whichever of the two it is."""
    with rigged() as rig:
        get(Starlette(routes=[Mount("/o/{p}", app=_app())]), "/o/5/v1/r/user/1")
        assert rig.only().name == "GET /o/{p}/v1/r/user/{user}"


def test_the_application_root_belongs_to_the_route():
    """`http.route` includes the application root (semantic conventions, `http.route`)."""
    with rigged() as rig:
        get(_app(), "/direct/1", root_path="/shop/")
        assert rig.only().attributes["http.route"] == "/shop/direct/{item}"


def test_the_route_is_on_the_span_while_the_handler_runs():
    """Who reads the current span within the request, a log line or an error report, sees its final name."""
    from opentelemetry import trace

    app = FastAPI()
    seen: list[Any] = []

    @app.get("/live/{x}")
    def live(x: int) -> None:
        span: Any = trace.get_current_span()
        seen.append((span.name, span.attributes["http.route"]))

    with rigged():
        get(app, "/live/1")
    assert seen == [("GET /live/{x}", "/live/{x}")]


@pytest.mark.parametrize("where", ["handler", "middleware"])
def test_a_name_the_application_gave_stays(where):
    """`update_name` in the application wins over the route."""
    from opentelemetry import trace

    app = FastAPI()

    @app.get("/named/{x}")
    def named(x: int) -> None:
        if where == "handler":
            trace.get_current_span().update_name("mine")

    class Naming(_Copying):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if where == "middleware" and scope["type"] == "http":
                trace.get_current_span().update_name("mine")
            await self.app(scope, receive, send)

    app.add_middleware(Naming)
    with rigged() as rig:
        get(app, "/named/1")
        span = rig.only()
        assert span.name == "mine"
        assert span.attributes["http.route"] == "/named/{x}"


def test_a_thousand_routes_cost_no_second_match():
    """The last of many routes is known from routing: `matches` is called as often with us as without."""
    calls = 0

    class Counted(Route):
        def matches(self, scope: Any) -> Any:
            nonlocal calls
            calls += 1
            return super().matches(scope)

    app = Starlette(routes=[Counted(f"/n{n}", _plain) for n in range(1000)])
    get(app, "/n999")
    bare, calls = calls, 0
    with rigged() as rig:
        get(app, "/n999")
        assert calls == bare
        assert rig.only().name == "GET /n999"
