"""httpx and httpx2: the span lives until the body is read, closed or lost."""

from __future__ import annotations

import asyncio
import gc
import importlib
import types
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest
from opentelemetry.trace import get_current_span

from otel_distro.context import RequestScope, close_scope, open_scope
from otel_distro.instrumentation.httpx import Httpx2Instrumentation, HttpxInstrumentation
from otel_distro.instrumentation.httpx.headers import writer
from tests.http_echo import Echo
from tests.recording import Recording, instrumented, named, recorded

CONTRIB = "opentelemetry.instrumentation.httpx"
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket"}
KINDS = {"httpx": HttpxInstrumentation, "httpx2": Httpx2Instrumentation}


@pytest.fixture(name="httpx", params=KINDS)
def library(request: pytest.FixtureRequest) -> Any:
    """Each of the two libraries, which have the same interface."""
    return importlib.import_module(request.param)


@pytest.fixture
def kind(httpx: Any) -> type[HttpxInstrumentation]:
    """The instrumentation of that library."""
    return KINDS[httpx.__name__]


@pytest.fixture
def instrumentor(kind: type[HttpxInstrumentation]) -> Any:
    """Contrib's for that library."""
    return getattr(importlib.import_module(CONTRIB), kind.instrumentor)


@pytest.fixture(params=["whole", "brief"])
def recording(request: pytest.FixtureRequest, kind: type[HttpxInstrumentation]) -> Iterator[Recording]:
    """A library, instrumented, with spans that are put together and without; nothing of the distro may have failed."""
    with recorded(kind, brief=request.param == "brief") as recording:
        yield recording


def test_a_streamed_answer_ends_with_its_body(recording: Recording, echo: Echo, httpx: Any) -> None:
    """While the body is being read the span is open and not the current one; with its end the span ends."""
    with httpx.Client() as client, client.stream("GET", echo.url) as response:
        assert recording.spans == []
        assert b"".join(response.iter_bytes()) == b"0123456789" * 10
        assert len(recording.spans) == 1
    assert len(recording.spans) == 1
    assert [count for _, count in recording.points("http.client.request.duration")] == [1]


def test_the_span_is_current_until_the_headers_have_come(recording: Recording, echo: Echo, httpx: Any) -> None:
    """Whoever reads a body does not do it within the request's span."""
    seen: list[bool] = []
    outside = get_current_span()

    async def work() -> None:
        async with httpx.AsyncClient() as client, client.stream("GET", echo.url):
            seen.append(get_current_span() is outside)

    with httpx.Client() as client, client.stream("GET", echo.url):
        seen.append(get_current_span() is outside)
    asyncio.run(work())
    assert seen == [True, True]


def test_a_body_can_be_read_in_part(recording: Recording, echo: Echo, httpx: Any) -> None:
    """A reader that stops early ends the span when the answer is closed, without an error."""

    async def work() -> None:
        async with httpx.AsyncClient() as client, client.stream("GET", echo.url) as response:
            async for _ in response.aiter_raw(3):
                break

    asyncio.run(work())
    assert "error.type" not in (recording.one().attributes or {})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/status/200", "/status/200"),
        ("", ""),
        ("/status/200?token=s3cret&page=2", "/status/200?token=REDACTED&page=2"),
        ("/status/200#part", "/status/200#part"),
        ("/a b/ü@x", "/a%20b/%C3%BC@x"),
    ],
)
def test_the_url_is_told_as_httpx_writes_it(
    recording: Recording, echo: Echo, given: str, expected: str, httpx: Any
) -> None:
    """Whatever parts an URL has, its span tells all of it but secrets, and the server's name and port."""
    httpx.get(echo.url + given)
    attributes = recording.one().attributes or {}
    assert attributes["url.full"] == echo.url + expected
    assert f"http://{attributes['server.address']}:{attributes['server.port']}" == echo.url


def test_a_url_without_a_host_tells_no_password(recording: Recording, httpx: Any) -> None:
    """What stands behind further slashes is taken for the host, as a reader of the URL would."""
    with httpx.HTTPTransport() as transport, pytest.raises(httpx.TransportError):
        transport.handle_request(httpx.Request("GET", "http:////joe:pw@127.0.0.1/"))
    assert (recording.one().attributes or {})["url.full"] == "http://REDACTED:REDACTED@127.0.0.1/"


