"""Sentry in processes of all kinds: scripts, forks, workers, ends; an application that sets sentry-sdk up itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.programs import OURS, ROOT, STOCK
from tests.sentry_rig import Service, problems, run_script
from tests.servers import OtlpSink
from tests.servers.sentry import SentryServer

SCRIPT = """
from opentelemetry import trace
tracer = trace.get_tracer("job")
with tracer.start_as_current_span("root"):
    with tracer.start_as_current_span("step"):
        raise ValueError("broken step")
"""

FORK = """
import os, sentry_sdk
from multiprocessing import get_context
from opentelemetry import trace
tracer = trace.get_tracer("job")
sentry_sdk.capture_message("parent before")
sentry_sdk.flush()
sentry_sdk.capture_message("parent waiting")

def work():
    with tracer.start_as_current_span("child work"):
        sentry_sdk.capture_message("child")

if __name__ == "__main__":
    child = get_context("fork").Process(target=work)
    child.start()
    child.join()
"""


def messages(sentry: SentryServer) -> list[str]:
    """What arrived, in the order of the alphabet."""
    return sorted(event.get("message") or event["exception"]["values"][-1]["type"] for event in sentry.events)


@pytest.mark.parametrize("sampler", ["always_on", "always_off"])
def test_a_script_that_fails_is_linked_to_the_span_that_failed(sampler: str) -> None:
    """What leaves a script is caught outside of all spans, and still tells the innermost of them."""
    with SentryServer() as sentry, OtlpSink() as sink:
        done = run_script(SCRIPT, sentry, sink, {"OTEL_TRACES_SAMPLER": sampler})
    assert done.returncode == 1
    (event,) = sentry.events
    assert event["exception"]["values"][0]["mechanism"]["handled"] is False
    linked = event["contexts"]["trace"]
    if sampler == "always_on":
        (step,) = [span for span in sentry.spans if span.name == "step"]
        assert (linked["trace_id"], linked["span_id"]) == (step.trace_id, step.span_id)
    else:
        assert sentry.spans == []
        assert set(linked["trace_id"]) != {"0"}


def test_upstreams_pipeline_serves_beside_the_bridge() -> None:
    """contrib's instrumentation, which puts itself around Starlette's own layers, calls them as they are."""
    with Service({"OTEL_DISTRO_PIPELINE": "upstream"}) as service:
        assert (service.get("/v1/ok/1"), service.get("/v1/plain")) == (200, 500)
        service.stop()
    assert len(service.sentry.events) == 1


FAILED_START = """
import contextlib, logging, uvicorn
from starlette.applications import Starlette

@contextlib.asynccontextmanager
async def lifespan(app):
    raise LookupError("no database")
    yield

try:
    uvicorn.run(Starlette(lifespan=lifespan), port=0)
finally:
    logging.getLogger("_granian.utils").error("raised an exception\\nTraceback (most recent call last):\\n  File")
"""


def test_a_start_that_fails_is_told_once() -> None:
    """An exception makes an event, and none of the lines with its stack trace that uvicorn and granian write."""
    with SentryServer() as sentry, OtlpSink() as sink:
        run_script(FAILED_START, sentry, sink)
    told = [event["logentry"]["message"] for event in sentry.events if "logentry" in event]
    failed = [event["exception"]["values"][-1]["type"] for event in sentry.events if "exception" in event]
    assert (told, failed) == (["Application startup failed. Exiting."], ["LookupError"])


@pytest.mark.parametrize(
    "more",
    [
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
        {"OTEL_DISTRO_SENTRY_SPANS": "envelope"},
    ],
    ids=lambda more: next(iter(more.values())),
)
def test_spans_arrive_however_the_collector_gets_its_own(more: dict[str, str]) -> None:
    """Sentry gets protobuf, or envelopes, also where the collector gets JSON or nothing; a script's end loses none."""
    with SentryServer() as sentry, OtlpSink() as sink:
        run_script(SCRIPT, sentry, sink, more)
    names = [span.name for span in sentry.spans]
    for item in sentry.of("transaction"):
        names += [item.payload["transaction"], *(span["description"] for span in item.payload["spans"])]
    assert sorted(names) == ["root", "step"]
    assert len(sentry.events) == 1


def test_upstreams_pipeline_is_linked_too() -> None:
    """With the unmodified SDK the same script's error carries the ids of the span that failed, and spans arrive."""
    with SentryServer() as sentry, OtlpSink() as sink:
        run_script(SCRIPT, sentry, sink, {"OTEL_DISTRO_PIPELINE": "upstream"})
    (event,) = sentry.events
    (step,) = [span for span in sentry.spans if span.name == "step"]
    assert event["contexts"]["trace"]["span_id"] == step.span_id


