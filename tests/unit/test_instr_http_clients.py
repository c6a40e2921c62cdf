"""Rules that httpx, httpx2 (both sync and async), requests, urllib3 and aiohttp keep alike, against a server here."""

from __future__ import annotations

import asyncio
import importlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress as ignored
from functools import partial
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import urllib3
from opentelemetry import baggage, context, trace
from opentelemetry.instrumentation.utils import suppress_http_instrumentation, suppress_instrumentation
from opentelemetry.trace import SpanKind, StatusCode

from otel_distro.instrumentation.aiohttp_client import AiohttpClientInstrumentation
from otel_distro.instrumentation.http_client import record_redacted
from otel_distro.instrumentation.httpx import Httpx2Instrumentation, HttpxInstrumentation
from otel_distro.instrumentation.requests import RequestsInstrumentation
from otel_distro.instrumentation.urllib3 import Urllib3Instrumentation
from tests.http_echo import Echo
from tests.recording import Recording, instrumented, library_of, named

Call = Callable[..., int]
PROPAGATED = {"traceparent", "tracestate", "baggage"}


def _httpx(method: str, url: str, headers: dict[str, str] | None = None) -> int:
    with httpx.Client() as client:
        return client.request(method, url, headers=headers).status_code


def _httpx_async(method: str, url: str, headers: dict[str, str] | None = None) -> int:
    async def work() -> int:
        async with httpx.AsyncClient() as client:
            return (await client.request(method, url, headers=headers)).status_code

    return asyncio.run(work())


def _httpx2(method: str, url: str, headers: dict[str, str] | None = None) -> int:
    with httpx2.Client() as client:
        return client.request(method, url, headers=headers).status_code


def _httpx2_async(method: str, url: str, headers: dict[str, str] | None = None) -> int:
    async def work() -> int:
        async with httpx2.AsyncClient() as client:
            return (await client.request(method, url, headers=headers)).status_code

    return asyncio.run(work())


def _requests(method: str, url: str, headers: dict[str, str] | None = None) -> int:
    with requests.Session() as session:
        return session.request(method, url, headers=headers, timeout=5).status_code


def _urllib3(method: str, url: str, headers: dict[str, str] | None = None) -> int:
    with urllib3.PoolManager() as pool:
        return pool.request(method, url, headers=headers, retries=False).status


def _aiohttp(method: str, url: str, headers: dict[str, str] | None = None) -> int:
    async def work() -> int:
        async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as response:
            await response.read()
            return response.status

    return asyncio.run(work())


CLIENTS: dict[str, tuple[Any, Call, str]] = {
    "httpx": (HttpxInstrumentation, _httpx, "HTTPX"),
    "httpx-async": (HttpxInstrumentation, _httpx_async, "HTTPX"),
    "httpx2": (Httpx2Instrumentation, _httpx2, "HTTPX"),
    "httpx2-async": (Httpx2Instrumentation, _httpx2_async, "HTTPX"),
    "requests": (RequestsInstrumentation, _requests, "REQUESTS"),
    "urllib3": (Urllib3Instrumentation, _urllib3, "URLLIB3"),
    "aiohttp": (AiohttpClientInstrumentation, _aiohttp, "AIOHTTP_CLIENT"),
}


@pytest.fixture(autouse=True)
def _nothing_asked(echo: Echo) -> None:
    """The server has nothing to tell of earlier tests."""
    echo.asked.clear()


Record = Callable[..., Recording]


@pytest.fixture(params=["whole", "brief"])
def record(request: pytest.FixtureRequest) -> Record:
    """Makes a recording, of spans that are put together from the start or of those that are only when looked at."""
    return partial(Recording, brief=request.param == "brief")


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> tuple[Any, Call, str]:
    """Each client: its instrumentation, a function that makes one request, and its name in variables."""
    return CLIENTS[request.param]


@pytest.mark.parametrize("looked_at", [False, True])
def test_a_call_lasts_as_long_as_it_lasts(echo: Echo, record: Record, looked_at: bool) -> None:
    """The wall clock may be set while the answer is awaited, here forwards by an hour."""
    recording = record()

    class Adapter(requests.adapters.HTTPAdapter):
        def send(self, *args: Any, **kwargs: Any) -> requests.Response:
            span: Any = trace.get_current_span()
            span.start_time -= 3_600_000_000_000  # as if it had been
            if looked_at:
                span.set_attribute("looked", True)
            return super().send(*args, **kwargs)

    with instrumented(RequestsInstrumentation, recording), requests.Session() as session:
        session.mount("http://", Adapter())
        session.get(echo.url, timeout=5)
    span = recording.one()
    assert span.end_time is not None
    assert span.start_time is not None
    assert 0 <= span.end_time - span.start_time < 600_000_000_000


