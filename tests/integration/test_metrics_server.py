"""The scrape server over real sockets: formats, bad clients, taken ports, forks, and promtool's opinion."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.resources import Resource
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families

from otel_distro.guard import Guard
from otel_distro.metrics import LeanMeterProvider
from otel_distro.metrics.shared import Group, SharedStore
from otel_distro.metrics.source import LocalSource
from otel_distro.prometheus import Endpoint, Renderer, Scraper, Server
from otel_distro.prometheus.keeper import Keeper
from otel_distro.prometheus.scraper import Answer
from tests.servers.exposition import promtool_check
from tests.servers.waiting import wait_until
from tests.threads import no_threads
from tests.unit import test_prometheus_text as hostile


class Served:
    """A provider with a running server."""

    def __init__(self, timeout_millis: float = 5000) -> None:
        self.guard = Guard(output=lambda level, text: None)
        self.provider = LeanMeterProvider(resource=Resource({"service.name": "s"}), guard=self.guard)
        self.meter = self.provider.get_meter("scope")
        renderer = Renderer(self.guard, lambda: self.provider.resource)
        self.scraper = Scraper(LocalSource(self.provider, timeout_millis=timeout_millis), renderer)
        self.server = Server(self.scraper.scrape, "127.0.0.1", 0, self.guard)
        self.server.bind()
        self.server.start()
        self.port = self.server.port

    def get(self, path: str = "/metrics", method: str = "GET", **headers: str) -> tuple[int, bytes, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.server.stop()


def test_a_scrape_gets_both_formats_compressed_or_not(served: Served) -> None:
    """Text by default, OpenMetrics by negotiation, gzip when it is taken; HEAD gets the length only."""
    for number in range(100):
        served.meter.create_counter(f"c{number}").add(number)
    status, body, headers = served.get()
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"c7_total{" in body
    status, body, headers = served.get(**{"Accept": "application/openmetrics-text", "Accept-Encoding": "gzip"})
    assert len(list(openmetrics_families(gzip.decompress(body).decode()))) == 101
    status, body, headers = served.get(method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 1000


def test_a_connection_is_kept_for_the_next_scrape(served: Served) -> None:
    """A scraper asks again and again on one connection, and sees new numbers."""
    counter = served.meter.create_counter("c")
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    sockets = set()
    for number in range(1, 4):
        counter.add(1)
        connection.request("GET", "/metrics")
        body = connection.getresponse().read().decode()
        assert f"}} {number}.0\n" in body
        sockets.add(connection.sock)
    connection.close()
    assert len(sockets) == 1
    assert None not in sockets


def test_a_page_that_was_sent_is_not_kept_until_the_next(served: Served) -> None:
    """A kept connection holds no memory of its last answer, which may be tens of megabytes."""
    page = 20_000_000
    served.server._scrape = lambda accept, encoding: Answer(b"x" * page, ())
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    tracemalloc.start()
    try:
        connection.request("GET", "/metrics")
        assert len(connection.getresponse().read()) == page
        wait_until(lambda: tracemalloc.get_traced_memory()[0] < page / 4, seconds=5, what="the page to be given back")
    finally:
        tracemalloc.stop()
        connection.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /other HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\ncontent-length: 2\r\n\r\nxx", 405),
        (b"\x16\x03\x01\x02\x00 TLS \r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nx: " + b"a" * 40_000, 431),
        (b"GET /metrics?name[]=x HTTP/1.0\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\naccept: \xff\xfe;;;q=,,\r\nno colon\r\n\r\n", 200),
        (b"GET http://shop.test:9464/metrics?x=/ HTTP/1.1\r\n\r\n", 200),
        (b"GET http://shop.test/other HTTP/1.1\r\n\r\n", 404),
        (b"GET http:///metrics/other HTTP/1.1\r\n\r\n", 404),
        (b"\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n", 200),
    ],
)
def test_every_request_gets_an_answer(served: Served, sent: bytes, status: int) -> None:
    """Wrong paths, methods, protocols and sizes have their status, and the server goes on."""
    with served.connect() as client:
        client.sendall(sent)
        assert client.recv(100).startswith(f"HTTP/1.1 {status} ".encode())
    assert served.get()[0] == 200


@pytest.mark.parametrize(
    ("sent", "heads"),
    [
        (b"GET /other HTTP/1.1\r\n\r\n", [b"404 Not Found"]),
        (b"HEAD /other HTTP/1.1\r\n\r\n", [b"404 Not Found"]),
        (b"OPTIONS /metrics HTTP/1.1\r\n\r\n", [b"405 Method Not Allowed"]),
        (b"GET / HTTP/1.1\r\nconnection: TE, Close\r\n\r\nGET / HTTP/1.1\r\n\r\n", [b"200 OK"]),
        (b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", [b"200 OK"]),
        (
            b"GET / HTTP/1.1\r\n\r\nHEAD / HTTP/1.1\r\n\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
            [b"200 OK", b"200 OK", b"404 Not Found"],
        ),
    ],
)
def test_a_connection_lasts_as_long_as_both_sides_say(served: Served, sent: bytes, heads: list[bytes]) -> None:
    """Requests one behind the other are answered in turn until a side says that it closes (RFC 9112, section 9)."""
    with served.connect() as client:
        client.sendall(sent)
        answers = http_answers(client, [line.split()[0] for line in sent.split(b"\r\n") if b" HTTP/" in line])
    assert [answer.split(b"\r\n")[0] for answer, _ in answers] == [b"HTTP/1.1 " + head for head in heads]
    assert [b"connection: close" in answer for answer, _ in answers] == [False] * (len(heads) - 1) + [True]
    assert [b"\r\nallow: GET, HEAD\r\n" in answer for answer, _ in answers] == [b"405" in head for head in heads]


def http_answers(client: socket.socket, methods: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Head and body of all answers until the server closes; one to HEAD has no body (RFC 9110, section 9.3.2)."""
    received = b""
    while part := client.recv(65536):
        received += part
    answers = []
    for method in methods:
        if not received:
            break
        head, _, received = received.partition(b"\r\n\r\n")
        length = 0 if method == b"HEAD" else int(head.partition(b"content-length: ")[2].split()[0])
        answers.append((head, received[:length]))
        received = received[length:]
    assert received == b""
    return answers


