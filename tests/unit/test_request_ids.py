"""Request ids: believed where they are well formed, made where not, answered, and sent to called services."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from otel_distro import request_id, set_context, set_user
from otel_distro.context import RequestScope, close_scope, open_scope
from otel_distro.guard import Guard
from otel_distro.instrumentation.aiohttp_client import AiohttpClientInstrumentation
from otel_distro.instrumentation.base import Instrumentation
from otel_distro.instrumentation.httpx import Httpx2Instrumentation, HttpxInstrumentation
from otel_distro.instrumentation.httpx.headers import writer as httpx_writer
from otel_distro.instrumentation.request_ids import usable_names
from otel_distro.instrumentation.requests import RequestsInstrumentation, writer
from otel_distro.instrumentation.urllib3 import Urllib3Instrumentation
from tests.asgi_rig import get, one_route, rigged
from tests.http_echo import Echo
from tests.recording import Recording, instrumented, library_of

TRACE = "0af7651916cd43dd8448eb211c80319c"


def asked(environ: Mapping[str, str] | None = None, **headers: str) -> tuple[str | None, dict[bytes, bytes], Any]:
    """What the application read, the response's headers and the server span of one request."""
    seen: list[str | None] = []

    async def handler(request: Any) -> Any:
        seen.append(request_id())
        return PlainTextResponse("fine")

    with rigged(environ) as rig:
        answers = get(
            one_route(handler), "/p/1", headers={name.replace("_", "-"): text for name, text in headers.items()}
        )
        assert rig.guard.failures == ()
        return seen[0], dict(answers[0]["headers"]), rig.only()


@pytest.mark.parametrize(
    "given",
    ["9b2f9c2e-52cf-4b6e-8a68-3cf13c1b4a77", "01HZX3J6E9", "Root=1-67891233-abcdef012345678912345678", "a", "x" * 128],
)
def test_a_well_formed_id_is_taken(given: str) -> None:
    """The caller's id is what the application reads, what is answered, and an attribute of the span."""
    seen, headers, span = asked(x_request_id=given)
    assert seen == given
    assert headers[b"x-request-id"] == given.encode()
    assert span.attributes["request.id"] == given


@pytest.mark.parametrize(
    "given",
    ["", " ", "x" * 129, "x" * 1_000_000, "a b", "a\nb", "a\r\nset-cookie: x", "a\x00", "\x7f", "é", "a,b", '"a"',
     "<a>", "${jndi:ldap}", "{}", "a;b"],
)  # fmt: skip
def test_anything_else_is_replaced(given: str) -> None:
    """A header that is too long or has other characters is nobody's id: the trace id takes its place."""
    seen, headers, span = asked(x_request_id=given)
    assert seen == f"{span.context.trace_id:032x}"
    assert headers[b"x-request-id"] == seen.encode()
    assert "request.id" not in span.attributes