def test_a_request_is_one_client_span(client: tuple[Any, Call, str], echo: Echo, record: Record) -> None:
    """A request is one CLIENT span, named by its method, with stable names and the parent of where it is made."""
    kind, call, _ = client
    recording = record()
    tracer = recording.tracer_provider.get_tracer("t")
    with instrumented(kind, recording), tracer.start_as_current_span("above") as above:
        assert call("GET", f"{echo.url}/status/200?page=2&token=secret") == 200
        assert trace.get_current_span() is above
    spans = named(recording.spans)
    span, outer = spans["GET"], spans["above"]
    assert span.kind is SpanKind.CLIENT
    assert span.parent is not None
    assert span.parent.span_id == outer.context.span_id
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": echo.port,
        "url.full": f"{echo.url}/status/200?page=2&token=REDACTED",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
    }
    assert span.status.status_code is StatusCode.UNSET
    assert recording.failures == []


@pytest.mark.parametrize("name", ["traceparent", "Traceparent"])
def test_the_context_is_propagated(client: tuple[Any, Call, str], echo: Echo, record: Record, name: str) -> None:
    """The server gets the traceparent of the client span, in the place of one the caller set, and the other headers."""
    kind, call, _ = client
    recording = record()
    mine = {"x-mine": "1", name: "00-11111111111111111111111111111111-1111111111111111-01"}
    with instrumented(kind, recording):
        call("GET", f"{echo.url}/status/200", mine)
    span = recording.one()
    assert span.parent is None
    assert echo.asked[0]["traceparent"] == f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-03"
    assert echo.asked[0]["x-mine"] == "1"
    assert mine[name].startswith("00-1111")


def test_an_unsampled_request_propagates_and_counts(client: tuple[Any, Call, str], echo: Echo, record: Record) -> None:
    """Without a recording span the context still travels, unsampled, and the duration is still measured."""
    kind, call, _ = client
    recording = record(sampler="always_off")
    with instrumented(kind, recording):
        call("GET", f"{echo.url}/status/200")
    assert recording.spans == []
    assert echo.asked[0]["traceparent"].endswith("-02")
    assert [count for _, count in recording.points("http.client.request.duration")] == [1]


@pytest.mark.parametrize(("status", "failed"), [(200, False), (302, False), (404, True), (500, True)])
def test_statuses_from_400_are_errors(
    client: tuple[Any, Call, str], echo: Echo, status: int, failed: bool, record: Record
) -> None:
    """A client counts 4xx and 5xx as errors, on the span and in the metric."""
    kind, call, _ = client
    recording = record()
    with instrumented(kind, recording):
        call("GET", f"{echo.url}/status/{status}")
    span = recording.one()
    assert (span.status.status_code is StatusCode.ERROR) is failed
    assert (span.attributes or {}).get("error.type") == (str(status) if failed else None)
    ((attributes, count),) = recording.points("http.client.request.duration")
    assert count == 1
    expected = {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": echo.port,
        "http.response.status_code": status,
        "network.protocol.version": "1.1",
    }
    assert attributes == ({**expected, "error.type": str(status)} if failed else expected)


def test_a_refused_connection_is_raised_and_marked(client: tuple[Any, Call, str], record: Record) -> None:
    """An exception arrives unchanged; span and metric have its class, its message has no secrets of the URL."""
    kind, call, _ = client
    recording = record()
    with instrumented(kind, recording), pytest.raises(Exception, match=r".") as raised:
        call("GET", "http://joe:hidden@127.0.0.1:1/?token=secret")
    span = recording.one()
    assert (span.attributes or {})["error.type"] == type(raised.value).__qualname__
    assert span.status.status_code is StatusCode.ERROR
    assert [event.name for event in span.events] == ["exception"]
    assert "secret" not in span.to_json()
    assert "joe:hidden" not in str((span.attributes or {})["url.full"])
    ((attributes, _),) = recording.points("http.client.request.duration")
    assert attributes["error.type"] == type(raised.value).__qualname__


class _Untraceable(httpx.ConnectError):
    @property
    def __cause__(self) -> BaseException | None:  # type: ignore[override]
        raise RuntimeError("no cause")


