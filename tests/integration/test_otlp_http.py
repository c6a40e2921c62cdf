"""The client against servers that answer badly, slowly, or not at all."""

from __future__ import annotations

import base64
import contextlib
import gzip
import os
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_distro.otlp._batch import PROTOBUF
from otel_distro.otlp.answer import Answer, Result
from otel_distro.otlp.client import OtlpClient
from otel_distro.otlp.endpoint import Proxies, parse_endpoint
from tests.otlp_servers import OK, RawServer, Script, Speaking, batch, keep_answering, read_request, refused_url
from tests.servers import sink as sinks
from tests.servers.sink import OtlpSink

BODY = batch(1).body


def post(url: str, *, seconds: float = 5.0, body: bytes = BODY, proxies: Proxies | None = None) -> Answer:
    """One attempt with a new client."""
    client = OtlpClient(parse_endpoint(url), content_type=PROTOBUF, timeout=seconds, proxies=proxies)
    try:
        return client.send(body)
    finally:
        client.close()


def answered(answer: bytes, *, seconds: float = 5.0, body: bytes = BODY) -> Answer:
    """What becomes of one request to a server that gives this answer and then closes."""

    def script(connection: socket.socket, _: int) -> None:
        read_request(connection)
        connection.sendall(answer)

    with RawServer(script) as server:
        return post(server.url, seconds=seconds, body=body)


def test_a_request_is_what_the_specification_says() -> None:
    """Path, media type, user agent, user's headers and packing are as OTLP/HTTP wants them, over one connection."""
    with (
        OtlpSink() as sink,
        Speaking(f"{sink.url}/v1/traces", compression="gzip", headers={"X-Key": "1", "Content-Type": "x"}) as speaking,
    ):
        for number in range(3):
            assert speaking.send(number + 1)
        assert [span.name for span in sink.spans] == ["span 1", "span 2", "span 3"]
        first = sink.requests[0]
        assert first.path == "/v1/traces"
        assert first.headers["content-type"] == "application/x-protobuf"
        assert first.headers["content-encoding"] == "gzip"
        assert first.headers["x-key"] == "1"
        assert first.headers["user-agent"].startswith("otel-distro/")
        assert "OTel-OTLP-Exporter-Python/" in first.headers["user-agent"]


def test_requests_share_a_connection() -> None:
    """A connection is kept open from one request to the next."""
    with RawServer(keep_answering(OK)) as server, Speaking(server.url) as speaking:
        assert all(speaking.send(number) for number in range(1, 6))
        assert server.connections == 1


def test_a_connection_closed_by_the_server_while_idle_costs_nothing() -> None:
    """A server that closes after each answer, without saying so, gets every batch once, on new connections."""
    requests: list[bytes] = []

    def script(connection: socket.socket, _: int) -> None:
        requests.append(read_request(connection))
        connection.sendall(OK)

    with RawServer(script) as server, Speaking(server.url) as speaking:
        assert all(speaking.send(number) for number in range(1, 6))
        assert (server.connections, len(requests)) == (5, 5)
        assert speaking.sender.stats().failures == 0
        assert speaking.lines == []