def test_an_answer_that_is_kept_half_read_keeps_no_connection(recording: Recording, echo: Echo, httpx: Any) -> None:
    """Who stops reading gives the connection up, as without us, though the answer lives on."""

    async def main() -> tuple[int, int]:
        limits, timeout = httpx.Limits(max_connections=1), httpx.Timeout(60)
        async with httpx.AsyncClient(limits=limits, timeout=timeout) as client:
            kept = await client.send(client.build_request("GET", echo.url), stream=True)
            async for _ in kept.aiter_bytes():
                break
            await asyncio.sleep(0.05)
            return (await client.get(echo.url)).status_code, kept.status_code

    assert asyncio.run(main()) == (200, 200)


def test_a_name_and_password_in_an_url_stay_inside(recording: Recording, echo: Echo, httpx: Any) -> None:
    """What stands before the host is redacted."""
    httpx.get(echo.url.replace("//", "//joe:pw@"))
    assert (recording.one().attributes or {})["url.full"] == echo.url.replace("//", "//REDACTED:REDACTED@")


def test_a_request_that_is_sent_again_has_one_traceparent(recording: Recording, echo: Echo, httpx: Any) -> None:
    """The second time its headers are the second span's, and none is there twice."""
    echo.asked.clear()
    scope = RequestScope("r1")
    open_scope(scope)
    try:
        with httpx.Client() as client:
            request = client.build_request("GET", echo.url)
            client.send(request)
            client.send(request)
    finally:
        close_scope(scope)
    ids = {f"{span.context.span_id:016x}" for span in recording.spans}
    assert {headers["traceparent"].split("-")[2] for headers in echo.asked} == ids
    assert len(ids) == len(echo.asked) == 2
    assert request.headers.get_list("traceparent") == [echo.asked[1]["traceparent"]]
    assert request.headers.get_list("x-request-id") == ["r1"]


def test_headers_of_a_class_of_its_own_are_written_by_their_own_methods(httpx: Any) -> None:
    """Nobody writes past what an application made of httpx's headers."""

    class Own(httpx.Headers):
        pass

    write = writer(httpx.Headers, "X-Request-ID")
    assert write is not None
    own, usual = Own({"a": "b"}), httpx.Headers({"a": "b"})
    assert not write(own, "t", "r1")
    assert list(own.items()) == [("a", "b")]
    assert write(usual, "t", "r1")
    assert usual.raw == [(b"a", b"b"), (b"traceparent", b"t"), (b"X-Request-ID", b"r1")]
    assert not write(usual, "t2", "r2")
    assert usual["traceparent"] == "t"


def test_the_short_ways_are_there(kind: type[HttpxInstrumentation]) -> None:
    """What the newest release keeps of URLs and headers is what the short ways know; else they cost in silence."""
    with instrumented(kind, Recording()) as instrumentation:
        assert instrumentation._transports._parts is not None
        assert instrumentation._client.write is not None


def test_a_streamed_answer_ends_when_it_is_closed(recording: Recording, echo: Echo, httpx: Any) -> None:
    """A body that is not read ends its span when it is closed."""
    with httpx.Client() as client:
        with client.stream("GET", echo.url):
            assert recording.spans == []
        assert len(recording.spans) == 1


def test_an_answer_that_is_lost_ends_with_the_garbage(recording: Recording, echo: Echo, httpx: Any) -> None:
    """A response that nobody closes ends its span at the latest when it is collected."""
    client = httpx.Client()
    client.send(client.build_request("GET", echo.url), stream=True)
    gc.collect()
    assert len(recording.spans) == 1
    client.close()


def test_an_asynchronous_stream_ends_with_its_body(recording: Recording, echo: Echo, httpx: Any) -> None:
    """The same for asynchronous streams."""

    async def work() -> None:
        async with httpx.AsyncClient() as client, client.stream("GET", echo.url) as response:
            assert recording.spans == []
            assert await response.aread() == b"0123456789" * 10
        assert len(recording.spans) == 1

    asyncio.run(work())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_body_that_breaks_off_is_an_error(recording: Recording, echo: Echo, asynchronous: bool, httpx: Any) -> None:
    """When reading fails after good headers, the error arrives and the span has it beside the status."""

    async def read_async() -> None:
        async with httpx.AsyncClient() as client:
            await client.get(f"{echo.url}/cut")

    def read() -> None:
        httpx.get(f"{echo.url}/cut")

    with pytest.raises(httpx.RemoteProtocolError):
        asyncio.run(read_async()) if asynchronous else read()
    attributes = recording.one().attributes or {}
    assert attributes["error.type"] == "RemoteProtocolError"
    assert attributes["http.response.status_code"] == 200
    ((measured, _),) = recording.points("http.client.request.duration")
    assert measured["error.type"] == "RemoteProtocolError"


