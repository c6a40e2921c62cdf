"""Logs of programs that are no servers: where lines go, in which form, and that all leave before the end."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time

import pytest

from tests import programs
from tests.servers.sink import Answer, OtlpSink

QUIET = {"OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "none", "TERM": "xterm"}
HELLO = "import logging; logging.getLogger('job').info('hello %d', 5, extra={'n': 1})"


def run(code: str, *, check: bool = True, **environ: str) -> subprocess.CompletedProcess[str]:
    """A program of which logs alone matter."""
    return programs.run(code, check=check, **{**QUIET, **environ})


def test_a_program_without_any_set_up_writes_json_on_stderr() -> None:
    """Nothing is configured and INFO arrives, as one JSON line; stdout stays clean for pipes and stdio servers."""
    done = run(HELLO, OTEL_DISTRO_LOGS="json", OTEL_SERVICE_NAME="jobs")
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    found = json.loads(line)
    assert (found["message"], found["n"], found["service"]) == ("hello 5", 1, "jobs")


def test_stdout_is_used_when_asked_for() -> None:
    """OTEL_DISTRO_LOG_STREAM=stdout moves the lines that have no handler."""
    done = run(HELLO, OTEL_DISTRO_LOGS="json", OTEL_DISTRO_LOG_STREAM="stdout")
    assert (done.stderr, json.loads(done.stdout)["level"]) == ("", "INFO")


def test_without_a_setting_a_program_says_what_it_said() -> None:
    """INFO is hidden and WARNING is plain text, as Python has it."""
    done = run(f"{HELLO}; logging.getLogger('job').warning('careful')")
    assert (done.stdout, done.stderr) == ("", "careful\n")


def test_formats_of_an_application_may_show_the_ids() -> None:
    """Without a setting records carry contrib's names; `true` sets a format that shows them."""
    own = "import logging; logging.basicConfig(format='%(otelTraceID)s %(message)s'); logging.warning('x')"
    assert run(own).stderr == "0 x\n"
    shown = run("import logging; logging.getLogger('a').info('x')", OTEL_PYTHON_LOG_CORRELATION="true").stderr
    assert "INFO [a]" in shown
    assert "trace_id=0" in shown
    bare = (
        "import logging; r = []; logging.lastResort.emit = r.append; logging.getLogger('a').warning('x');"
        "print('otelTraceID' in vars(r[0]))"
    )
    assert run(bare, OTEL_PYTHON_LOG_CORRELATION="false").stdout == "False\n"
    assert run(bare, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="logging").stdout == "False\n"


UNCAUGHT = """
import threading, otel_distro
def work():
    raise KeyError("password=c4n4ry")
thread = threading.Thread(target=work, name="worker"); thread.start(); thread.join()
@otel_distro.operation("job")
def job():
    otel_distro.set_user("u1")
    raise ValueError("token=c4n4ry")
job()
"""


def fails(code: str, **environ: str) -> list[str]:
    """Lines on stderr of a program that ends with exit code 1, as Python has it."""
    done = run(code, check=False, **environ)
    assert done.returncode == 1
    return done.stderr.splitlines()


def test_uncaught_exceptions_are_json_lines_and_records() -> None:
    """Main thread and others: a redacted line each with the ids of the operation, also by OTLP; exit codes stay."""
    with OtlpSink() as sink:
        lines = fails(UNCAUGHT, OTEL_DISTRO_LOGS="json,otlp", OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)
        records = {record.attributes["exception.type"]: record for record in sink.logs}
    thread, main = [json.loads(line) for line in lines]
    assert (thread["logger"], thread["message"]) == ("threading.excepthook", "uncaught exception in worker")
    assert (main["logger"], main["level"], main["user"]) == ("sys.excepthook", "CRITICAL", "u1")
    assert (main["exception"]["type"], main["exception"]["frames"][-1]["function"]) == ("ValueError", "job")
    assert "c4n4ry" not in "".join(lines)
    assert records.keys() == {"KeyError", "ValueError"}
    assert records["ValueError"].trace_id == main["trace_id"]
    assert "c4n4ry" not in str(records)


def test_an_applications_own_excepthook_stays() -> None:
    """Whoever sets a hook, before or after, has it called; and without JSON lines Python prints as ever."""
    own = "import sys; sys.excepthook = lambda kind, *_: print('mine', kind.__name__, file=sys.stderr); 1 / 0"
    assert fails(own, OTEL_DISTRO_LOGS="json") == ["mine ZeroDivisionError"]
    assert fails("1 / 0")[-1] == "ZeroDivisionError: division by zero"


def on_terminal(code: str, **environ: str) -> str:
    """What a terminal shows of a program's stderr."""
    primary, secondary = pty.openpty()
    command = [*programs.OURS, sys.executable, "-c", code]
    subprocess.run(command, env=programs.environment({**QUIET, **environ}), stderr=secondary, timeout=60, check=True)
    os.close(secondary)
    shown = b""
    try:
        while chunk := os.read(primary, 10_000):
            shown += chunk
    except OSError:
        pass  # the terminal's other end is closed
    os.close(primary)
    return shown.decode()


@pytest.mark.parametrize("mode", ["console", "json,console"])
def test_a_terminal_gets_the_readable_form_in_colour(mode: str) -> None:
    """Both together are readable on a terminal; NO_COLOR takes the colour away."""
    shown = on_terminal(HELLO, OTEL_DISTRO_LOGS=mode)
    assert "\x1b[32mINFO" in shown
    assert "hello 5" in shown
    assert "\x1b" not in on_terminal(HELLO, OTEL_DISTRO_LOGS=mode, NO_COLOR="1")
    (line,) = run(HELLO, OTEL_DISTRO_LOGS=mode).stderr.splitlines()
    assert line.startswith("{") is ("json" in mode)