def test_a_stack_that_cannot_be_formatted_costs_no_message() -> None:
    """Where only the stack trace fails, the event and the status keep the exception's own text, redacted."""

    sdk = importlib.import_module("opentelemetry.sdk.trace")
    for provider in (Recording().tracer_provider, sdk.TracerProvider(shutdown_on_exit=False)):
        span = provider.get_tracer("test").start_span("call")
        record_redacted(span, _Untraceable("no way to http://joe:hidden@host/"))
        (event,) = span.events
        assert event.attributes["exception.message"] == "no way to http://REDACTED:REDACTED@host/"
        assert span.status.description == "_Untraceable: no way to http://REDACTED:REDACTED@host/"
        assert "hidden" not in str(event.attributes)


def test_a_secret_in_a_path_is_hidden(client: tuple[Any, Call, str], echo: Echo, record: Record) -> None:
    """Parameters of a path's segments are redacted by name as those of a query are, userinfo only where it is one."""
    kind, call, _ = client
    recording = record()
    with instrumented(kind, recording):
        call("GET", f"{echo.url}/a;token=canary/b;v=1")
        call("GET", f"http://joe:canary@{echo.url.removeprefix('http://')}/@me/a")
    urls = {str((span.attributes or {})["url.full"]) for span in recording.spans}
    urls.remove(f"{echo.url}/a;token=REDACTED/b;v=1")
    (second,) = urls
    assert "canary" not in second
    assert second.endswith("/@me/a")


def test_unknown_methods_are_other(client: tuple[Any, Call, str], echo: Echo, record: Record) -> None:
    """A method outside the known ones is `_OTHER`, its span is named HTTP, and the original is kept."""
    kind, call, _ = client
    recording = record()
    with instrumented(kind, recording):
        call("BREW", f"{echo.url}/status/200")
    span = recording.one()
    assert span.name == "HTTP"
    assert (span.attributes or {})["http.request.method"] == "_OTHER"
    assert (span.attributes or {})["http.request.method_original"] == "BREW"


@pytest.mark.parametrize("general", [True, False])
def test_excluded_urls_are_silent(client: tuple[Any, Call, str], echo: Echo, general: bool, record: Record) -> None:
    """A URL that an expression matches, a general one or the library's own, makes no telemetry and no header."""
    kind, call, name = client
    variable = "OTEL_PYTHON_EXCLUDED_URLS" if general else f"OTEL_PYTHON_{name}_EXCLUDED_URLS"
    recording = record({variable: "status/2.1,other"})
    with instrumented(kind, recording):
        call("GET", f"{echo.url}/status/201")
        call("GET", f"{echo.url}/status/200")
    assert [(span.attributes or {})["http.response.status_code"] for span in recording.spans] == [200]
    assert "traceparent" not in echo.asked[0]


@pytest.mark.parametrize("texts", ["(?i)STATUS/201,other", "(?P<n>status/201),(?P<n>other)", "(?i)STATUS/201"])
def test_expressions_with_flags_and_groups_exclude(
    client: tuple[Any, Call, str], echo: Echo, texts: str, record: Record
) -> None:
    """Expressions that cannot be joined into one exclude as any other, for every client."""
    kind, call, _ = client
    recording = record({"OTEL_PYTHON_EXCLUDED_URLS": texts})
    with instrumented(kind, recording):
        call("GET", f"{echo.url}/status/201")
        call("GET", f"{echo.url}/status/200")
    assert [(span.attributes or {})["http.response.status_code"] for span in recording.spans] == [200]
    assert recording.failures == []


@pytest.mark.parametrize("suppress", [suppress_instrumentation, suppress_http_instrumentation])
def test_suppressed_code_is_silent(client: tuple[Any, Call, str], echo: Echo, suppress: Any, record: Record) -> None:
    """Code that asked for no telemetry gets none."""
    kind, call, _ = client
    recording = record()
    with instrumented(kind, recording), suppress():
        call("GET", f"{echo.url}/status/200")
    assert recording.spans == []
    assert "traceparent" not in echo.asked[0]