def test_a_header_that_comes_twice_counts_twice(served: Served) -> None:
    """Lists in repeated headers are one list (RFC 9110, section 5.3)."""
    with served.connect() as client:
        client.sendall(
            b"GET / HTTP/1.1\r\naccept: application/openmetrics-text\r\naccept: text/plain;q=0.1\r\n"
            b"connection: close\r\n\r\n"
        )
        ((head, _),) = http_answers(client, [b"GET"])
    assert b"content-type: application/openmetrics-text" in head


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit])
def test_a_callback_that_fails_costs_its_own_values(served: Served, error: type[BaseException]) -> None:
    """Whatever a callback raises, also the result of a task that was cancelled, the others are on the page."""

    def failing(_: CallbackOptions) -> list[Observation]:
        raise error

    served.meter.create_observable_gauge("failing", [failing])
    served.meter.create_observable_gauge("well", [lambda options: [Observation(7)]])
    for _ in range(2):
        status, body, _ = served.get()
        assert (status, b"\nwell{" in body, b"\nfailing{" in body) == (200, True, False)
    assert [f.part for f in served.guard.failures] == ["metrics: callback of failing"]


def test_a_callback_that_hangs_delays_a_scrape_by_its_timeout() -> None:
    """What the other instruments say is shown all the same, and the next scrape is answered as well."""
    go = threading.Event()

    def hanging(_: CallbackOptions) -> list[Observation]:
        go.wait(60)
        return []

    served = Served(timeout_millis=50)
    served.meter.create_counter("c").add(3)
    served.meter.create_observable_gauge("hanging", [hanging])
    try:
        for _ in range(2):
            status, body, _ = served.get()
            assert (status, b"\nc_total{" in body) == (200, True)
    finally:
        go.set()
        served.server.stop()
    assert [f.part for f in served.guard.failures] == ["metrics: collection"]