def test_a_connection_reset_under_the_request_is_tried_once_more() -> None:
    """A kept connection that breaks before the first byte of an answer is replaced within the same attempt."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(OK)
        if number == 1:
            read_request(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            keep_answering(OK)(connection, number)

    with RawServer(script) as server, Speaking(server.url) as speaking:
        assert speaking.send(1)
        assert speaking.send(2)
        stats = speaking.sender.stats()
        assert (stats.sent, stats.failures, server.connections) == (2, 0, 2)


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (b"", Result.RETRY),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Result.RETRY),
        (b"\x00\x01\x02\xff" * 1000, Result.RETRY),
        (b"HTTP/1.1 abc\r\n\r\n", Result.RETRY),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", Result.ACCEPTED),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n", Result.RETRY),
        (b"HTTP/1.1 200 " + b"x" * 200_000, Result.RETRY),
        (b"HTTP/1.0 200 OK\r\n\r\n", Result.ACCEPTED),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, Result.ACCEPTED),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Result.ACCEPTED),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", Result.ACCEPTED),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5_000_000, Result.ACCEPTED),
        (b"HTTP/1.1 400 Bad\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 100_000, Result.REFUSED),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Result.ACCEPTED),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\n{}", Result.ACCEPTED),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n", Result.REFUSED),
    ],
    ids=range(16),
)
def test_any_answer_has_a_meaning(answer: bytes, result: Result) -> None:
    """Silence, noise, cut-off, endless and chunked answers are each classified; none raises or fills the memory."""
    assert answered(answer).result is result


def test_early_refusal_of_a_large_body_is_understood() -> None:
    """A server that answers 413 and closes before it has read the body is heard, or at least retried, never a hang."""

    def script(connection: socket.socket, _: int) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            pass

    with RawServer(script) as server:
        assert post(server.url, body=b"x" * 20_000_000).status == 413


@pytest.mark.parametrize("lengths", [b"0\r\nContent-Length: 100", b"100\r\ncontent-length: 0", b"0, 100", b"-1", b"x"])
def test_an_answer_of_no_certain_length_is_bad_at_once(lengths: bytes) -> None:
    """Nobody knows where it ends: it is not read on until the timeout, and its connection serves no other request."""

    def script(connection: socket.socket, _: int) -> None:
        while read_request(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: " + lengths + b"\r\n\r\n")

    with RawServer(script) as server:
        client = OtlpClient(parse_endpoint(server.url), content_type=PROTOBUF, timeout=60)
        began = time.monotonic()
        answers = [client.send(b""), client.send(b"")]
        took = time.monotonic() - began
        client.close()
        assert [(answer.result, answer.status) for answer in answers] == [(Result.RETRY, None)] * 2
        assert server.connections == 2
    assert took < 30


def hanging(connection: socket.socket, _: int) -> None:
    """Reads everything and never answers."""
    while connection.recv(1 << 20):
        pass


def dripping(connection: socket.socket, _: int) -> None:
    """Answers one byte every 50 ms, without an end."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def dripping_headers(connection: socket.socket, _: int) -> None:
    """Never finishes its header."""
    read_request(connection)
    while True:
        connection.sendall(b"H")
        time.sleep(0.05)


def deaf(connection: socket.socket, _: int) -> None:
    """Takes the connection and reads nothing."""
    while connection.fileno() >= 0:
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("script", "status"), [(hanging, None), (dripping, 200), (dripping_headers, None), (deaf, None)]
)
def test_the_timeout_covers_the_whole_request(script: Script, status: int | None) -> None:
    """A server that hangs, drips or does not read ends the attempt after the timeout, not after each byte's."""
    # a status that is sent at once has time to come from a busy machine
    seconds = 0.5 if status is None else 3.0
    with RawServer(script) as server:
        started = time.monotonic()
        answer = post(server.url, seconds=seconds, body=b"x" * (20_000_000 if status is None else 1))
        took = time.monotonic() - started
        server.stopping.set()
    # a status that has come stands, though its body never ends: sending again would count everything twice
    assert answer.status == status
    assert answer.message == ("no answer within 0.5 s" if status is None else "")
    assert seconds - 0.1 < took < 60  # a drip of 100,000 bytes would take more than an hour


@pytest.mark.parametrize(
    ("head", "more", "status"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n", 200),
    ],
)
def test_what_never_ends_is_not_read_for_long(head: bytes, more: bytes, status: int | None) -> None:
    """Interim answers and trailers without an end take a megabyte of reading, and no processor until the timeout."""
    sent = []

    def script(connection: socket.socket, _: int) -> None:
        read_request(connection)
        connection.sendall(head)
        with contextlib.suppress(OSError):
            while len(sent) < 10_000:
                connection.sendall(more * 1000)
                sent.append(len(more) * 1000)

    with RawServer(script) as server:
        answer = post(server.url)
    assert answer.status == status
    # what the kernel holds on both sides comes on top
    assert sum(sent) < 40_000_000


def test_a_refused_connection_is_said_in_words() -> None:
    """Nobody listening is `connection refused`."""
    assert post(refused_url()).message == "connection refused"


def test_an_unknown_name_is_said_in_words() -> None:
    """A host that does not exist is named as that."""
    assert post("http://no-such-host.invalid:4318/").message == "its name cannot be resolved"


def test_plain_text_on_a_tls_port_is_said_in_words() -> None:
    """https to a server without TLS fails as TLS, and is never tried in plain text."""
    seen: list[bytes] = []

    def script(connection: socket.socket, _: int) -> None:
        seen.append(connection.recv(10_000))
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with RawServer(script) as server:
        answer = post(server.url.replace("http://", "https://"))
    assert answer.result is Result.RETRY
    assert answer.message.startswith("TLS failed")
    assert not any(data.startswith(b"POST") for data in seen)