def test_headers_are_captured_on_request_only(client: tuple[Any, Call, str], echo: Echo, record: Record) -> None:
    """Named headers become attributes; cookies and credentials without their value."""
    kind, call, _ = client
    recording = record(
        {
            "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST": "x-mine,authorization",
            "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE": "x-ans.*,set-cookie",
        }
    )
    with instrumented(kind, recording):
        call("GET", f"{echo.url}/status/200", {"X-Mine": "1", "Authorization": "Bearer secret"})
    attributes = recording.one().attributes or {}
    assert attributes["http.request.header.x-mine"] == ("1",) or attributes["http.request.header.x-mine"] == ["1"]
    assert list(attributes["http.request.header.authorization"]) == ["[REDACTED]"]  # type: ignore[arg-type]
    assert list(attributes["http.response.header.x-answer"]) == ["yes"]  # type: ignore[arg-type]
    assert list(attributes["http.response.header.set-cookie"]) == ["[REDACTED]"]  # type: ignore[arg-type]


def test_uninstrumented_means_silent(client: tuple[Any, Call, str], echo: Echo, record: Record) -> None:
    """After `uninstrument` there is neither span nor header."""
    kind, call, _ = client
    recording = record()
    with instrumented(kind, recording) as instrumentation:
        instrumentation.instrument(library_of(kind))
    call("GET", f"{echo.url}/status/200")
    assert recording.spans == []
    assert "traceparent" not in echo.asked[0]


def test_upstreams_provider_works_as_well(client: tuple[Any, Call, str], echo: Echo, record: Record) -> None:
    """An instrumentation built on the unmodified SDK makes the same span."""
    memory = importlib.import_module("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    sdk = importlib.import_module("opentelemetry.sdk.trace")
    export = importlib.import_module("opentelemetry.sdk.trace.export")
    recording = record()
    provider = sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export.SimpleSpanProcessor(memory))
    kind, call, _ = client
    toolbox = importlib.import_module("otel_distro.instrumentation.base").Toolbox(
        provider, recording.meter_provider, recording.toolbox.settings, recording.guard
    )
    instrumentation = kind(toolbox)
    instrumentation.instrument(library_of(kind))
    try:
        call("GET", f"{echo.url}/status/404")
    finally:
        instrumentation.uninstrument()
    (span,) = memory.get_finished_spans()
    assert span.attributes["http.response.status_code"] == 404
    assert span.status.status_code is StatusCode.ERROR
    assert recording.failures == []


def test_only_the_upper_layer_traces(echo: Echo, record: Record) -> None:
    """requests over urllib3 is one span and one traceparent, requests' own."""
    recording = record()
    with instrumented(Urllib3Instrumentation, recording), instrumented(RequestsInstrumentation, recording):
        _requests("GET", f"{echo.url}/status/200")
    span = recording.one()
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "otel_distro.instrumentation.requests"


@pytest.mark.parametrize("name", ["requests", "urllib3", "aiohttp"])
def test_redirects_are_inside_their_request(echo: Echo, name: str, record: Record) -> None:
    """Where the library follows redirects inside one call, that call is one span; every hop gets a traceparent."""
    kind, call, _ = CLIENTS[name]
    recording = record()
    with instrumented(kind, recording):
        if name == "urllib3":
            with urllib3.PoolManager() as pool:
                pool.request("GET", f"{echo.url}/redirect")
        else:
            call("GET", f"{echo.url}/redirect")
    status = {(span.attributes or {})["http.response.status_code"] for span in recording.spans}
    assert 200 in status
    assert len(echo.asked) == 2
    assert all("traceparent" in headers for headers in echo.asked)


async def _follow_async(url: str, headers: dict[str, str]) -> None:
    async with httpx.AsyncClient(follow_redirects=True) as client:
        await client.get(url, headers=headers)


def _follow_urllib3(url: str, headers: dict[str, str]) -> None:
    with urllib3.PoolManager() as pool:
        pool.request("GET", url, headers=headers)


