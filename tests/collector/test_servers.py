"""The test servers themselves: a runner or a sink that lies would make every other suite lie."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1 import metrics_pb2 as metrics

from tests.collector.traffic import SPANS, send_traces
from tests.servers import (
    Answer,
    MissingBinary,
    OtlpSink,
    PostgresServer,
    RedisServer,
    Sample,
    ServerError,
    http_post,
    parse_exposition,
    total,
    wait_until,
)
from tests.servers.signals import spans_of_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROTOBUF = {"Content-Type": "application/x-protobuf"}


@pytest.fixture
def sink() -> Iterator[OtlpSink]:
    """A running sink."""
    with OtlpSink() as running:
        yield running


def listening(port: int) -> bool:
    """Whether somebody accepts connections on a port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_redis_is_killed_revived_and_closed(logs: Path) -> None:
    """Ports stay over kill and start, the data directory goes at the end, the log stays."""
    with RedisServer(logs) as redis:
        port, pid = redis.ports["main"], redis.pid
        redis.kill()
        assert not listening(port)
        redis.start()
        assert listening(port)
        assert redis.pid != pid
    assert not listening(port)
    assert not redis.data.exists()
    assert redis.log.stat().st_size > 0


def test_postgres_keeps_its_data_over_a_kill(logs: Path) -> None:
    """A committed row is there after kill -9 and a start."""
    psycopg = pytest.importorskip("psycopg")
    with PostgresServer(logs) as postgres:
        with psycopg.connect(postgres.url()) as connection:
            connection.execute("CREATE TABLE kept (n integer)")
            connection.execute("INSERT INTO kept VALUES (7)")
        postgres.kill()
        postgres.start()
        with psycopg.connect(postgres.url()) as connection:
            assert connection.execute("SELECT n FROM kept").fetchall() == [(7,)]


def test_server_that_cannot_start_shows_its_log(logs: Path) -> None:
    """A start that fails raises with the end of the server's own output and leaves no process."""

    class Broken(RedisServer):
        def command(self) -> list[str]:
            return [*super().command(), "--no-such-option", "1"]

    broken = Broken(logs)
    with pytest.raises(ServerError, match="no-such-option"):
        broken.start()
    assert not broken.running
    broken.close()


def test_missing_program_names_the_remedy() -> None:
    """A TEMPO_BINARY that is not there is an error, never a silent stand-in."""
    code = "from tests.servers import tempo_name; tempo_name()"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TEMPO_BINARY": "/nowhere/tempo"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert f"{MissingBinary.__name__}: TEMPO_BINARY=/nowhere/tempo" in result.stderr


def test_servers_need_no_pytest() -> None:
    """The demo imports tests.servers in an environment without pytest."""
    code = "import sys; sys.modules['pytest'] = None; import tests.servers"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sink_keeps_spans_it_accepted_only(sink: OtlpSink) -> None:
    """A refused request is kept as a request, and its spans do not count."""
    sink.answer_next(Answer(status=503, headers={"Retry-After": "1"}))
    with pytest.raises(AssertionError, match="503"):
        send_traces(sink.url, "refused", 1)
    (trace_id,) = send_traces(sink.url, "accepted", 1)
    assert [request.status for request in sink.requests] == [503, 200]
    assert {span.trace_id for span in sink.wait_for_spans(SPANS)} == {trace_id}
    assert sink.requests[1].headers["content-encoding"] == "gzip"
    assert sink.requests[1].wire_size < len(sink.requests[1].body)


def test_sink_refuses_unreadable_bodies(sink: OtlpSink) -> None:
    """Garbage is answered with 400 and kept, as a receiver would."""
    assert http_post(f"{sink.url}/v1/traces", b"\xff\xff\xff", PROTOBUF) == 400
    assert sink.requests[0].message is None
    assert sink.spans == []


def test_sink_hangs_up_and_dies_and_returns(sink: OtlpSink) -> None:
    """A hang-up gives the client no answer, a stopped sink no connection, and what it recorded stays."""
    sink.answer_next(Answer(hang_up=True))
    with pytest.raises(OSError, match=r"closed|reset"):
        http_post(f"{sink.url}/v1/traces", b"", PROTOBUF)
    sink.stop()
    assert not listening(sink.port)
    sink.start()
    send_traces(sink.url, "back", 1)
    assert [request.status for request in sink.requests] == [0, 200]