def test_an_http_proxy_is_asked_for_the_whole_url() -> None:
    """Through a proxy the request names the whole URL, and the proxy's credentials go to the proxy alone."""
    seen: list[bytes] = []

    def script(connection: socket.socket, _: int) -> None:
        seen.append(read_request(connection))
        connection.sendall(OK)

    with RawServer(script) as proxy:
        proxies = Proxies(http=f"http://us:pw@127.0.0.1:{proxy.port}")
        assert post("http://collector.invalid:4318/v1/traces", proxies=proxies).result is Result.ACCEPTED
    head = seen[0].split(b"\r\n\r\n")[0].decode()
    assert head.startswith("POST http://collector.invalid:4318/v1/traces HTTP/1.1\r\n")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'us:pw').decode()}" in head


@pytest.mark.parametrize("status", [b"407 Proxy Authentication Required", b"502 Bad Gateway"])
def test_a_proxy_that_refuses_the_tunnel_is_no_answer(status: bytes) -> None:
    """A CONNECT that is refused is a failed connection, said with the proxy's status; no data goes out."""
    seen: list[bytes] = []

    def script(connection: socket.socket, _: int) -> None:
        seen.append(read_request(connection))
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")

    with RawServer(script) as proxy:
        proxies = Proxies(https=f"http://127.0.0.1:{proxy.port}")
        answer = post("https://collector.invalid/v1/traces", proxies=proxies)
    assert seen[0].startswith(b"CONNECT collector.invalid:443 HTTP/1.1\r\n")
    assert answer.result is Result.RETRY
    assert f"the proxy answered {status[:3].decode()}" in answer.message


def test_a_forked_child_uses_a_connection_of_its_own() -> None:
    """Parent and child post 20 requests each on one client; none is lost, mixed or doubled (#4994)."""
    with OtlpSink() as sink:
        client = OtlpClient(parse_endpoint(f"{sink.url}/v1/traces"), content_type=PROTOBUF, gzip=True)
        assert client.send(batch(1).body).result is Result.ACCEPTED
        child = os.fork()
        if child == 0:
            fine = all(client.send(batch(1000 + n).body).result is Result.ACCEPTED for n in range(20))
            os._exit(0 if fine else 1)
        fine = all(client.send(batch(2000 + n).body).result is Result.ACCEPTED for n in range(20))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert fine
        client.close()
        names = sorted(span.name for span in sink.spans)
    assert names == sorted(f"span {n}" for n in [1, *range(1000, 1020), *range(2000, 2020)])


def test_a_packed_body_is_the_body() -> None:
    """What gzip makes is unpacked to the same request by anybody's gzip."""
    seen: list[bytes] = []

    def script(connection: socket.socket, _: int) -> None:
        seen.append(read_request(connection))
        connection.sendall(OK)

    big = batch(1, 500)
    with RawServer(script) as server:
        client = OtlpClient(parse_endpoint(server.url), content_type=PROTOBUF, gzip=True)
        client.send(big.body)
        client.close()
    packed = seen[0].split(b"\r\n\r\n", 1)[1]
    assert len(packed) < len(big.body) / 3
    assert ExportTraceServiceRequest.FromString(gzip.decompress(packed)).resource_spans


def test_ipv6_is_reached() -> None:
    """An endpoint with a bracketed IPv6 address is connected to, and `Host` has the brackets."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener, ThreadPoolExecutor(1) as sending:
        authority = f"[::1]:{listener.getsockname()[1]}"
        answer = sending.submit(post, f"http://{authority}/x", seconds=60)
        connection, _ = listener.accept()
        with connection:
            head = read_request(connection)
            connection.sendall(OK)
        assert answer.result().result is Result.ACCEPTED
    assert f"Host: {authority}\r\n".encode() in head


def test_credentials_in_the_url_are_sent_and_never_said() -> None:
    """Basic authorization from the URL reaches the server; no line ever shows user, password or query."""
    with OtlpSink() as sink:
        url = f"http://user:hunter2@127.0.0.1:{sink.port}/v1/traces?key=s3cret"
        with Speaking(url) as speaking:
            assert speaking.send()
            assert sink.requests[0].headers["authorization"] == "Basic dXNlcjpodW50ZXIy"
            sink.answer = sinks.Answer(status=401)
            speaking.send()
            sink.stop()
            speaking.send()
    assert len(speaking.lines) >= 2
    assert not any(secret in line for line in speaking.lines for secret in ("hunter2", "user:", "s3cret"))
