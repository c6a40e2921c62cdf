"""URLs, proxies, headers and answers: everything of the client that needs no network."""

from __future__ import annotations

import json
import random
import time
from email.utils import formatdate

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_distro.guard import Guard
from otel_distro.otlp.answer import Result, read_answer, retry_after
from otel_distro.otlp.backoff import Backoff
from otel_distro.otlp.client import OtlpClient, check_header
from otel_distro.otlp.endpoint import Proxies, parse_endpoint, parse_proxies, proxy_for
from otel_distro.otlp.exporters import build_encoder, build_sender
from otel_distro.otlp.metric_exporter import preferred_aggregation, preferred_temporality
from otel_distro.settings import Distro, Otlp

PROTOBUF = {"content-type": "application/x-protobuf"}


@pytest.mark.parametrize(
    ("url", "authority", "host_header", "target"),
    [
        ("http://localhost:4318/v1/traces", "localhost:4318", "localhost:4318", "/v1/traces"),
        ("https://otlp.example.org", "otlp.example.org:443", "otlp.example.org", "/"),
        ("http://[::1]:4318/a?b=c", "[::1]:4318", "[::1]:4318", "/a?b=c"),
        ("https://bücher.example/x", "xn--bcher-kva.example:443", "xn--bcher-kva.example", "/x"),
    ],
)
def test_an_endpoint_is_taken_apart(url: str, authority: str, host_header: str, target: str) -> None:
    """Host, port, `Host` header and request target come out right, for names, IPv6 and international names."""
    endpoint = parse_endpoint(url)
    assert (endpoint.authority, endpoint.host_header, endpoint.target) == (authority, host_header, target)


@pytest.mark.parametrize(
    "url", ["localhost:4318", "grpc://x", "http:///x", "http://h:99999", "http://h:x", "http://h/a b", "http://h/\x07"]
)
def test_an_unusable_endpoint_is_refused_without_being_repeated(url: str) -> None:
    """A URL that cannot be used raises a ValueError whose text does not hold it."""
    with pytest.raises(ValueError, match="endpoint") as caught:
        parse_endpoint(url)
    assert url not in str(caught.value)


def test_credentials_of_an_endpoint_are_sent_and_never_shown() -> None:
    """User and password become basic authorization; neither they nor the query are in any text of the endpoint."""
    endpoint = parse_endpoint("https://us%40er:pa%3Ass@host/v1/traces?token=secret")
    assert endpoint.authorization == "Basic dXNAZXI6cGE6c3M="
    for text in (str(endpoint), repr(endpoint), f"{endpoint}"):
        assert text.endswith(("https://host/v1/traces", "https://host/v1/traces')"))


def test_proxies_come_from_the_usual_variables() -> None:
    """Lower case goes before upper, `all_proxy` fills in, and under CGI `HTTP_PROXY` is a client's and not read."""
    environ = {
        "HTTP_PROXY": "http://upper",
        "http_proxy": "http://lower",
        "ALL_PROXY": "http://all",
        "no_proxy": "A, b",
    }
    assert parse_proxies(environ) == Proxies("http://lower", "http://all", ("a", "b"))
    assert parse_proxies({"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET"}).http is None
    assert "secret" not in repr(parse_proxies({"http_proxy": "http://u:secret@p"}))


@pytest.mark.parametrize(
    ("host", "exceptions", "direct"),
    [
        ("collector", (), False),
        ("localhost", (), True),
        ("127.0.0.5", (), True),
        ("[::1]", (), True),
        ("collector", ("*",), True),
        ("collector.example.org", ("example.org",), True),
        ("collector.example.org", (".example.org",), True),
        ("collector.example.org", ("*.example.org",), True),
        ("notexample.org", ("example.org",), False),
        ("collector", ("collector:4318",), True),
        ("collector", ("collector:80",), False),
        ("10.1.2.3", ("10.0.0.0/8",), True),
        ("11.1.2.3", ("10.0.0.0/8",), False),
        ("[fd00::1]", ("[fd00::1]:4318",), True),
        ("[fd00::1]", ("fd00::/8",), True),
        ("collector", ("10.0.0.0/99",), False),
    ],
)
def test_no_proxy_is_honoured(host: str, exceptions: tuple[str, ...], direct: bool) -> None:
    """Names with subdomains, addresses, networks and ports of `no_proxy` go direct, and so does loopback."""
    endpoint = parse_endpoint(f"http://{host}:4318/")
    assert (proxy_for(endpoint, Proxies("http://proxy:3128", None, exceptions)) is None) is direct