def test_a_forked_child_loses_nothing_and_repeats_nothing() -> None:
    """The first event of a child arrives although its parent had sent before, and nothing of the parent's twice."""
    with SentryServer() as sentry, OtlpSink() as sink:
        done = run_script(FORK, sentry, sink)
    assert done.stderr == ""
    assert messages(sentry) == ["child", "parent before", "parent waiting"]
    (span,) = sentry.spans
    (child,) = [event for event in sentry.events if event["message"] == "child"]
    assert child["contexts"]["trace"]["span_id"] == span.span_id


def test_gunicorn_with_preload_loses_no_event() -> None:
    """Workers forked from a master that has loaded the application send their errors, also those before SIGTERM."""
    command = ("gunicorn", "tests.sentry_service:app", "--preload", "-w", "2", "-b", "127.0.0.1:{port}")
    with Service(command=(*command, "-k", "uvicorn_worker.UvicornWorker")) as service:
        for number in range(6):
            assert service.get(f"/v1/unhandled/{number}") == 500
        service.stop()
    assert messages(service.sentry) == ["Refused"] * 6
    inner = {span.span_id for span in service.sentry.spans if span.name == "inner"}
    assert {event["contexts"]["trace"]["span_id"] for event in service.sentry.events} == inner


def test_an_application_that_sets_sentry_up_is_joined() -> None:
    """Its events are linked, its tracing is switched off in one line, and nothing is sent twice."""
    with Service({"APP_INIT": "tracing"}) as service:
        for path in ("/v1/unhandled/1", "/v1/plain", "/v1/http503", "/v1/captured"):
            service.get(path)
        service.get("/v1/user/ada")
        service.stop()
        output = service.log()
    spans = {span.span_id: span.name for span in service.sentry.spans}
    linked = [spans[event["contexts"]["trace"]["span_id"]] for event in service.sentry.events]
    assert sorted(linked) == sorted(["inner", "GET /v1/plain", "GET /v1/http503", "caught", "GET /v1/user/{name}"])
    assert service.sentry.of("transaction") == service.sentry.of("span") == []
    assert sorted(spans) == sorted(span.span_id for span in service.sink.spans)
    assert output.count("switched off: spans come from OpenTelemetry") == 1
    (about,) = [event for event in service.sentry.events if event.get("message") == "about ada"]
    assert about["user"]["id"] == "ada"


def test_an_application_that_sets_sentry_up_is_linked_in_unsampled_traces() -> None:
    """sentry-sdk's own middleware is outside the server span; the unhandled exception has the caller's trace id."""
    with Service({"APP_INIT": "plain", "OTEL_TRACES_SAMPLER": "parentbased_always_off"}) as service:
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        service.get("/v1/plain", {"traceparent": f"00-{trace}-00f067aa0ba902b7-00"})
        service.stop()
    (event,) = service.sentry.events
    assert event["contexts"]["trace"]["trace_id"] == trace


def test_sentrys_own_otlp_integration_sends_nothing_twice() -> None:
    """An application with `OTLPIntegration()` keeps W3C propagation, its spans arrive once, its errors linked."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with Service({"APP_INIT": "otlp"}) as service:
        service.get("/v1/plain", {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
        service.stop()
        output = service.log()
    at_sentry = [span.span_id for span in service.sentry.spans]
    assert sorted(at_sentry) == sorted(span.span_id for span in service.sink.spans)
    assert len(set(at_sentry)) == len(at_sentry)
    assert output.count("OTLPIntegration of sentry_sdk.init sends no spans") == 1
    assert output.count("put a propagator of its own in the place of OTEL_PROPAGATORS") == 1
    (event,) = service.sentry.events
    assert event["contexts"]["trace"]["trace_id"] == trace
    assert not [post for post in service.sentry.posts if "api-key" in post.headers]


def test_sentry_trace_is_an_option() -> None:
    """With the option a caller's `sentry-trace: ...-0` is not recorded, and its errors carry its trace id."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with Service({"OTEL_DISTRO_SENTRY_PROPAGATION": "true"}) as service:
        service.get("/v1/plain", {"sentry-trace": f"{trace}-00f067aa0ba902b7-0"})
        service.stop()
    (event,) = service.sentry.events
    assert event["contexts"]["trace"]["trace_id"] == trace
    assert trace not in {span.trace_id for span in service.sink.spans}


