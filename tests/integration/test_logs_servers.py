"""Logs of real servers: one form of lines, one access line a request, the same records by OTLP; or as without us."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.programs import OURS, environment
from tests.servers.base import free_port
from tests.servers.sink import Answer, OtlpSink
from tests.servers.waiting import wait_until

APPLICATION = """
import logging, otel_distro
from fastapi import FastAPI
{configure}
app = FastAPI()
log = logging.getLogger("shop.orders")

@app.get("/items/{{number}}")
async def item(number: int):
    otel_distro.set_user(f"u{{number}}")
    log.info("looking at %d", number, extra={{"number": number, "password": "c4n4ry"}})
    return {{}}

@app.get("/loud")
async def loud():
    for _ in range(2000):
        log.info("x" * 1000)
    return {{}}

@app.get("/boom")
async def boom():
    raise ValueError("token=c4n4ry")
"""
CONFIGURE = """
import logging.config
logging.config.dictConfig({
    "version": 1,
    "formatters": {"own": {"format": "OWN %(message)s"}},
    "handlers": {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "own"}},
    "root": {"handlers": ["out"], "level": "INFO"},
})
"""


class Running:
    """A server of the application.

    Args:
        process: its process.
        port: that it listens on.
        out: file with its stdout, and `err` with its stderr.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, out: Path, err: Path) -> None:
        self.process = process
        self.port = port
        self.out = out
        self.err = err

    def get(self, path: str, **headers: str) -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                status: int = answer.status
                return status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def end(self) -> list[str]:
        """Stop it, and give all lines it wrote."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)
        return self.out.read_text().splitlines() + self.err.read_text().splitlines()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def serving(
    directory: Path,
    command: Sequence[str],
    *,
    distro: bool = True,
    configure: str = "",
    stderr: int | None = None,
    **environ: str,
) -> Iterator[Running]:
    (directory / "app.py").write_text(APPLICATION.format(configure=configure))
    port = free_port()
    quiet = {"OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "none", "PYTHONUNBUFFERED": "1"}
    whole = [sys.executable, "-m", *command[:1], *[part.replace("PORT", str(port)) for part in command[1:]]]
    if distro:
        whole = [*OURS, *whole]
    out, err = directory / f"out-{port}", directory / f"err-{port}"
    with out.open("wb") as first, err.open("wb") as second:
        process = subprocess.Popen(
            whole,
            cwd=directory,
            env=environment({**quiet, **environ}),
            stdout=first,
            stderr=second if stderr is None else stderr,
        )
        try:
            wait_until(lambda: listens(port), what="the server", seconds=40)
            yield Running(process, port, out, err)
        finally:
            process.kill()
            process.wait(120)


UVICORN = ("uvicorn", "app:app", "--port", "PORT")
GUNICORN = (
    "gunicorn",
    "app:app",
    *("-w", "2", "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:PORT", "--access-logfile", "-"),
)

GUNICORN_ASGI = (
    *("gunicorn", "app:app", "-w", "2", "-k", "asgi", "-b", "127.0.0.1:PORT", "--access-logfile", "-"),
    *("--graceful-timeout", "1"),  # it waits for connections that are long gone
)


@pytest.mark.parametrize("command", [UVICORN, GUNICORN, GUNICORN_ASGI], ids=["uvicorn", "gunicorn", "gunicorn-asgi"])
def test_every_line_is_json_and_every_request_has_one_access_line(tmp_path: Path, command: Sequence[str]) -> None:
    """Server, access and application lines have one form; the access line tells route, status, duration and ids."""
    with serving(tmp_path, command, OTEL_DISTRO_LOGS="json", OTEL_SERVICE_NAME="shop") as server:
        for number in range(20):
            assert server.get(f"/items/{number}?token=c4n4ry", **{"X-Request-ID": f"request-{number}"}) == 200
        assert server.get("/nowhere") == 404
        lines = server.end()
    assert "c4n4ry" not in "\n".join(lines)
    told = [json.loads(line) for line in lines]
    access = [line for line in told if line["logger"] in {"uvicorn.access", "gunicorn.access"}]
    assert len(access) == 21
    for number in range(20):
        (line,) = [line for line in access if line["request_id"] == f"request-{number}"]
        (said,) = [line for line in told if line["message"] == f"looking at {number}"]
        assert (line["http.route"], line["http.response.status_code"]) == ("/items/{number}", 200)
        assert line["url.path"] == f"/items/{number}"
        assert line["duration_ms"] > 0
        assert line["user"] == said["user"] == f"u{number}"
        assert line["trace_id"] == said["trace_id"]
        assert said["request_id"] == f"request-{number}"
        assert (said["service"], said["number"], said["password"]) == ("shop", number, "REDACTED")
    assert {line["service"] for line in told} == {"shop"}


def test_an_unhandled_exception_is_one_line_with_its_requests_ids(tmp_path: Path) -> None:
    """The server's line about an exception has the trace of the request that failed, and a structured stack."""
    with serving(tmp_path, UVICORN, OTEL_DISTRO_LOGS="json") as server:
        assert server.get("/boom") == 500
        told = [json.loads(line) for line in server.end()]
    (failed,) = [line for line in told if "exception" in line]
    (access,) = [line for line in told if line["logger"] == "uvicorn.access"]
    assert failed["exception"]["type"] == "ValueError"
    assert failed["exception"]["frames"][-1]["function"] == "boom"
    assert failed["trace_id"] == access["trace_id"]
    assert access["http.response.status_code"] == 500