def test_a_cancelled_request_ends_its_span(recording: Recording, httpx: Any) -> None:
    """A request whose task is cancelled ends with the cancellation as its error type."""

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server, httpx.AsyncClient() as client:
            port = server.sockets[0].getsockname()[1]
            task = asyncio.ensure_future(client.get(f"http://127.0.0.1:{port}/"))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await client.aclose()
            await asyncio.sleep(0.05)

    asyncio.run(main())
    assert (recording.one().attributes or {})["error.type"] == "CancelledError"


def test_each_hop_of_a_redirect_is_a_span(recording: Recording, echo: Echo, httpx: Any) -> None:
    """httpx sends each hop through its transport, so each is a span, as with contrib."""
    httpx.get(f"{echo.url}/redirect", follow_redirects=True)
    assert {(span.attributes or {})["http.response.status_code"] for span in recording.spans} == {302, 200}
    assert len(recording.spans) == 2


def test_many_at_once_have_spans_of_their_own(recording: Recording, echo: Echo, httpx: Any) -> None:
    """Concurrent requests never mix: each has the parent of its own task."""
    tracer = recording.tracer_provider.get_tracer("t")

    async def one(client: httpx.AsyncClient, number: int) -> None:
        with tracer.start_as_current_span(f"task {number}"):
            await client.get(f"{echo.url}/status/200?number={number}")

    async def main() -> None:
        async with httpx.AsyncClient() as client:
            await asyncio.gather(*(one(client, number) for number in range(20)))

    asyncio.run(main())
    outer = {span.context.span_id: span.name.split()[1] for span in recording.spans if span.name.startswith("task")}
    inner = [span for span in recording.spans if span.name == "GET"]
    assert len(inner) == 20
    for span in inner:
        assert span.parent is not None
        assert str((span.attributes or {})["url.full"]).endswith(f"number={outer[span.parent.span_id]}")


def test_contribs_hooks_are_called(echo: Echo, kind: type[HttpxInstrumentation], instrumentor: Any, httpx: Any) -> None:
    """Hooks given to `HTTPXClientInstrumentor` run on our span, sync and async; what they raise does no harm."""
    recording = Recording()

    def on_request(span: Any, request: Any) -> None:
        span.update_name(f"hooked {request.method.decode()}")

    def on_response(span: Any, request: Any, response: Any) -> None:
        span.set_attribute("hook.status", response.status_code)
        raise ValueError("a hook's own mistake")

    async def on_async_request(span: Any, request: Any) -> None:
        await asyncio.sleep(0)
        span.set_attribute("hook.async", True)

    async def on_async_response(span: Any, request: Any, response: Any) -> None:
        raise ValueError("a hook's own mistake")

    async def work() -> None:
        async with httpx.AsyncClient() as client:
            await client.get(echo.url)

    with instrumented(kind, recording) as instrumentation:
        instrumentation.instrument(importlib.import_module(CONTRIB))
        instrumentor().instrument(
            request_hook=on_request,
            response_hook=on_response,
            async_request_hook=on_async_request,
            async_response_hook=on_async_response,
        )
        httpx.get(echo.url)
        asyncio.run(work())
        spans = named(recording.take())
        instrumentor().uninstrument()
        httpx.get(echo.url)
        assert recording.spans == []
    assert (spans["hooked GET"].attributes or {})["hook.status"] == 200
    assert (spans["GET"].attributes or {})["hook.async"] is True
    assert recording.failures == [f"{kind.name} hook: ValueError: a hook's own mistake"]


def test_hooks_run_within_the_span_and_readers_do_not(
    echo: Echo, kind: type[HttpxInstrumentation], instrumentor: Any, httpx: Any
) -> None:
    """The span is the current one for the hooks of the response, and not any more for who reads the body."""
    outside = get_current_span()
    seen: list[bool] = []

    async def on_async_response(span: Any, request: Any, response: Any) -> None:
        seen.append(get_current_span() is span)

    async def work() -> None:
        async with httpx.AsyncClient() as client, client.stream("GET", echo.url):
            seen.append(get_current_span() is outside)

    with instrumented(kind, Recording()) as instrumentation:
        instrumentation.instrument(importlib.import_module(CONTRIB))
        instrumentor().instrument(
            response_hook=lambda span, *_: seen.append(get_current_span() is span),
            async_response_hook=on_async_response,
        )
        with httpx.Client() as client, client.stream("GET", echo.url):
            seen.append(get_current_span() is outside)
        asyncio.run(work())
        instrumentor().uninstrument()
    assert seen == [True] * 4