def test_a_proxy_that_cannot_be_used_is_refused() -> None:
    """An unusable proxy URL is a ValueError at the start, not a silent direct connection."""
    for url in ("ftp://proxy", "https://proxy"):
        with pytest.raises(ValueError, match=r"proxy|endpoint"):
            OtlpClient(parse_endpoint("http://h/"), content_type="x", proxies=Proxies(http=url))


@pytest.mark.parametrize(
    ("name", "value", "usable"),
    [
        ("x-api-key", "abc", True),
        ("Authorization", "Bearer é", True),
        ("user-agent", "mine", True),
        ("x", "a\r\nContent-Length: 0", False),
        ("x", "a\nb", False),
        ("x\r\ny", "a", False),
        ("x y", "a", False),
        ("", "a", False),
        ("x", "a\x00", False),
        ("Content-Length", "5", False),
        ("content-type", "text/plain", False),
        ("Transfer-Encoding", "chunked", False),
        ("Host", "other", False),
    ],
)
def test_headers_that_would_change_the_request_are_refused(name: str, value: str, usable: bool) -> None:
    """Control characters, malformed names and the request's own headers are never sent."""
    assert (check_header(name, value) is None) is usable


def test_a_refused_header_is_said_without_its_value() -> None:
    """The line names the header and the reason, once, and not the value, which may be a key."""
    lines: list[str] = []
    guard = Guard(output=lambda level, text: lines.append(text))
    otlp = Otlp(headers={"x-key": "secret\r\nEvil: 1", "ok": "1"})
    for _ in range(2):
        build_sender(otlp, build_encoder("traces", "http/protobuf"), Distro(), guard)
    assert len(lines) == 1
    assert "'x-key'" in lines[0]
    assert "secret" not in lines[0]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_the_four_statuses_of_the_specification_are_retried(status: int) -> None:
    """429, 502, 503 and 504 are worth another attempt, with the time that was asked for."""
    answer = read_answer(status, {"retry-after": "7"}, b"")
    assert (answer.result, answer.retry_after) == (Result.RETRY, 7.0)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 413, 500, 501, 505, 599])
def test_other_failures_are_not_retried(status: int) -> None:
    """Every other 3xx, 4xx and 5xx is final (OTLP specification: MUST NOT be retried)."""
    assert read_answer(status, {}, b"").result is Result.REFUSED


def test_retry_after_is_a_number_or_a_date_within_bounds() -> None:
    """Seconds and HTTP dates are read, at most five minutes are granted, and nonsense is ignored."""
    assert retry_after("3") == 3.0
    assert retry_after("999999999999") == 300.0
    assert retry_after("-5") == 0.0
    soon = retry_after(formatdate(time.time() + 100, usegmt=True))
    assert soon is not None
    assert 90 < soon <= 100
    assert retry_after(formatdate(time.time() - 100, usegmt=True)) == 0.0
    # of a server whose clock is an hour behind ours
    behind = time.time() - 3600
    assert retry_after(formatdate(behind + 20, usegmt=True), formatdate(behind, usegmt=True)) == 20
    assert retry_after(formatdate(time.time() - 100, usegmt=True), "nonsense") == 0.0
    for nonsense in (None, "", "soon", "nan", "1e9", "Wed, 99 Foo 2026"):
        assert retry_after(nonsense) is None