def test_without_one_the_trace_id_is_the_id() -> None:
    """A request without an id has that of its trace, also one that somebody else began."""
    seen, headers, _ = asked(traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    assert seen == TRACE
    assert headers[b"x-request-id"] == TRACE.encode()


def test_the_second_header_counts_where_the_first_is_unusable() -> None:
    """The first well-formed id of the configured headers is taken, and answered under its own name."""
    seen, headers, _ = asked(x_request_id="not usable", x_correlation_id="c1")
    assert seen == "c1"
    assert headers[b"x-correlation-id"] == b"c1"
    assert b"x-request-id" not in headers


def test_names_of_headers_are_configurable() -> None:
    """Other names take the place of both; one that cannot be a header is said once and left out."""
    environ = {"OTEL_DISTRO_REQUEST_ID_HEADERS": "X-Trace, bad name"}
    seen, headers, _ = asked(environ, x_request_id="r1", x_trace="t1")
    assert seen == "t1"
    assert headers[b"x-trace"] == b"t1"
    assert b"x-request-id" not in headers


def test_each_part_can_be_left_out() -> None:
    """Without `accept` no caller is believed, without `echo` nothing is answered, with `none` neither."""
    seen, headers, span = asked({"OTEL_DISTRO_REQUEST_ID": "echo"}, x_request_id="r1")
    assert seen == f"{span.context.trace_id:032x}"
    assert headers[b"x-request-id"] == seen.encode()
    seen, headers, _ = asked({"OTEL_DISTRO_REQUEST_ID": "accept"}, x_request_id="r1")
    assert seen == "r1"
    assert b"x-request-id" not in headers
    seen, headers, span = asked({"OTEL_DISTRO_REQUEST_ID": "none"}, x_request_id="r1")
    assert seen == f"{span.context.trace_id:032x}"
    assert b"x-request-id" not in headers


def test_unsampled_requests_have_ids_as_well() -> None:
    """The id is read and answered where no span records."""
    with rigged(sampler="always_off") as rig:
        (start, _) = get(one_route(), "/p/1", headers={"x-request-id": "r1"})
        assert dict(start["headers"])[b"x-request-id"] == b"r1"
        (start, _) = get(one_route(), "/p/1")
        assert len(dict(start["headers"])[b"x-request-id"]) == 32
        assert rig.take() == []


def test_two_unsampled_requests_have_different_ids() -> None:
    """An id that is made is a request's own."""
    with rigged(sampler="always_off"):
        made = {dict(get(one_route(), "/p/1")[0]["headers"])[b"x-request-id"] for _ in range(50)}
    assert len(made) == 50


@pytest.mark.parametrize("name", ["X-Request-ID", "x-request-id", "X-Request-Id"])
def test_what_the_application_answers_itself_stays(name: str) -> None:
    """A response that has the header keeps its own, once."""

    async def handler(request: Any) -> Any:
        return Response(headers={name: "mine"})

    with rigged():
        (start, _) = get(one_route(handler), "/p/1", headers={"x-request-id": "r1"})
    assert [value for key, value in start["headers"] if key.lower() == b"x-request-id"] == [b"mine"]


def test_a_response_that_is_sent_twice_has_each_requests_id() -> None:
    """A response object and its list of headers are the application's: they stay as they are."""
    kept = PlainTextResponse("fine")

    async def handler(request: Any) -> Any:
        return kept

    before = list(kept.raw_headers)
    with rigged():
        app = Starlette(routes=[Route("/p", handler)])
        ids = [dict(get(app, "/p", headers={"x-request-id": given})[0]["headers"])[b"x-request-id"] for given in "ab"]
    assert ids == [b"a", b"b"]
    assert kept.raw_headers == before


def test_headers_that_would_be_used_up_go_out_as_they_are() -> None:
    """An iterator of headers is the server's to read, so it gets no id."""

    async def handler(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": iter([(b"a", b"b")])})
        await send({"type": "http.response.body"})

    with rigged():
        from starlette.routing import Mount

        (start, _) = get(Starlette(routes=[Mount("/m", app=handler)]), "/m/x")
    assert list(start["headers"]) == [(b"a", b"b")]


# --- clients ---------------------------------------------------------------------------------------------------------


def _requests(module: ModuleType, url: str, headers: dict[str, str]) -> None:
    module.get(url, headers=headers)


def _httpx(module: ModuleType, url: str, headers: dict[str, str]) -> None:
    with module.Client() as client:
        client.get(url, headers=headers)


def _urllib3(module: ModuleType, url: str, headers: dict[str, str]) -> None:
    with module.PoolManager() as pool:
        pool.request("GET", url, headers=headers)


def _aiohttp(module: ModuleType, url: str, headers: dict[str, str]) -> None:
    async def main() -> None:
        async with module.ClientSession() as session, session.get(url, headers=headers) as response:
            await response.read()

    asyncio.run(main())


CLIENTS = [
    pytest.param(RequestsInstrumentation, _requests, id="requests"),
    pytest.param(HttpxInstrumentation, _httpx, id="httpx"),
    pytest.param(Httpx2Instrumentation, _httpx, id="httpx2"),
    pytest.param(Urllib3Instrumentation, _urllib3, id="urllib3"),
    pytest.param(AiohttpClientInstrumentation, _aiohttp, id="aiohttp"),
]


@pytest.mark.parametrize(("kind", "call"), CLIENTS)
def test_clients_send_the_id_along(kind: type[Instrumentation], call: Any, echo: Echo) -> None:
    """Within a request a called service gets its id, unless the application sends one itself; outside none."""
    recording = Recording()
    scope = RequestScope("r1")
    with instrumented(kind, recording):
        module = library_of(kind)
        echo.asked.clear()
        call(module, echo.url, {})
        open_scope(scope)
        try:
            call(module, echo.url, {})
            call(module, echo.url, {"x-REQUEST-id": "mine"})
        finally:
            close_scope(scope)
    assert [headers.get("x-request-id") for headers in echo.asked] == [None, "r1", "mine"]
    assert recording.failures == []
    assert scope.spent is not None
    assert scope.spent.http_calls == 2


@pytest.mark.parametrize(("kind", "call"), CLIENTS)
def test_a_traceparent_of_the_applications_own_is_replaced(kind: type[Instrumentation], call: Any, echo: Echo) -> None:
    """As with contrib the span's header goes out, once, and the id beside it."""
    recording = Recording()
    scope = RequestScope("r1")
    open_scope(scope)
    try:
        with instrumented(kind, recording):
            echo.asked.clear()
            for _ in range(2):  # the first finds out whether there is a short way
                call(library_of(kind), echo.url, {"traceparent": "mine"})
    finally:
        close_scope(scope)
    sent = {headers["traceparent"].split("-")[2] for headers in echo.asked}
    assert sent == {f"{span.context.span_id:016x}" for span in recording.spans}
    assert [headers["x-request-id"] for headers in echo.asked] == ["r1"] * 2
    assert len(sent) == 2
    assert recording.failures == []


@pytest.mark.parametrize(("kind", "call"), CLIENTS)
def test_the_propagators_own_header_carries_no_id(kind: type[Instrumentation], call: Any, echo: Echo) -> None:
    """A setting that names `traceparent` as the id's header changes nothing in it; the next name is taken."""
    recording = Recording({"OTEL_DISTRO_REQUEST_ID_HEADERS": "Traceparent,X-Other-ID"})
    scope = RequestScope("r1")
    open_scope(scope)
    try:
        with instrumented(kind, recording):
            echo.asked.clear()
            for _ in range(2):
                call(library_of(kind), echo.url, {})
    finally:
        close_scope(scope)
    assert [len(headers["traceparent"]) for headers in echo.asked] == [55, 55]
    assert [headers["x-other-id"] for headers in echo.asked] == ["r1", "r1"]


def test_what_the_propagator_owns_is_no_header_of_ids() -> None:
    """Servers and clients leave such names out, and say so."""
    said: list[str] = []
    guard = Guard(output=lambda level, text: said.append(text))
    assert usable_names(("Traceparent", "X-Request-ID", "baggage", "tracestate"), guard) == ("X-Request-ID",)
    assert len(said) == 3
    assert all("propagator" in line for line in said)


def test_requests_headers_of_a_class_of_its_own_are_written_by_their_own_methods() -> None:
    """Nobody writes past what an application made of requests' headers."""
    structures = importlib.import_module("requests.structures")
    write = writer(structures.CaseInsensitiveDict, "X-Request-ID")
    assert write is not None
    usual, own = structures.CaseInsensitiveDict(), type("Own", (structures.CaseInsensitiveDict,), {})()
    assert not write(own, "t", "r1")
    assert not write({}, "t", "r1")
    assert not own
    assert write(usual, "t", "r1")
    assert write(usual, "t2", "r2")
    assert dict(usual) == {"traceparent": "t2", "X-Request-ID": "r1"}


def test_headers_that_are_kept_elsewhere_are_written_by_their_own_methods() -> None:
    """Where a later version of a library keeps no such list or dictionary, nothing is written past its methods."""
    assert writer(dict, "X-Request-ID") is None
    assert httpx_writer(dict, "X-Request-ID") is None


@pytest.mark.parametrize("status", [500, None])
def test_a_requests_error_tells_the_answer_that_it_has(echo: Echo, status: int | None) -> None:
    """What an adapter raises may carry the response, whose status is then the span's."""
    requests = importlib.import_module("requests")
    recording = Recording()

    class Raising(requests.adapters.HTTPAdapter):  # type: ignore[misc, name-defined]
        def send(self, *args: Any, **kwargs: Any) -> Any:
            response = super().send(*args, **kwargs)
            raise requests.HTTPError("no", response=response if status else None)

    with instrumented(RequestsInstrumentation, recording), requests.Session() as session:
        session.mount("http://", Raising())
        with pytest.raises(requests.HTTPError):
            session.get(f"{echo.url}/status/500")
    attributes = recording.one().attributes or {}
    assert attributes.get("http.response.status_code") == status
    assert attributes["error.type"] == "HTTPError"
    assert recording.failures == []


def test_nothing_is_sent_where_the_settings_say_so(echo: Echo) -> None:
    """Without `send` a called service gets no id."""
    recording = Recording({"OTEL_DISTRO_REQUEST_ID": "accept,echo"})
    scope = RequestScope("r1")
    open_scope(scope)
    try:
        with instrumented(RequestsInstrumentation, recording):
            echo.asked.clear()
            _requests(importlib.import_module("requests"), echo.url, {})
    finally:
        close_scope(scope)
    assert "x-request-id" not in echo.asked[0]


@pytest.mark.parametrize(("keys", "baggage"), [("", None), ("tenant,user", "tenant=acme,user=u+1"), ("cart", None)])
def test_baggage_carries_what_is_allowed(keys: str, baggage: str | None, echo: Echo) -> None:
    """Only the keys of the allow list leave, as W3C baggage, and only where they have a value."""
    recording = Recording({"OTEL_DISTRO_BAGGAGE_KEYS": keys})
    scope = RequestScope("r1")
    open_scope(scope)
    try:
        set_user("u 1", email="u@shop.test")
        set_context(tenant="acme", secret="s")
        with instrumented(RequestsInstrumentation, recording):
            echo.asked.clear()
            _requests(importlib.import_module("requests"), echo.url, {})
    finally:
        close_scope(scope)
    assert echo.asked[0].get("baggage") == baggage
    assert recording.failures == []
