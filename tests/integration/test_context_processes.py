"""Ids, context and captures in real processes: through two services, into logs, to a collector and to Sentry."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from tests.programs import OURS, run
from tests.sentry_rig import run_script
from tests.servers import OtlpSink, wait_until
from tests.servers.sentry import SentryServer
from tests.serving import Serving

SERVICE = """
import logging, os
import httpx
from fastapi import Depends, FastAPI
import otel_distro

logging.basicConfig(level=logging.INFO)
app = FastAPI()

def user(x_user: str = "nobody"):
    otel_distro.set_user(x_user)

@app.get("/front")
def front(who: str, _: None = Depends(user)):
    otel_distro.set_context(tenant=who)
    logging.getLogger("front").info("calls the back")
    with httpx.Client() as client:
        return client.get(os.environ["BACK"] + "/back").json()

@app.get("/back")
async def back():
    logging.getLogger("back").info("answers")
    return {"request_id": otel_distro.request_id()}
"""
JOB = """
import logging, otel_distro
logging.basicConfig(level=logging.INFO)

@otel_distro.operation("charge")
def charge(order):
    otel_distro.set_user("u1")
    otel_distro.breadcrumb("card checked", category="payment")
    try:
        raise RuntimeError("declined")
    except RuntimeError as error:
        otel_distro.capture_exception(error, order=order)
    otel_distro.capture_message("charged nothing", level="warning")

charge(7)
"""


class Pair:
    """Two services under uvicorn, the first of which calls the second; their spans go to one sink."""

    def __init__(self, directory: Path) -> None:
        (directory / "chain.py").write_text(SERVICE)
        self.directory = directory
        self.sink = OtlpSink()
        self._stack = ExitStack()
        self._services: dict[str, Serving] = {}

    def __enter__(self) -> Self:
        self._stack.enter_context(self.sink)
        for name in ("back", "front"):
            environ = {
                "OTEL_SERVICE_NAME": name,
                "OTEL_EXPORTER_OTLP_ENDPOINT": self.sink.url,
                "OTEL_METRICS_EXPORTER": "none",
                "OTEL_BSP_SCHEDULE_DELAY": "100",
                "OTEL_DISTRO_LOGS": "json",
                "OTEL_DISTRO_BAGGAGE_KEYS": "tenant",
                **({"BACK": self._services["back"].url} if name == "front" else {}),
            }
            command = (*OURS, "uvicorn", "chain:app", "--port", "{port}")
            log = self.directory / f"{name}.log"
            service = Serving(command, environ, log, cwd=self.directory, probe="/docs")
            self._services[name] = self._stack.enter_context(service)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def get(self, path: str, **headers: str) -> tuple[dict[str, str], dict[str, str]]:
        """Headers and body of an answer of the first service."""
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        request = urllib.request.Request(self._services["front"].url + path, headers=sent)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return {name.lower(): text for name, text in answer.headers.items()}, json.load(answer)

    def lines(self, name: str) -> list[dict[str, object]]:
        """The JSON lines of a service."""
        text = self._services[name].log()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The two services."""
    with Pair(tmp_path_factory.mktemp("chain")) as made:
        yield made


def test_one_id_goes_through_two_services(pair: Pair) -> None:
    """The caller's id is answered, reaches the second service, and is on both services' spans and log lines."""
    headers, body = pair.get("/front?who=acme&x_user=u7", X_Request_ID="order-7")
    assert headers["x-request-id"] == "order-7"
    assert body == {"request_id": "order-7"}

    def spans() -> dict[str, dict[str, object]]:
        return {
            f"{span.service} {span.name}": dict(span.attributes)
            for span in pair.sink.spans
            if span.attributes.get("request.id") == "order-7"
        }

    wait_until(lambda: len(spans()) == 3, seconds=10, what="three spans")
    found = spans()
    assert set(found) == {"front GET /front", "front GET", "back GET /back"}
    for name in ("front GET /front", "front GET"):
        assert (found[name]["user.id"], found[name]["tenant.id"]) == ("u7", "acme")
    assert "user.id" not in found["back GET /back"]
    assert found["front GET /front"]["request.http.calls"] == 1
    for service, message in (("front", "calls the back"), ("back", "answers")):
        (line,) = [line for line in pair.lines(service) if line.get("message") == message]
        assert line["request_id"] == "order-7"


@pytest.mark.parametrize("given", ["x" * 60_000, "two words", "tab\there"])
def test_what_is_no_id_goes_nowhere(pair: Pair, given: str) -> None:
    """A header that is long or has other characters is replaced by the trace id, in both services."""
    headers, body = pair.get("/front?who=acme", X_Request_ID=given)
    assert len(headers["x-request-id"]) == 32
    assert body == {"request_id": headers["x-request-id"]}
    assert not any(given in str(span.attributes) for span in pair.sink.spans)


def test_a_job_tells_everyone_once() -> None:
    """Outside of HTTP a captured exception is one event at Sentry, one on the span and one log record, all linked."""
    with SentryServer() as sentry, OtlpSink() as sink:
        done = run_script(JOB, sentry, sink, {"OTEL_LOGS_EXPORTER": "otlp", "OTEL_BLRP_SCHEDULE_DELAY": "100"})
        assert done.returncode == 0, done.stderr
        (span,) = sink.spans
        errors = [event for event in sentry.events if event.get("exception")]
        messages = [event for event in sentry.events if not event.get("exception")]
        logs = {log.severity: log for log in sink.logs}
        assert len(sink.logs) == 2, sink.logs
    assert [event.name for event in span.events] == ["breadcrumb", "exception", "message"]
    assert span.attributes["operation.outcome"] == "success"
    (error,), (message,) = errors, messages
    for event in (error, message):
        assert event["contexts"]["trace"]["trace_id"] == span.trace_id
        assert event["user"]["id"] == "u1"
    assert error["extra"]["order"] == 7
    assert message["level"] == "warning"
    assert "card checked" in str(error["breadcrumbs"])
    assert logs["ERROR"].attributes["exception.type"] == "RuntimeError"
    assert logs["ERROR"].attributes["order"] == 7
    assert {log.trace_id for log in logs.values()} == {span.trace_id}


def test_without_the_distro_the_calls_do_nothing() -> None:
    """The same job runs where nothing is set up, and says nothing but its own log lines."""
    code = f"import warnings; warnings.simplefilter('error'); exec({JOB!r})"
    done = run(code, ())
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert [line for line in done.stderr.splitlines() if "otel_distro" in line] == [
        "ERROR:otel_distro.captures:RuntimeError: declined",
        "WARNING:otel_distro.captures:charged nothing",
    ]