def test_a_client_that_does_not_read_or_write_delays_nobody(served: Served) -> None:
    """While clients sit on half a request, or read nothing of a large answer, others are answered."""
    for number in range(3000):
        served.meter.create_counter(f"counter_with_a_long_name_{number}").add(1)
    silent, half, deaf = served.connect(), served.connect(), served.connect()
    half.sendall(b"GET /met")
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    deaf.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    for _ in range(3):
        assert served.get()[0] == 200
    for client in (silent, half, deaf):
        client.close()


def test_more_clients_than_places_push_out_the_stalest(served: Served) -> None:
    """Connections are bounded, and a new scraper is always let in."""
    waiting = [served.connect() for _ in range(100)]
    assert served.get()[0] == 200
    for client in waiting:
        client.close()


def test_a_taken_port_is_an_error_of_bind_alone(served: Served) -> None:
    """A second server cannot bind; the first goes on; after its stop the port is free at once."""
    second = Server(served.scraper.scrape, "127.0.0.1", served.port, served.guard)
    with pytest.raises(OSError, match="in use"):
        second.bind()
    assert second.port == 0
    assert served.get()[0] == 200
    served.server.stop()
    second.bind()
    second.start()
    assert served.get()[0] == 200
    second.stop()


def test_a_port_without_a_thread_is_given_back() -> None:
    """Where no thread can be started, the port is free for others; what cannot be kept is said, and ends quietly."""
    lines: list[str] = []
    guard = Guard(output=lambda level, text: lines.append(text))
    made = Served()
    made.server.stop()
    server = Server(made.scraper.scrape, "127.0.0.1", made.port, guard)
    keeper = Keeper(server, guard)
    with no_threads():
        keeper.start()
    assert server.port == 0
    assert any("new thread" in line and "/metrics" in line for line in lines), lines
    keeper.start()
    assert server.port == made.port
    keeper.stop()