def test_stopped_sink_does_not_wait_for_its_delay() -> None:
    """A delayed answer is cut when the sink stops: the client sees a dead server, the test does not hang."""
    with OtlpSink() as sink:
        sink.answer = Answer(delay=600)
        with socket.create_connection(("127.0.0.1", sink.port)) as client:
            client.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: sink\r\nContent-Length: 0\r\n\r\n")
            sink.wait_for(lambda it: it.requests, what="the request")
            sink.stop()
            assert client.recv(100) == b""


def test_sink_reads_metrics_and_logs(sink: OtlpSink) -> None:
    """Histogram points come with cumulative buckets and exemplars, log records with their ids."""
    point = metrics.HistogramDataPoint(count=3, sum=6.0, explicit_bounds=[1, 5], bucket_counts=[1, 1, 1])
    point.exemplars.append(metrics.Exemplar(as_double=2.5, trace_id=b"\x01" * 16))
    histogram = metrics.Histogram(data_points=[point])
    histogram.aggregation_temporality = metrics.AGGREGATION_TEMPORALITY_CUMULATIVE
    scope = metrics.ScopeMetrics(metrics=[metrics.Metric(name="took", unit="s", histogram=histogram)])
    export = ExportMetricsServiceRequest(resource_metrics=[metrics.ResourceMetrics(scope_metrics=[scope])])
    assert http_post(f"{sink.url}/v1/metrics", export.SerializeToString(), PROTOBUF) == 200
    (took,) = sink.points
    assert (took.name, took.count, took.value, took.temporality) == ("took", 3, 6.0, 2)
    assert took.buckets == {1: 1, 5: 2, float("inf"): 3}
    assert took.exemplars == ((2.5, "01" * 16),)

    record = LogRecord(body=AnyValue(string_value="said"), trace_id=b"\x02" * 16, severity_text="WARN")
    logs = ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=[record])])])
    assert http_post(f"{sink.url}/v1/logs", logs.SerializeToString(), PROTOBUF) == 200
    assert [(entry.body, entry.trace_id, entry.severity) for entry in sink.logs] == [("said", "02" * 16, "WARN")]


@pytest.mark.parametrize(
    ("ids", "kind", "status"),
    [
        (("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"), 2, 2),
        (("CvdlGRbNQ92ESOshHIAxnA==", "t61rcWkgMzE=", "APBnqgupArc="), "SPAN_KIND_SERVER", "STATUS_CODE_ERROR"),
    ],
    ids=["jaeger", "tempo"],
)
def test_both_json_dialects_give_one_record(ids: tuple[str, str, str], kind: Any, status: Any) -> None:
    """Ids in hex or base64 and enums by number or name read as the same span."""
    trace_id, span_id, parent = ids
    span = {
        "traceId": trace_id,
        "spanId": span_id,
        "parentSpanId": parent,
        "name": "GET",
        "kind": kind,
        "startTimeUnixNano": "1",
        "endTimeUnixNano": "3",
        "status": {"code": status},
        "attributes": [{"key": "n", "value": {"intValue": "5"}}],
        "events": [{"name": "e", "timeUnixNano": "2"}],
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    (record,) = spans_of_json([{"resource": resource, "scopeSpans": [{"spans": [span]}]}])
    assert record.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert (record.span_id, record.parent_span_id) == ("b7ad6b7169203331", "00f067aa0ba902b7")
    assert (record.kind, record.status, record.service, record.attributes) == ("SERVER", "ERROR", "shop", {"n": 5})
    assert [(event.name, event.time_unix_nano) for event in record.events] == [("e", 2)]


def test_exposition_reads_escapes_exemplars_and_special_values() -> None:
    """Label escapes are undone, exemplars and timestamps skipped, and Inf and NaN are numbers."""
    page = '# HELP x y\nx_total{a="q\\"\\\\\\n,}",b=""} 3 1700 # {trace_id="f"} 1\nx_total 2\ny +Inf\n'
    samples = parse_exposition(page)
    assert samples[0] == Sample("x_total", {"a": 'q"\\\n,}', "b": ""}, 3.0)
    assert total(samples, "x_total") == 5
    assert total(samples, "x_total", b="") == 3
    assert total(samples, "absent") is None
    assert samples[2].value == float("inf")
    with pytest.raises(ValueError, match="not a line"):
        parse_exposition("no value here at all\n")


def test_wait_until_names_the_last_answer() -> None:
    """A deadline that passes says what was waited for and what came last."""
    with pytest.raises(TimeoutError, match=r"for a miracle; last answer: 0$"):
        wait_until(lambda: 0, seconds=0.05, what="a miracle")
