"""gevent: patched before telemetry is set up, everything works; patched after, telemetry ends and nothing hangs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hardships.processes import Served
from tests.programs import OURS, STOCK, run
from tests.servers import OtlpSink
from tests.servers.waiting import http_get

PROGRAM = """
import gevent
from opentelemetry import trace

def work(number):
    with trace.get_tracer("greenlets").start_as_current_span(f"greenlet {number}"):
        gevent.sleep(0.01)

gevent.joinall([gevent.spawn(work, number) for number in range(3)])
print("done")
"""
PATCHING = "from gevent import monkey; monkey.patch_all()\n"
EARLY = {"OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH": "patch_all"}


@pytest.mark.parametrize("launcher", [OURS, STOCK], ids=["ours", "stock"])
def test_patched_first_every_greenlets_span_arrives(launcher: tuple[str, ...]) -> None:
    """With upstream's variable gevent comes first, and what the application patches again is patched already."""
    with OtlpSink() as sink:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_METRICS_EXPORTER": "none", **EARLY}
        done = run(PATCHING + PROGRAM, launcher, **environ)
        assert (done.returncode, done.stdout) == (0, "done\n")
        assert sorted(span.name for span in sink.spans) == ["greenlet 0", "greenlet 1", "greenlet 2"]


def test_patched_later_telemetry_ends_and_the_application_goes_on() -> None:
    """Locks from before the patch would hang the loop (opentelemetry-python #3886, #4025): one line instead."""
    with OtlpSink() as sink:
        done = run(PATCHING + PROGRAM, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_METRICS_EXPORTER="otlp")
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert len(done.stderr.splitlines()) == 1
    assert "patch_all patches before" in done.stderr


def test_gunicorns_gevent_workers_are_patched_in_time(tmp_path: Path) -> None:
    """`-k gevent` says that gevent will patch, so it is done before telemetry is set up (#4345)."""
    (tmp_path / "wsgi.py").write_text(
        "from opentelemetry import trace\n"
        "def app(environ, start_response):\n"
        "    with trace.get_tracer('wsgi').start_as_current_span('wsgi ' + environ['PATH_INFO']):\n"
        "        start_response('200 OK', [])\n"
        "        return [b'ok']\n"
    )
    with OtlpSink() as sink:
        server = ("gunicorn", "-k", "gevent", "-w", "2", "-b", "127.0.0.1:{port}", "--chdir", str(tmp_path), "wsgi:app")
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_METRICS_EXPORTER": "none"}
        with Served((*OURS, *server), environ, tmp_path / "log") as running:
            assert http_get(f"http://127.0.0.1:{running.port}/x") == b"ok"
            running.stop()
        assert [span.name for span in sink.spans if span.name != "wsgi /health"] == ["wsgi /x"]
        assert "otel-distro: warning: gevent" not in running.log()