def test_a_port_that_comes_free_at_the_end_is_left_to_others() -> None:
    """An interpreter that ends starts no threads (CPython 3.12): a port that comes free then is nobody's warning."""
    holder = socket.create_server(("127.0.0.1", 0))
    program = f"""
import atexit, time
from otel_distro.guard import Guard
from otel_distro.prometheus import Server
from otel_distro.prometheus.keeper import Keeper
keeper = Keeper(Server(None, "127.0.0.1", {holder.getsockname()[1]}, Guard()), Guard())
keeper.start()
atexit.register(lambda: time.sleep(3))
print("ending", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ending\n"
        time.sleep(0.3)
        holder.close()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert [line for line in errors.splitlines() if "cannot be bound" not in line] == []


def test_a_scrape_that_fails_costs_that_scrape(served: Served) -> None:
    """An exception while rendering is a 500 and is counted, the next scrape is answered."""
    original, calls = served.scraper.scrape, []

    def flaky(accept: str, encoding: str) -> Any:
        calls.append(accept)
        if len(calls) == 1:
            raise RuntimeError("once")
        return original(accept, encoding)

    served.server._scrape = flaky
    assert [served.get()[0] for _ in range(2)] == [500, 200]
    assert [f.part for f in served.guard.failures] == ["prometheus scrape"]


def test_a_forked_child_lets_go_of_the_port(served: Served) -> None:
    """A child that outlives the server does not keep the port: it closed its copy of the socket."""
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        served.server.after_fork()
        os.read(ready, 1)
        os._exit(0)
    os.close(ready)
    assert served.get()[0] == 200
    served.server.stop()
    second = Server(served.scraper.scrape, "127.0.0.1", served.port, served.guard)
    try:
        wait_until_bound(second)
        second.start()
        assert served.get()[0] == 200
    finally:
        os.close(go)
        os.waitpid(pid, 0)
        second.stop()


def wait_until_bound(server: Server) -> None:
    """The child closes its copy when it gets to run, which is soon."""
    for _ in range(200):
        try:
            server.bind()
        except OSError:
            threading.Event().wait(0.05)
        else:
            return
    pytest.fail("the port was never free")


@pytest.mark.parametrize(
    ("host", "clients", "address"),
    [
        ("127.0.0.1", ["127.0.0.1"], "127.0.0.1:"),
        ("", ["127.0.0.1"], "0.0.0.0:"),
        ("0.0.0.0", ["127.0.0.1"], "0.0.0.0:"),
        ("::", ["::1", "127.0.0.1"], "[::]:"),
        ("[::]", ["::1"], "[::]:"),
        ("::1", ["::1"], "[::1]:"),
    ],
)
def test_the_port_is_bound_where_it_was_asked_for(host: str, clients: list[str], address: str) -> None:
    """Loopback stays loopback, `::` takes both families, and whoever binds every interface says what that shows."""
    if ":" in host and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    lines: list[str] = []
    guard = Guard(output=lambda level, text: lines.append(text))
    endpoint = Endpoint(LeanMeterProvider(resource=Resource({"a": "b"}), guard=guard), guard, host=host, port=0)
    endpoint.start()
    try:
        for client in clients:
            with socket.create_connection((client, endpoint.port), timeout=20) as connection:
                connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    finally:
        endpoint.stop()
    exposed = "1" not in address
    assert [address in line and "without a password" in line for line in lines] == [True] * exposed


def test_without_a_port_a_group_still_answers_for_all(tmp_path: Path) -> None:
    """Scrapes through the application alone: nothing listens, and the others' callbacks say what is true now."""
    said = [1.0]
    endpoints = []
    for _ in range(2):
        guard = Guard(output=lambda level, text: None)
        store = SharedStore(Group(tmp_path, "g"), guard)
        provider = LeanMeterProvider(resource=Resource({}), guard=guard, store=store)
        meter = provider.get_meter("scope")
        meter.create_counter("orders").add(2)
        meter.create_observable_counter("seen", [lambda options: [Observation(said[0])]])
        endpoints.append(Endpoint(provider, guard, listens=False, instance_id="g", scope_labels=False))
        endpoints[-1].start()

    def fresh(endpoint: Endpoint, value: float) -> bool:
        said[0] = value
        text = endpoint.scrape().body.decode()
        assert endpoint.port == 0
        assert "orders_total 4.0\n" in text
        return f"seen_total {2 * value}\n" in text

    values = map(float, itertools.count(1))
    try:
        for endpoint in endpoints * 2:
            # a scrape waits a tenth of a second for the others, in which a busy machine may have no processor for one
            assert any(fresh(endpoint, next(values)) for _ in range(50))
    finally:
        for endpoint in endpoints:
            endpoint.stop()


def test_promtool_finds_nothing_wrong_with_the_format(served: Served) -> None:
    """`promtool check metrics` parses the text; what it says about names is the specification's doing."""
    served.meter.create_counter("orders", "{order}", "All orders").add(3, {"user": 'a"\\\n', "ü": "é"})
    histogram = served.meter.create_histogram("http.server.request.duration", "s", "Duration")
    histogram.record(0.2, {"http.route": "/items/{id}", "status": 200})
    served.meter.create_gauge("temperature", "Cel", "Now").set(-3.5)
    served.meter.create_up_down_counter("active", "{request}", "Active").add(1)
    assert promtool_check(served.get()[1].decode()) == []


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    program=st.lists(
        st.tuples(hostile.kinds, hostile.valid_names, hostile.units, hostile.anything, st.lists(hostile.attributes)),
        min_size=3,
        max_size=12,
    )
)
def test_promtool_parses_whatever_an_application_calls_things(program: list[Any]) -> None:
    """Newlines, quotes, bytes that are no UTF-8, colliding names: no line that Prometheus's own parser refuses."""
    made = hostile.Exposed()
    for described in program:
        hostile.measure(made.meter, described)
    promtool_check(made.text())
