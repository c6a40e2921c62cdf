"""`python -m benchmarks.logs`: CPU of a log line and of a log record, ours beside what it replaces, in one run.

All peers run in one virtual environment, which is made and kept outside the tree. Each is a process of its own, which
measures its own CPU with all its threads, what it sends included; rounds of all peers alternate, and the least round of
each counts. Lines go to a pipe that is read, records to a server that answers.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.environments import environment_of
from benchmarks.peers import PEERS, ROOT

LINES = ("null", "plain", "python-json-logger", "ours-json")
RECORDS = ("null", "upstream-handler", "ours-otlp")
_RECORDS_AT_ONCE = 1_500  # between two flushes: fewer than wait in any queue
_LINES_AT_ONCE = 100  # between two pauses: fewer than fill a pipe
_EXTRA = {"order_id": 1234, "provider": "stripe"}
_REQUIREMENTS = (
    *next(peer.requirements for peer in PEERS if peer.name == "ours"),
    "opentelemetry-sdk==1.45.1",
    "opentelemetry-exporter-otlp-proto-http==1.45.1",
    "opentelemetry-instrumentation-logging==0.66b1",
    "python-json-logger==4.2.0",
)
_TELEMETRY = {"OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "none", "OTEL_SERVICE_NAME": "shop"}

Flush = Callable[[], object]


def main() -> None:
    """Run the rounds and print a table, or be one of the peers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.logs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--extra", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--result", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.peer:
        _be(chosen.peer, chosen.calls, chosen.result, extra=chosen.extra)
    else:
        _run(chosen.rounds, chosen.calls)


# --- one peer --------------------------------------------------------------------------------------------------------


def _be(peer: str, calls: int, result: int, *, extra: bool) -> None:
    flush = _SET_UPS[peer]()
    logger = logging.getLogger("shop.orders")
    told = _EXTRA if extra else None
    with _request(peer):
        took = []
        burst = _RECORDS_AT_ONCE if peer in RECORDS[1:] else _LINES_AT_ONCE
        for _ in range(calls // burst + 1):
            began = time.process_time()
            for number in range(burst):
                logger.info("order %d: charged %.2f via %s", number, 99.5, "stripe", extra=told)
            flush()
            took.append(time.process_time() - began)
            # the reader of the pipe gets its turn
            time.sleep(0.001)
    # the first burst warms up; of the others the median, because a neighbour on the machine disturbs some
    os.write(result, f"{statistics.median(took[1:]) / burst * 1e6:.3f}".encode())


def _request(peer: str) -> Any:
    """A request with span, id, user and tenant for ours; a span alone for upstream, which knows nothing else."""
    from contextlib import nullcontext

    from opentelemetry import trace

    if peer.startswith("ours"):
        from otel_distro.context import RequestScope, open_scope, set_context, set_user

        open_scope(RequestScope("0123456789abcdef"))
        set_user("u-17")
        set_context(tenant="acme")
    elif peer != "upstream-handler":
        return nullcontext()
    return trace.get_tracer("benchmark").start_as_current_span("request")


def _null() -> Flush:
    logging.basicConfig(level=logging.INFO, handlers=[logging.NullHandler()])
    return lambda: None


def _plain() -> Flush:
    logging.basicConfig(level=logging.INFO)
    return lambda: None


def _python_json_logger() -> Flush:
    from pythonjsonlogger.json import JsonFormatter  # pyright: ignore[reportMissingImports]

    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    return lambda: None


def _ours_json() -> Flush:
    return _ours("json")


def _ours_otlp() -> Flush:
    logging.basicConfig(level=logging.INFO, handlers=[logging.NullHandler()])
    _ours("otlp")
    from opentelemetry._logs import get_logger_provider

    provider: Any = get_logger_provider()
    return lambda: provider.force_flush(10_000)


def _ours(mode: str) -> Flush:
    os.environ.update(_TELEMETRY, OTEL_DISTRO_LOGS=mode)
    from otel_distro.start import start

    start()
    return lambda: None


def _upstream_handler() -> Flush:
    """Upstream's SDK, batch processor and exporter, and contrib's handler: the SDK's own is deprecated."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.instrumentation.logging.handler import LoggingHandler  # pyright: ignore[reportMissingImports]
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())
    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    logging.basicConfig(level=logging.INFO, handlers=[LoggingHandler(logger_provider=provider)])
    return lambda: provider.force_flush(10_000)


_SET_UPS: dict[str, Callable[[], Flush]] = {
    "null": _null,
    "plain": _plain,
    "python-json-logger": _python_json_logger,
    "ours-json": _ours_json,
    "upstream-handler": _upstream_handler,
    "ours-otlp": _ours_otlp,
}


# --- all of them -----------------------------------------------------------------------------------------------------


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


def _run(rounds: int, calls: int) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    python = environment_of(_REQUIREMENTS) / "bin" / "python"
    found: dict[str, list[float]] = {}
    peers = dict.fromkeys((*LINES, *RECORDS))
    for _ in range(rounds):
        for extra in (False, True):
            for peer in peers:
                name = f"{peer}, 2 fields" if extra else peer
                found.setdefault(name, []).append(_measure(python, peer, calls, endpoint, extra=extra))
    least = {name: min(values) for name, values in found.items()}
    for fields in ("", ", 2 fields"):
        null = least[f"null{fields}"]
        added = {name: least[f"{name}{fields}"] - null for name in peers}
        print(f"\nadded CPU of a call{fields}, us (over a handler that does nothing, {null:.2f})")
        for name in (*LINES[1:], *RECORDS[1:]):
            print(f"  {name:<20} {added[name]:6.2f}")
        print(
            f"  JSON line / python-json-logger  {added['ours-json'] / added['python-json-logger']:.2f}  (must be <= 1)"
        )
        print(
            f"  OTLP record / upstream's handler {added['ours-otlp'] / added['upstream-handler']:.2f} (must be <= 0.2)"
        )
    print(json.dumps(found))


def _measure(python: Path, peer: str, calls: int, endpoint: str, *, extra: bool) -> float:
    reading, writing = os.pipe()
    command = [str(python), "-m", "benchmarks.logs", "--peer", peer, "--calls", str(calls), "--result", str(writing)]
    environ = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    done = subprocess.run(
        command + ["--extra"] * extra,
        cwd=ROOT,
        env=environ,
        pass_fds=(writing,),
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    if done.returncode or not text:
        raise SystemExit(f"{peer} failed: {done.stderr[-2000:].decode(errors='replace')}")
    return float(text)


if __name__ == "__main__":
    main()
