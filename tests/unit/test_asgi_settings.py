"""Settings of the server path: excluded URLs, captured headers, limits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from tests.asgi_rig import drive, get, ok, one_route, rigged, scope_of


@pytest.mark.parametrize("name", ["OTEL_PYTHON_EXCLUDED_URLS", "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS"])
def test_excluded_urls_make_no_telemetry(name):
    """Neither span nor metric, in mounted applications neither, and the others are not touched."""
    inner = one_route()
    app = Starlette(routes=[Route("/health", ok), Mount("/in", app=inner)])
    with rigged({name: "/health$,shop.test:8080/in/p/1"}) as rig:
        get(app, "/health")
        get(app, "/in/p/1")
        assert rig.take() == []
        assert rig.points("http.server.request.duration") == []
        get(app, "/in/p/2")
        get(app, "/health/more")
        assert len(rig.take()) == 2


def test_the_own_variable_replaces_the_general_one():
    """`OTEL_PYTHON_FASTAPI_EXCLUDED_URLS` is used instead of `OTEL_PYTHON_EXCLUDED_URLS`, not besides."""
    settings = {"OTEL_PYTHON_EXCLUDED_URLS": "p/1", "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "p/2"}
    with rigged(settings) as rig:
        for path in ("/p/1", "/p/2"):
            get(one_route(), path)
        assert rig.only().attributes["url.path"] == "/p/1"


def test_an_expression_that_does_not_compile_is_left_out():
    """One bad expression is a problem of the settings, and the good ones still exclude."""
    with rigged({"OTEL_PYTHON_EXCLUDED_URLS": "(,p/1"}) as rig:
        app = one_route()
        get(app, "/p/1")
        get(app, "/p/2")
        assert rig.only().attributes["url.path"] == "/p/2"
        assert rig.lines == []


@pytest.mark.parametrize("texts", ["(?i)/P/1,/p/3", "/(?P<id>p/1),/(?P<id>p/3)", "x,(p)/1,(/)p\\1?3"])
def test_expressions_that_cannot_be_joined_exclude_each_by_itself(texts):
    """Expressions with flags of their own, groups of one name or groups by number mean what each means alone."""
    with rigged({"OTEL_PYTHON_EXCLUDED_URLS": texts}) as rig:
        app = one_route()
        for number in (1, 2, 3):
            get(app, f"/p/{number}")
        assert rig.only().attributes["url.path"] == "/p/2"
        assert rig.lines == []


@pytest.mark.parametrize("names", ["(?i)X-Ten.*,x-inner", "(?P<n>x-tenant),(?P<n>x-inner)"])
def test_names_that_cannot_be_joined_capture_each_by_itself(names):
    """Captured headers, and those whose values are hidden, may have flags and groups of their own as well."""
    settings = {
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": names,
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS": "(?i)INNER,(?i)other",
    }
    with rigged(settings) as rig:
        get(one_route(), "/p/1", headers={"x-tenant": "acme", "x-inner": "s", "x-else": "s"})
        captured = {k: list(v) for k, v in rig.only().attributes.items() if ".header." in k}
        assert captured == {
            "http.request.header.x-tenant": ["acme"],
            "http.request.header.x-inner": ["[REDACTED]"],
        }
        assert rig.lines == []


def test_captured_headers():
    """Headers are captured by name or expression; credentials and cookies only without their values."""
    settings = {
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": "X-Tenant,accept.*,Authorization,cookie,x-inner",
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE": ".*",
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS": "inner",
    }

    def handler(request: Any) -> PlainTextResponse:
        answer = PlainTextResponse("fine", headers={"X-Answer": "42"})
        answer.set_cookie("session", "secret")
        return answer

    headers = {"x-tenant": "acme", "accept": "*/*", "authorization": "Bearer s", "cookie": "a=s", "x-inner": "s"}
    with rigged(settings) as rig:
        scope = scope_of("/p/1", headers=headers)
        scope["headers"].append((b"x-tenant", b"other"))
        sent = asyncio.run(drive(one_route(handler), scope))
        captured = {k: list(v) for k, v in rig.only().attributes.items() if ".header." in k}
    assert captured == {
        "http.request.header.x-tenant": ["acme", "other"],
        "http.request.header.accept": ["*/*"],
        "http.request.header.authorization": ["[REDACTED]"],
        "http.request.header.cookie": ["[REDACTED]"],
        "http.request.header.x-inner": ["[REDACTED]"],
        "http.response.header.x-answer": ["42"],
        "http.response.header.set-cookie": ["[REDACTED]"],
        "http.response.header.content-length": ["4"],
        "http.response.header.content-type": ["text/plain; charset=utf-8"],
    }
    assert (b"x-answer", b"42") in sent[0]["headers"]


def test_bots_are_told_from_people():
    """Known crawlers carry `user_agent.synthetic.type`, as contrib says it."""
    with rigged() as rig:
        get(one_route(), "/p/1", headers={"user-agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"})
        assert rig.only().attributes["user_agent.synthetic.type"] == "bot"


def test_megabytes_stay_outside():
    """A megabyte of path, query or user agent is cut to what a span can hold."""
    with rigged() as rig:
        get(one_route(), "/p/" + "x" * 1_000_000 + "?q=" + "y" * 1_000_000, headers={"user-agent": "z" * 1_000_000})
        assert sum(len(str(value)) for value in rig.only().attributes.values()) < 10_000