def test_an_applications_own_configuration_decides_where_lines_go(tmp_path: Path) -> None:
    """With a `dictConfig` of its own, each record is written once, by its handler, as JSON."""
    with serving(tmp_path, UVICORN, configure=CONFIGURE, OTEL_DISTRO_LOGS="json") as server:
        server.get("/items/3")
        told = [json.loads(line) for line in server.end()]
    assert len([line for line in told if line["message"] == "looking at 3"]) == 1


def _form(line: str) -> str:
    return re.sub(r"\d+", "N", line)


@pytest.mark.parametrize("command", [UVICORN, GUNICORN], ids=["uvicorn", "gunicorn"])
def test_installing_the_distro_changes_no_line(tmp_path: Path, command: Sequence[str]) -> None:
    """Without a setting every line is what it is without us; only numbers of ports, processes and times differ."""
    forms = []
    for distro in (False, True):
        with serving(tmp_path, command, distro=distro, configure=CONFIGURE) as server:
            server.get("/items/3?token=x")
            server.get("/boom")
            ours = re.compile(r"otel_distro/instrumentation|fastapi/telemetry|await original|^\s*\^+$")
            lines = server.end()
            # our frames and FastAPI's own stand in the stack trace
            stack = [n for n, line in enumerate(lines) if ours.search(line)]
            forms.append(sorted(_form(line) for n, line in enumerate(lines) if not {n, n - 1} & {*stack}))
    assert [line for line in forms[1] if line not in forms[0]] == []
    assert len([line for line in forms[1] if "OWN looking" in line]) == 1


def test_the_same_records_leave_by_otlp_each_once_and_are_flushed_at_the_end(tmp_path: Path) -> None:
    """Lines, records and FastAPI's log events belong together; what waits at SIGTERM is sent."""
    with OtlpSink() as sink:
        with serving(
            tmp_path,
            UVICORN,
            OTEL_DISTRO_LOGS="json,otlp",
            OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
            OTEL_BLRP_SCHEDULE_DELAY="60000",
        ) as server:
            server.get("/items/3?token=c4n4ry")
            server.get("/items/x")
            server.get("/boom")
            told = [json.loads(line) for line in server.end()]
        records = sink.logs
        assert not any(b"c4n4ry" in request.body for request in sink.requests)
    sent = [line for line in told if line.get("otlp")]
    assert len(sent) == len(told) - len([line for line in told if line["logger"] == "otel_distro"])
    bodies = [str(record.body) for record in records]
    for line in told:
        assert bodies.count(line["message"]) >= 1
    (said,) = [record for record in records if record.body == "looking at 3"]
    (line,) = [line for line in told if line["message"] == "looking at 3"]
    assert (said.trace_id, said.span_id) == (line["trace_id"], line["span_id"])
    assert said.attributes["user.id"] == "u3"
    events = {record.event_name for record in records if record.event_name}
    if find_spec("fastapi.telemetry") is not None:  # from FastAPI 0.142 on
        assert {"fastapi.validation.failed", "http.server.request.exception"} <= events
    failed = [record for record in records if record.attributes.get("exception.type") == "ValueError"]
    assert len({record.trace_id for record in failed}) == 1


def test_records_leave_by_upstreams_pipeline_too(tmp_path: Path) -> None:
    """OTEL_DISTRO_PIPELINE=upstream sends what the SDK's own handler makes, of ours contrib's names alone."""
    with OtlpSink() as sink:
        with serving(
            tmp_path,
            UVICORN,
            OTEL_DISTRO_PIPELINE="upstream",
            OTEL_LOGS_EXPORTER="otlp",
            OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
            OTEL_DISTRO_LOG_LEVELS="info",
        ) as server:
            server.get("/items/3")
            server.end()
        [found] = [record for record in sink.logs if record.body == "looking at 3"]
        assert [name for name in found.attributes if name.startswith("_")] == []


def test_a_collector_that_refuses_makes_no_storm_of_lines_and_no_late_end(tmp_path: Path) -> None:
    """Nothing about sending is sent, and the end keeps its budget."""
    with OtlpSink() as sink:
        sink.answer = Answer(status=503, delay=0.2)
        with serving(
            tmp_path,
            UVICORN,
            OTEL_DISTRO_LOGS="json,otlp",
            OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
            OTEL_BLRP_SCHEDULE_DELAY="50",
        ) as server:
            for number in range(30):
                server.get(f"/items/{number}")
            time.sleep(1)
            told = [json.loads(line) for line in server.end()]
    assert len([line for line in told if line["logger"].startswith("otel_distro")]) <= 5
    sent = [
        group.scope.name
        for request in sink.requests
        for each in request.message.resource_logs
        for group in each.scope_logs
    ]
    assert not [name for name in sent if name.startswith("otel_distro")]


def test_a_reader_that_has_stopped_holds_up_no_request(tmp_path: Path) -> None:
    """stderr is a pipe that nobody reads, 2 MB a request go to it: every request is answered."""
    reading, writing = os.pipe()
    try:
        with serving(tmp_path, UVICORN, OTEL_DISTRO_LOGS="json", stderr=writing) as server:
            os.close(writing)
            for _ in range(3):
                assert server.get("/loud") == 200
            assert server.get("/items/1") == 200
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(120)
    finally:
        os.close(reading)
