"""Programs beside a recording Sentry and a recording collector: the service of the Sentry tests, and scripts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from sentry_relay.processing import StoreNormalizer

from tests.servers import OtlpSink, free_port, wait_until
from tests.servers.sentry import SentryServer

ROOT = Path(__file__).resolve().parents[1]
RUN = (sys.executable, "-m", "otel_distro", "run")


def environment(sentry: SentryServer, sink: OtlpSink, more: Mapping[str, str]) -> dict[str, str]:
    """Variables of a program that sends spans to both, fast; `more` wins."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SENTRY_"))}
    ours = {
        "SENTRY_DSN": sentry.dsn,
        "SENTRY_RELEASE": "shop@1.2",
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=collectors-secret",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH")))),
    }
    return {**kept, **ours, **more}


class Service:
    """`tests.sentry_service` under uvicorn (or another command) with our launcher.

    Args:
        more: further environment variables.
        command: a server's command line, `{port}` is put in.
        start: sends nothing before this many requests to `/ok` succeeded.
    """

    def __init__(
        self,
        more: Mapping[str, str] | None = None,
        command: Sequence[str] = ("uvicorn", "tests.sentry_service:app", "--port", "{port}", "--no-access-log"),
    ) -> None:
        self.sentry = SentryServer()
        self.sink = OtlpSink()
        self._more = more or {}
        self._command = command
        self.port = free_port()
        self.output = ""

    def __enter__(self) -> Self:
        self.sentry.start()
        self.sink.start()
        command = [part.format(port=self.port) for part in self._command]
        # nobody reads while it runs, and a full pipe would stop it in the middle of a traceback
        self._written = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [*RUN, *command],
            cwd=ROOT,
            env=environment(self.sentry, self.sink, self._more),
            stdout=self._written,
            stderr=subprocess.STDOUT,
        )
        wait_until(self._answers, seconds=120, what="the service")
        return self

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(self.stop())
        return self.get("/docs") != 0

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> int:
        """The status of a request; 0 where nobody listens."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0

    def stop(self) -> str:
        """End the service by SIGTERM, and give back what it wrote."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(90)
        self._written.seek(0)
        self.output = self._written.read()
        return self.output

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._written.close()
        self.sentry.stop()
        self.sink.stop()


def run_script(
    code: str,
    sentry: SentryServer,
    sink: OtlpSink,
    more: Mapping[str, str] | None = None,
    launcher: Sequence[str] = RUN,
) -> subprocess.CompletedProcess[str]:
    """Run Python code to its end under our launcher, or another."""
    return subprocess.run(
        [*launcher, sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(sentry, sink, more or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def problems(event: Mapping[str, object]) -> object:
    """What Sentry's own ingestion finds wrong with an event; None when it finds nothing."""
    normalised = StoreNormalizer(project_id=1, key_id="1").normalize_event(dict(event))
    return normalised.get("errors")