FOLLOWING: dict[str, tuple[Any, Callable[[str, dict[str, str]], object]]] = {
    "httpx": (HttpxInstrumentation, lambda url, own: httpx.get(url, headers=own, follow_redirects=True)),
    "httpx-async": (HttpxInstrumentation, lambda url, own: asyncio.run(_follow_async(url, own))),
    "requests": (RequestsInstrumentation, partial(_requests, "GET")),
    "urllib3": (Urllib3Instrumentation, _follow_urllib3),
    "aiohttp": (AiohttpClientInstrumentation, partial(_aiohttp, "GET")),
}


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_redirect_to_an_excluded_url_takes_no_header_of_ours_along(echo: Echo, name: str, record: Record) -> None:
    """An excluded URL gets no trace context where a redirect leads to it, and all that the application set itself."""
    kind, follow = FOLLOWING[name]
    recording = record({"OTEL_PYTHON_EXCLUDED_URLS": "status/200"})
    with instrumented(kind, recording):
        token = context.attach(baggage.set_baggage("tenant", "t"))
        follow(f"{echo.url}/redirect", {"tracestate": "own=1"})
        context.detach(token)
        follow(f"{echo.url}/redirect", {"baggage": "own=1"})
        follow(f"{echo.url}/status/200", {"traceparent": "own"})
    told = [{key: headers[key] for key in headers if key in PROPAGATED} for headers in echo.asked]
    assert (told[0]["baggage"], told[2]["baggage"]) == ("tenant=t", "own=1")
    assert "traceparent" in told[0]
    assert "traceparent" in told[2]
    assert [told[1], told[3], told[4]] == [{"tracestate": "own=1"}, {"baggage": "own=1"}, {"traceparent": "own"}]
    assert len(recording.spans) == 2
    assert recording.failures == []


@pytest.mark.parametrize("name", FOLLOWING)
def test_attempts_with_a_span_of_their_own_are_numbered(echo: Echo, name: str, record: Record) -> None:
    """A hop that is a span has the number of its sending anew; one span for all hops has none (conventions)."""
    kind, follow = FOLLOWING[name]
    recording = record()
    with instrumented(kind, recording):
        follow(f"{echo.url}/redirect", {"traceparent": "own"})
    counts = Counter((span.attributes or {}).get("http.request.resend_count") for span in recording.spans)
    assert counts == ({None: 1} if name in {"requests", "aiohttp"} else {None: 1, 1: 1})


@pytest.mark.parametrize("status", [401, 503, None])
def test_a_request_that_is_sent_again_is_numbered(echo: Echo, record: Record, status: int | None) -> None:
    """Each attempt counts, whatever was the cause, and a request by itself does not, whatever came before it."""

    class Stubborn(httpx.Auth):
        """Asks three times."""

        def auth_flow(self, request: httpx.Request) -> Any:
            for _ in range(3):
                yield request

    class Retrying(httpx.HTTPTransport):
        """Tries three times."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            for _ in range(2):
                with ignored(httpx.ConnectError):
                    super().handle_request(request)
            return super().handle_request(request)

    recording = record()
    with instrumented(HttpxInstrumentation, recording):
        if status is None:
            with httpx.Client(transport=Retrying()) as client, ignored(httpx.ConnectError):
                client.get("http://127.0.0.1:1/")
        with httpx.Client() as client:
            if status is not None:
                client.get(f"{echo.url}/status/{status}", auth=Stubborn())
            client.get(f"{echo.url}/status/{status or 200}")
    counts = Counter((span.attributes or {}).get("http.request.resend_count") for span in recording.spans)
    assert counts == {None: 2, 1: 1, 2: 1}
    assert recording.failures == []


def test_what_aiohttp_warns_of_is_about_the_line_of_the_application(record: Record) -> None:
    """A deprecated argument of a session is told of the line that made the session."""

    async def make() -> None:
        async with aiohttp.ClientSession(read_timeout=5):
            pass

    recording = record()
    with (
        instrumented(AiohttpClientInstrumentation, recording),
        pytest.warns(DeprecationWarning, match="timeout") as told,
    ):
        asyncio.run(make())
    assert [warning.filename for warning in told] == [__file__]


def test_sessions_without_a_dict_get_our_trace_configuration(record: Record) -> None:
    """Those of aiohttp 4 have slots; unwrapped, the class is what it was."""

    class ClientSession:
        __slots__ = ("__weakref__", "_trace_configs")

        def __init__(self, trace_configs: list[Any] | None = None) -> None:
            self._trace_configs = trace_configs or []

    slot = vars(ClientSession)["_trace_configs"]
    instrumentation = AiohttpClientInstrumentation(record().toolbox)
    instrumentation._library = SimpleNamespace(ClientSession=ClientSession, TraceConfig=aiohttp.TraceConfig)
    theirs = aiohttp.TraceConfig()
    instrumentation.wrap(instrumentation._library)
    session = ClientSession([theirs])
    assert session._trace_configs[0] is theirs
    assert len(session._trace_configs) == 2
    instrumentation.unwrap()
    assert vars(ClientSession)["_trace_configs"] is slot
    assert len(session._trace_configs) == 2
    assert ClientSession()._trace_configs == []


async def _refused(url: str, **options: Any) -> aiohttp.ClientResponseError:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientResponseError) as raised:
            await session.get(url, **options)
        return raised.value


def _told(recording: Recording) -> tuple[object, object]:
    """Status and error type of the one span, which the metric has as well."""
    told = recording.one().attributes or {}
    ((attributes, count),) = recording.points("http.client.request.duration")
    assert count == 1
    pair = told.get("http.response.status_code"), told.get("error.type")
    assert (attributes.get("http.response.status_code"), attributes.get("error.type")) == pair
    return pair


@pytest.mark.parametrize("status", [404, 503])
def test_an_answer_that_aiohttp_raises_for_is_an_answer(echo: Echo, record: Record, status: int) -> None:
    """`raise_for_status` changes nothing of what is told: the status was received (conventions, HTTP client spans)."""
    recording = record()
    with instrumented(AiohttpClientInstrumentation, recording):
        asyncio.run(_refused(f"{echo.url}/status/{status}", raise_for_status=True))
    assert _told(recording) == (status, str(status))
    assert recording.one().status.status_code is StatusCode.ERROR
    assert recording.failures == []


@pytest.mark.parametrize("early", [False, True])
def test_a_hook_of_the_applications_that_raises_leaves_no_span_open(record: Record, early: bool) -> None:
    """aiohttp asks no further hook where one of the application's raises: the span has its end, and its context too."""

    class OwnError(Exception):
        """What the application makes of aiohttp's."""

    async def translate(*_: Any) -> None:
        raise OwnError

    async def work() -> None:
        async with aiohttp.ClientSession(trace_configs=[config]) as session:
            for _ in range(2):
                with pytest.raises(OwnError):
                    await session.get("http://127.0.0.1:1/")
                assert trace.get_current_span() is above

    recording = record()
    config = aiohttp.TraceConfig()
    config.on_request_exception.append(translate)
    if early:
        config.on_request_start.append(translate)
    tracer = recording.tracer_provider.get_tracer("t")
    with instrumented(AiohttpClientInstrumentation, recording), tracer.start_as_current_span("above") as above:
        asyncio.run(work())
    *made, outer = recording.spans
    errors = [(span.parent and span.parent.span_id, (span.attributes or {})["error.type"]) for span in made]
    assert errors == ([] if early else [(outer.context.span_id, "ClientConnectorError")] * 2)
    assert recording.failures == []