def test_a_client_that_was_there_first_is_joined() -> None:
    """A program that has called `sentry_sdk.init` before telemetry is set up gets its errors linked."""
    code = (
        """
import os, sentry_sdk
sentry_sdk.init(os.environ["SENTRY_DSN"])
from otel_distro.start import start
start()
"""
        + SCRIPT
    )
    with SentryServer() as sentry, OtlpSink() as sink:
        run_script(code, sentry, sink, launcher=())
    (event,) = sentry.events
    (step,) = [span for span in sentry.spans if span.name == "step"]
    assert event["contexts"]["trace"]["span_id"] == step.span_id


def test_tracing_stays_with_sentry_sdk_where_that_is_asked_for() -> None:
    """`OTEL_DISTRO_SENTRY_SPANS=off` sends no spans and leaves the application's own tracing as it is."""
    with Service({"APP_INIT": "tracing", "OTEL_DISTRO_SENTRY_SPANS": "off"}) as service:
        service.get("/v1/ok/1")
        service.stop()
        output = service.log()
    assert service.sentry.spans == []
    assert "switched off: spans come" not in output
    assert service.sentry.of("transaction") or service.sentry.of("span")


def test_without_a_dsn_sentry_sdk_is_not_imported() -> None:
    """A process that has no DSN does not pay for sentry-sdk."""
    code = "import sys; print([name for name in sys.modules if name.startswith('sentry_sdk')])"
    with SentryServer() as sentry, OtlpSink() as sink:
        done = run_script(code, sentry, sink, {"SENTRY_DSN": ""})
    assert done.stdout == "[]\n", done.stderr