def test_what_the_distro_says_of_itself_is_a_line_like_any_other() -> None:
    """In JSON mode a complaint of ours is JSON, also where the application has no handler."""
    code = "import logging; logging.getLogger('otel_distro').warning('mine'); logging.getLogger('a').info('x')"
    messages = [json.loads(line)["message"] for line in run(code, OTEL_DISTRO_LOGS="json").stderr.splitlines()]
    assert messages == ["mine", "x"]


def test_records_leave_at_the_end_of_a_short_program() -> None:
    """A program that ends at once has sent its records."""
    with OtlpSink() as sink:
        run(
            f"import logging; logging.root.setLevel(20); {HELLO}",
            OTEL_DISTRO_LOGS="otlp",
            OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
        )
        assert [(record.body, record.attributes) for record in sink.logs] == [("hello 5", {"n": 1})]


def test_a_collector_that_hangs_holds_the_end_no_longer_than_the_budget() -> None:
    """The end of the program keeps the one budget of all signals."""
    with OtlpSink() as sink:
        sink.answer = Answer(delay=60)
        began = time.monotonic()
        run(
            f"import logging; logging.root.setLevel(20); {HELLO}",
            OTEL_DISTRO_LOGS="otlp",
            OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
            OTEL_EXPORTER_OTLP_TIMEOUT="60000",
            OTEL_DISTRO_SHUTDOWN_TIMEOUT="500",
        )
        took = time.monotonic() - began
        sink.answer = Answer()
    # against the collector's 60 s and the exporter's own, with the start of a program on a busy machine
    assert took < 40


def test_upstreams_json_protocol_is_spoken_too() -> None:
    """OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/json sends the same record as JSON."""
    with OtlpSink() as sink:
        run(
            f"import logging; logging.root.setLevel(20); {HELLO}",
            OTEL_DISTRO_LOGS="otlp",
            OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=f"{sink.url}/v1/logs",
            OTEL_EXPORTER_OTLP_LOGS_PROTOCOL="http/json",
        )
        (request,) = [request for request in sink.requests if request.body]
    record = json.loads(request.body)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    assert (record["body"], record["severityText"]) == ({"stringValue": "hello 5"}, "INFO")


def test_a_fork_between_logs_loses_and_doubles_nothing() -> None:
    """Parent and child write and send each their own records, also when the fork comes while a thread logs."""
    code = """
import logging, os, threading, time
logging.root.setLevel(20)
log = logging.getLogger("job")
stop = threading.Event()
def busy():
    while not stop.is_set():
        log.debug("never")
        log.info("busy")
        time.sleep(0.0005)
thread = threading.Thread(target=busy)
thread.start()
log.info("before")
for number in range(5):
    pid = os.fork()
    if pid == 0:
        log.info("child %d", number)
        raise SystemExit
    os.waitpid(pid, 0)
stop.set()
thread.join()
log.info("after")
"""
    with OtlpSink() as sink:
        done = run(code, OTEL_DISTRO_LOGS="json,otlp", OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)
        sent = [str(record.body) for record in sink.logs]
    written = [json.loads(line)["message"] for line in done.stderr.splitlines()]
    for message in ("before", *[f"child {number}" for number in range(5)], "after"):
        assert (written.count(message), sent.count(message)) == (1, 1), message
    assert written.count("busy") == sent.count("busy")


PROCESSORS = """
import logging, os
from opentelemetry._logs import get_logger, get_logger_provider
from opentelemetry.sdk._logs import Logger, LoggerProvider, LogRecordProcessor
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, ConsoleLogRecordExporter
class Marks(LogRecordProcessor):
    def on_emit(self, log_record): log_record.log_record.attributes["marked"] = True
    def force_flush(self, timeout_millis=30000): raise RuntimeError("no")
    def shutdown(self): os.write(1, b"shut down\\n")
provider = get_logger_provider()
assert isinstance(provider, LoggerProvider) and isinstance(get_logger("x"), Logger)
provider.add_log_record_processor(Marks())
def shown(record): return record.log_record.body + str(dict(record.log_record.attributes)) + "\\n"
show = ConsoleLogRecordExporter(formatter=shown)
provider.add_log_record_processor(BatchLogRecordProcessor(show, schedule_delay_millis=60000))
logging.root.setLevel(20)
logging.getLogger("job").info("stdlib", extra={"n": 1})
get_logger("job").emit(body="api")
"""


def test_processors_of_others_see_every_record_and_have_sent_it_at_the_end() -> None:
    """As with the SDK: records of logging and of the API, one after the other, flushed and shut down at the exit."""
    with OtlpSink() as sink:
        done = run(PROCESSORS, OTEL_LOGS_EXPORTER="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)
        assert [record.body for record in sink.logs] == ["stdlib", "api"]
    shown = set(done.stdout.splitlines())
    assert shown == {"stdlib{'n': 1, 'marked': True}", "api{'marked': True}", "shut down"}, done.stderr


def test_values_of_the_api_leave_as_they_are() -> None:
    """Bytes, doubles, long lists and texts by OTLP; the line beside it keeps its bounds."""
    code = """
from opentelemetry._logs import get_logger
get_logger("x").emit(body=["x" * 20000, b"b", float("inf")], attributes={"many": list(range(100)), "session.id": "s"})
"""
    with OtlpSink() as sink:
        done = run(code, OTEL_DISTRO_LOGS="json,otlp", OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)
        (record,) = sink.logs
    assert record.body == ["x" * 20_000, b"b", float("inf")]
    assert record.attributes["many"] == list(range(100))
    line = json.loads(done.stderr)
    assert len(line["message"]) < 20_000
    assert len(line["many"]) == 65