def test_concurrent_requests_of_a_session_that_looks_at_exceptions_never_mix(echo: Echo, record: Record) -> None:
    """Both configurations of such a session know the span of their own request."""
    found: list[tuple[str, Any]] = []

    async def look(_: Any, __: Any, params: Any) -> None:
        found.append((str(params.url), trace.get_current_span()))

    async def ask(session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(url) as response:
            await response.read()

    async def work() -> None:
        config = aiohttp.TraceConfig()
        config.on_request_exception.append(look)
        async with aiohttp.ClientSession(trace_configs=[config]) as session:
            urls = [f"http://127.0.0.1:1/{number}" for number in range(5)] + [f"{echo.url}/status/200"] * 5
            await asyncio.gather(*(ask(session, url) for url in urls), return_exceptions=True)

    recording = record()
    with instrumented(AiohttpClientInstrumentation, recording):
        asyncio.run(work())
    errors = {str((s.attributes or {})["url.full"]) for s in recording.spans if "error.type" in (s.attributes or {})}
    assert len(recording.spans) == 10
    assert errors == {url for url, _ in found} == {f"http://127.0.0.1:1/{number}" for number in range(5)}
    assert recording.failures == []


def test_too_many_redirects_have_the_last_ones_status(echo: Echo, record: Record) -> None:
    """aiohttp's exception has no status, but the redirect that was not followed was received."""
    recording = record()
    with instrumented(AiohttpClientInstrumentation, recording):
        asyncio.run(_refused(f"{echo.url}/redirect", max_redirects=1))
    assert _told(recording) == (302, "TooManyRedirects")
    assert recording.one().status.status_code is StatusCode.ERROR


def test_what_is_no_http_has_no_status(record: Record) -> None:
    """aiohttp calls an answer that it cannot parse 400, which nobody has sent."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"nonsense\r\n\r\n")
        await writer.drain()
        writer.close()

    async def work() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1") as server:
            error = await _refused(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
            assert error.status == 400

    recording = record()
    with instrumented(AiohttpClientInstrumentation, recording):
        asyncio.run(work())
    assert _told(recording) == (None, "ClientResponseError")