def test_partial_success_is_read_from_protobuf_and_json() -> None:
    """The number of rejected items and the reason are found for each signal, in either encoding."""
    traces = ExportTraceServiceResponse()
    traces.partial_success.rejected_spans = 300
    traces.partial_success.error_message = "too\nlong"
    metrics = ExportMetricsServiceResponse()
    metrics.partial_success.rejected_data_points = 5
    logs = ExportLogsServiceResponse()
    logs.partial_success.rejected_log_records = 1 << 40
    for message, rejected, text in ((traces, 300, "too long"), (metrics, 5, ""), (logs, 1 << 40, "")):
        answer = read_answer(200, PROTOBUF, message.SerializeToString())
        assert (answer.result, answer.rejected, answer.message) == (Result.ACCEPTED, rejected, text)
    body = json.dumps({"partialSuccess": {"rejectedSpans": "3", "errorMessage": "no"}}).encode()
    answer = read_answer(200, {"content-type": "application/json; charset=utf-8"}, body)
    assert (answer.rejected, answer.message) == (3, "no")


@pytest.mark.parametrize("kind", ["application/json", "application/x-protobuf", "text/html", ""])
def test_any_body_of_a_success_is_a_success(kind: str) -> None:
    """A 2xx whose body is noise, cut off or of another kind still means delivered, and nothing raises."""
    chance = random.Random(1)
    bodies = [b"", b"{", b"[]", b'"x"', b"\x0a\xff", b"\x0a\x02\x08", b"\x0f", b"\xff" * 20, b"\x08" + b"\x80" * 12]
    for body in bodies + [chance.randbytes(chance.randrange(40)) for _ in range(500)]:
        assert read_answer(200, {"content-type": kind}, body).result is Result.ACCEPTED
        assert read_answer(400, {"content-type": kind}, body).result is Result.REFUSED


def test_the_servers_words_are_one_bounded_line() -> None:
    """A long or many-lined explanation is cut to 200 printable characters."""
    answer = read_answer(400, {"content-type": "text/plain"}, b"a\r\nb\x1b[31m" + b"x" * 50_000)
    assert answer.message.isprintable()
    assert len(answer.message) == 200


def test_a_redirect_shows_its_place_without_credentials() -> None:
    """Where a redirect points to is said, without user, password and query."""
    answer = read_answer(302, {"location": "https://u:p@other/v1?key=1"}, b"")
    assert answer.message.endswith("points to other/v1")


def test_workers_do_not_wait_alike() -> None:
    """Waits grow to the limit, are spread over the whole range, and are never nothing."""
    backoff = Backoff(1.0, 30.0)
    chance = random.Random(1)
    waits = [backoff.wait(1, None, chance) for _ in range(500)]
    assert 0 < min(waits) < 0.2
    assert 0.8 < max(waits) <= 1.0
    assert max(backoff.wait(failures, None, chance) for failures in range(1, 2000)) <= 30.0
    asked = [backoff.wait(5, 10.0, chance) for _ in range(100)]
    assert 10.0 <= min(asked) < max(asked) <= 12.0


def test_temporality_preferences_are_the_specifications() -> None:
    """`delta` and `lowmemory` differ in asynchronous counters, and up-down counters always accumulate."""
    deltas = {
        name: {kind.__name__ for kind, chosen in preferred_temporality(name).items() if chosen.name == "DELTA"}
        for name in ("cumulative", "delta", "lowmemory", "nonsense")
    }
    assert deltas["delta"] == {"Counter", "Histogram", "ObservableCounter"}
    assert deltas["lowmemory"] == {"Counter", "Histogram"}
    assert deltas["cumulative"] == deltas["nonsense"] == set()
    (histogram,) = preferred_aggregation("base2_exponential_bucket_histogram").values()
    assert type(histogram).__name__ == "ExponentialBucketHistogramAggregation"


def test_an_unknown_protocol_is_refused() -> None:
    """grpc and typos raise: the caller takes upstream's exporter, or says it."""
    for protocol in ("grpc", "http/xml"):
        with pytest.raises(ValueError, match="no encoder"):
            build_encoder("traces", protocol)