def test_a_sentry_sdk_that_is_not_as_we_know_it_costs_errors_only(tmp_path: Path) -> None:
    """With a sentry-sdk that lacks what the bridge needs one line says so; spans arrive and the program runs."""
    (tmp_path / "sentry_sdk").mkdir()
    (tmp_path / "sentry_sdk" / "__init__.py").write_text("")
    code = "from opentelemetry import trace; trace.get_tracer('job').start_span('work').end(); print('done')"
    with SentryServer() as sentry, OtlpSink() as sink:
        done = run_script(code, sentry, sink, {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    assert done.stdout == "done\n"
    assert done.stderr.count("errors are not sent; sentry-sdk 2.55 to 3.0.0b2 is known to work") == 1
    assert [span.name for span in sentry.spans] == ["work"]


BAD: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("wrong dsn", {"SENTRY_DSN": "https://sentry.example.com/1"}, "SENTRY_DSN='***'"),
    ("unreachable", {"SENTRY_DSN": "http://key@127.0.0.1:9/1"}, "(check SENTRY_DSN and the network"),
)


@pytest.mark.parametrize(("name", "more", "line"), BAD, ids=[name for name, _, _ in BAD])
def test_a_bad_sentry_is_one_line_and_hurts_nothing(name: str, more: dict[str, str], line: str) -> None:
    """A DSN that is wrong or leads nowhere is named once with a remedy; requests are answered, the collector is fed."""
    with Service(more) as service:
        assert [service.get("/v1/ok/1"), service.get("/v1/plain")] == [200, 500]
        service.stop()
        output = service.log()
    assert output.count(line) == 1, output
    assert "key@" not in output
    assert {"GET /v1/ok/{number}", "GET /v1/plain"} <= {span.name for span in service.sink.spans}


def test_a_sentry_without_otlp_is_said_once_and_errors_go_on() -> None:
    """A backend that answers 404 gets no further spans, one line names the remedy, and errors arrive linked."""
    service = Service()
    service.sentry.otlp.status = 404
    with service:
        for _ in range(3):
            service.get("/v1/plain")
            service.sentry.wait_for(lambda s: [p for p in s.posts if "/otlp/" in p.path])
        service.stop()
        output = service.log()
    assert len([post for post in service.sentry.posts if "/otlp/" in post.path]) == 1
    assert output.count("OTEL_DISTRO_SENTRY_SPANS=envelope") == 1
    assert len(service.sentry.events) == 3
    assert {event["contexts"]["trace"]["trace_id"] for event in service.sentry.events} <= {
        span.trace_id for span in service.sink.spans
    }


@pytest.mark.parametrize(
    ("status", "headers"),
    [(429, {"Retry-After": "600"}), (200, {"X-Sentry-Rate-Limits": "600:span:organization"})],
)
def test_rate_limits_are_kept_to(status: int, headers: dict[str, str]) -> None:
    """After an answer that limits spans none are sent until the time is over, not even at the end; errors are."""
    service = Service()
    service.sentry.otlp.status, service.sentry.otlp.headers = status, headers
    with service:
        service.get("/v1/plain")
        service.sentry.wait_for(lambda s: [p for p in s.posts if "/otlp/" in p.path])
        service.get("/v1/plain")
        service.stop()
    assert len([post for post in service.sentry.posts if "/otlp/" in post.path]) == 1
    assert len(service.sentry.events) == 2
    assert len([span for span in service.sink.spans if span.name == "GET /v1/plain"]) == 2


def test_profiles_of_a_part_of_the_processes() -> None:
    """The session rate profiles the process continuously, with sentry-sdk's tracing off."""
    code = "import time; end = time.time() + 1.2\nwhile time.time() < end: sum(range(1000))"
    with SentryServer() as sentry, OtlpSink() as sink:
        done = run_script(code, sentry, sink, {"SENTRY_PROFILES_SAMPLE_RATE": "1"})
    assert sentry.of("profile_chunk")
    assert done.stderr.count("SENTRY_PROFILE_SESSION_SAMPLE_RATE") == 1


@pytest.mark.parametrize("mode", ["collector", "off"])
def test_spans_stay_away_where_they_are_not_wanted(mode: str) -> None:
    """With `collector` and `off` no span is sent from here, and errors are linked all the same."""
    with Service({"OTEL_DISTRO_SENTRY_SPANS": mode}) as service:
        service.get("/v1/plain")
        service.stop()
    assert not [post for post in service.sentry.posts if "/otlp/" in post.path]
    (event,) = service.sentry.events
    (span,) = [span for span in service.sink.spans if span.name == "GET /v1/plain"]
    assert event["contexts"]["trace"]["span_id"] == span.span_id


def test_envelopes_serve_backends_without_otlp() -> None:
    """With `envelope` a request is a transaction of the same ids, sent once, that Relay accepts; errors are linked."""
    with Service({"OTEL_DISTRO_SENTRY_SPANS": "envelope"}) as service:
        service.get("/v1/unhandled/3")
        service.get("/v1/ok/3")
        service.stop()
    assert not [post for post in service.sentry.posts if "/otlp/" in post.path]
    sent = {item.payload["transaction"]: item.payload for item in service.sentry.of("transaction")}
    assert {"GET /v1/unhandled/{number}", "GET /v1/ok/{number}"} <= set(sent)
    failed = sent["GET /v1/unhandled/{number}"]
    (event,) = service.sentry.events
    (inner,) = [span for span in failed["spans"] if span["description"] == "inner"]
    assert event["contexts"]["trace"]["span_id"] == inner["span_id"]
    ids = [one["contexts"]["trace"]["span_id"] for one in sent.values()]
    ids += [span["span_id"] for one in sent.values() for span in one["spans"]]
    assert sorted(ids) == sorted(span.span_id for span in service.sink.spans)
    assert [problems(one) for one in sent.values()] == [None] * len(sent)


LOGURU = """
import logging, sys
from loguru import logger

class Intercept(logging.Handler):
    def emit(self, record):
        logger.opt(depth=6, exception=record.exc_info).log(record.levelname, record.getMessage())

class Propagate(logging.Handler):
    def emit(self, record):
        logging.getLogger("propagated").handle(record)

logger.remove()
logger.add(sys.stderr, diagnose=False)
logger.bind(order=5).error("plain")
try:
    1 / 0
except ZeroDivisionError:
    logger.exception("failed")
logging.basicConfig(handlers=[Intercept()], force=True)
logging.error("by logging")
logging.basicConfig(handlers=[logging.NullHandler()], force=True)
logger.add(Propagate(), format="{message}")
logger.error("to logging")
"""


@pytest.mark.parametrize("more", [{}, {"OTEL_DISTRO_LOGS": "json,otlp"}], ids=["alone", "with logs"])
def test_errors_of_loguru_are_events(more: dict[str, str]) -> None:
    """Each makes one, also after `remove()`, whichever of loguru and `logging` passes its records on to the other."""
    pytest.importorskip("loguru")
    with SentryServer() as sentry, OtlpSink() as sink:
        done = run_script(LOGURU, sentry, sink, more)
    assert done.returncode == 0, done.stderr
    told = {event["logentry"]["message"]: event for event in sentry.events}
    assert sorted(told) == ["by logging", "failed", "plain", "to logging"]
    assert len(sentry.events) == 4
    assert told["failed"]["exception"]["values"][-1]["type"] == "ZeroDivisionError"
    assert told["plain"]["extra"]["order"] == 5
    assert [problems(event) for event in sentry.events] == [None] * 4


STRUCTLOG = """
import logging, structlog
from structlog.stdlib import ProcessorFormatter

processors = [structlog.stdlib.add_log_level, structlog.processors.TimeStamper(fmt="iso")]
structlog.configure(
    processors=[*processors, structlog.processors.format_exc_info, ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
)
handler = logging.StreamHandler()
handler.setFormatter(ProcessorFormatter(processor=structlog.processors.JSONRenderer()))
logging.basicConfig(handlers=[handler], level=logging.INFO)
log = structlog.get_logger("shop")
log.info("before", order=4)
log.error("charging failed", order=5, password="c4n4ry")
"""


def test_an_event_of_structlog_is_told_by_its_message() -> None:
    """Sentry groups by message: where structlog leaves its event to a formatter, time and fields are no part of it."""
    pytest.importorskip("structlog")
    with SentryServer() as sentry, OtlpSink() as sink:
        run_script(STRUCTLOG, sentry, sink)
    (event,) = sentry.events
    assert event["logentry"] == {"message": "charging failed"}
    assert (event["extra"]["order"], event["extra"]["password"]) == (5, "REDACTED")
    assert [crumb["message"] for crumb in event["breadcrumbs"]["values"]] == ["before"]
    assert problems(event) is None


FRAMEWORKS = """
import sys, types
import sentry_sdk
from sentry_sdk.integrations import Integration

class Outer(Integration):
    identifier = "bottle"

    @staticmethod
    def setup_once():
        import huey  # as sentry-sdk's integration of Flask imports quart

class Inner(Integration):
    identifier = "huey"

    @staticmethod
    def setup_once():
        pass

class Parts(Integration):
    identifier = "arq"

    @staticmethod
    def setup_once():
        import arq.worker
        arq.worker.Worker

for name, integration in (("Bottle", Outer), ("Huey", Inner), ("Arq", Parts)):
    module = types.ModuleType(f"sentry_sdk.integrations.{name.lower()}")
    setattr(module, f"{name}Integration", integration)
    sys.modules[module.__name__] = module
import arq, bottle
print(sorted({"bottle", "huey", "arq"} & set(sentry_sdk.get_client().integrations)))
"""


def test_an_integration_that_imports_other_frameworks_is_set_up(tmp_path: Path) -> None:
    """sentry-sdk sets one up at a time, under a lock: the next follows; and a package is whole before it is asked."""
    for name in ("bottle", "huey"):
        (tmp_path / f"{name}.py").touch()
    (tmp_path / "arq").mkdir()
    (tmp_path / "arq" / "__init__.py").write_text("from .worker import Worker")
    (tmp_path / "arq" / "worker.py").write_text("class Worker: ...")
    with SentryServer() as sentry, OtlpSink() as sink:
        done = run_script(FRAMEWORKS, sentry, sink, {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    assert (done.stdout, done.stderr) == ("['arq', 'bottle', 'huey']\n", "")


def test_an_applications_own_init_meets_no_complaint() -> None:
    """`sentry_sdk.init()` below our launcher imports frameworks from inside its integrations: nothing is said of it."""
    with SentryServer() as sentry, OtlpSink() as sink:
        done = run_script("import sentry_sdk; sentry_sdk.init(); sentry_sdk.capture_message('hello')", sentry, sink)
        assert (done.returncode, done.stderr) == (0, "")
        assert [event["message"] for event in sentry.events] == ["hello"]


@pytest.mark.parametrize("launcher", [OURS, STOCK], ids=["ours", "stock"])
def test_what_an_applications_own_client_sends_makes_no_spans(launcher: tuple[str, ...]) -> None:
    """Without `SENTRY_DSN`, `sentry_sdk.init(dsn)` in code has no trace and no measurement of each of its requests."""
    with SentryServer() as sentry, OtlpSink() as sink:
        code = f"""
import sentry_sdk, urllib3
sentry_sdk.init({sentry.dsn!r})
sentry_sdk.capture_message('hello')
sentry_sdk.flush()
urllib3.request('GET', {sink.url!r})
"""
        more = {"SENTRY_DSN": "", "OTEL_METRICS_EXPORTER": "otlp"}
        done = run_script(code, sentry, sink, more, launcher)
        assert (done.returncode, done.stderr) == (0, "")
        assert [event["message"] for event in sentry.events] == ["hello"]
        assert [span.attributes["server.port"] for span in sink.spans] == [sink.port]
        measured = [point for point in sink.points if point.name == "http.client.request.duration"]
        assert {point.attributes["server.port"] for point in measured} == {sink.port}