def test_hooks_of_one_client_are_its_own(
    echo: Echo, kind: type[HttpxInstrumentation], instrumentor: Any, httpx: Any
) -> None:
    """`instrument_client` gives one client hooks and makes no second span; others have none."""
    recording = Recording()
    with instrumented(kind, recording) as instrumentation:
        instrumentation.instrument(importlib.import_module(CONTRIB))
        with httpx.Client() as hooked, httpx.Client() as other:
            instrumentor.instrument_client(hooked, request_hook=lambda span, request: span.set_attribute("hook", "yes"))
            hooked.get(echo.url)
            other.get(echo.url)
            instrumentor.uninstrument_client(hooked)
            hooked.get(echo.url)
    assert {(span.attributes or {}).get("hook") for span in recording.spans} == {"yes", None}
    assert len(recording.spans) == 2


def test_contribs_own_transport_is_the_only_one_that_traces(
    echo: Echo, kind: type[HttpxInstrumentation], httpx: Any
) -> None:
    """A transport that the application wraps in contrib's makes contrib's span and not ours as well."""
    recording = Recording()
    with instrumented(kind, recording) as instrumentation:
        instrumentation.instrument(importlib.import_module(CONTRIB))
        wrapped = getattr(importlib.import_module(CONTRIB), kind.wrappers[0])(
            httpx.HTTPTransport(), tracer_provider=recording.tracer_provider, meter_provider=recording.meter_provider
        )
        with httpx.Client(transport=wrapped) as client:
            client.get(echo.url)
    span = recording.one()
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "opentelemetry.instrumentation.httpx"
    assert recording.failures == []


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_websockets_request_ends_when_the_connection_is_one(
    recording: Recording, echo: Echo, httpx: Any, asynchronous: bool
) -> None:
    """The span ends with the status 101; the connection may live for days."""

    def connect() -> list[int]:
        with httpx.Client() as client, client.stream("GET", f"{echo.url}/switch", headers=UPGRADE) as response:
            return [len(recording.spans), response.status_code]

    async def connect_async() -> list[int]:
        async with (
            httpx.AsyncClient() as client,
            client.stream("GET", f"{echo.url}/switch", headers=UPGRADE) as response,
        ):
            return [len(recording.spans), response.status_code]

    assert (asyncio.run(connect_async()) if asynchronous else connect()) == [1, 101]
    assert (recording.one().attributes or {})["http.response.status_code"] == 101


def test_a_reader_that_stops_lets_the_generator_end(recording: Recording, echo: Echo, httpx: Any) -> None:
    """Whoever closes the iterator of a body closes httpx's own below it, as without us."""

    async def main() -> list[bool]:
        async with httpx.AsyncClient() as client, client.stream("GET", echo.url) as response:
            chunks = aiter(response.stream._stream)
            own = chunks._chunks
            await anext(chunks)
            await chunks.aclose()
            return [isinstance(chunks, AsyncGenerator), own.ag_frame is None]

    assert asyncio.run(main()) == [True, True]


def test_a_library_without_its_transports_is_left_alone(kind: type[HttpxInstrumentation]) -> None:
    """httpx 1.0 is another library under the same name: the reason is told in words, and nothing is patched."""
    unknown = types.ModuleType(kind.name)
    unknown.__version__ = "1.0.dev6"  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match=r"1\.0\.dev6 is not known"):
        kind(Recording().toolbox).instrument(unknown)


def test_a_transport_that_is_given_no_request_is_left_alone(kind: type[HttpxInstrumentation]) -> None:
    """httpx 0.18 and 0.19 give their transports the parts of a request by name, which goes on as without us."""

    class HTTPTransport:
        def handle_request(self, method: bytes, url: object, headers: object, stream: object) -> None: ...

    older = types.ModuleType(kind.name)
    vars(older).update(__version__="0.19.0", BaseTransport=HTTPTransport, HTTPTransport=HTTPTransport)
    own = HTTPTransport.handle_request
    with pytest.raises(RuntimeError, match=r"0\.19\.0 is not known"):
        kind(Recording().toolbox).instrument(older)
    assert HTTPTransport.handle_request is own


def test_httpx2_under_the_name_of_httpx_is_instrumented_once(echo: Echo) -> None:
    """Where `httpx2.alias_httpx` was called before us, a request makes one span."""
    httpx2 = importlib.import_module("httpx2")
    recording = Recording()
    with instrumented(Httpx2Instrumentation, recording):
        HttpxInstrumentation(recording.toolbox).instrument(httpx2)
        httpx2.get(echo.url)
    assert recording.one().instrumentation_scope is not None
    assert recording.failures == []
