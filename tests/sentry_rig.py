"""Programs beside a recording Sentry and a recording collector: the service of the Sentry tests, and scripts."""

from __future__ import annotations

import os
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from sentry_relay.processing import StoreNormalizer

from tests.programs import OURS, ROOT, run
from tests.servers import OtlpSink
from tests.servers.sentry import SentryServer
from tests.serving import Serving


def reporting(sentry: SentryServer, sink: OtlpSink, more: Mapping[str, str]) -> dict[str, str]:
    """Variables of a program that sends spans to both, fast; `more` wins."""
    ours = {
        "SENTRY_DSN": sentry.dsn,
        "SENTRY_RELEASE": "shop@1.2",
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=collectors-secret",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }
    return {**ours, **more}


class Service(Serving):
    """`tests.sentry_service` under uvicorn (or another command) with our launcher.

    Args:
        more: further environment variables.
        command: a server's command line, `{port}` is put in.
    """

    def __init__(
        self,
        more: Mapping[str, str] | None = None,
        command: Sequence[str] = ("uvicorn", "tests.sentry_service:app", "--port", "{port}", "--no-access-log"),
    ) -> None:
        self.sentry = SentryServer()
        self.sink = OtlpSink()
        self._more = more or {}
        self._written = tempfile.TemporaryDirectory()
        super().__init__([*OURS, *command], {}, Path(self._written.name, "service.log"), probe="/docs")

    def start(self) -> Self:
        """Start Sentry, the collector and then the service."""
        self.sentry.start()
        self.sink.start()
        self._environ = reporting(self.sentry, self.sink, self._more)
        return super().start()

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

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._written.cleanup()
        self.sentry.stop()
        self.sink.stop()


def run_script(
    code: str,
    sentry: SentryServer,
    sink: OtlpSink,
    more: Mapping[str, str] | None = None,
    launcher: Sequence[str] = OURS,
) -> subprocess.CompletedProcess[str]:
    """Run Python code to its end under our launcher, or another."""
    return run(code, launcher, **reporting(sentry, sink, more or {}))


def problems(event: Mapping[str, object]) -> object:
    """What Sentry's own ingestion finds wrong with an event; None when it finds nothing."""
    normalised = StoreNormalizer(project_id=1, key_id="1").normalize_event(dict(event))
    return normalised.get("errors")
