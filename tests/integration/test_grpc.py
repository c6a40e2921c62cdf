"""The protocol grpc: delivered with the extra, one line without; tested as it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

SPAN = "from opentelemetry import trace; trace.get_tracer('x').start_span('over grpc').end(); print('done')"
INSTALLED = find_spec("grpc") is not None


def run(endpoint: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environ = {
        **kept,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_METRICS_EXPORTER": "none",
    }
    command = [sys.executable, "-m", "otel_distro", "run", sys.executable, "-c", SPAN]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def names_received_by_a_server() -> tuple[list[str], subprocess.CompletedProcess[str]]:
    import grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

    names: list[str] = []
    arrived = threading.Event()

    class Receiver(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc]
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's name
            names.extend(
                span.name
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            )
            arrived.set()
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Receiver(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    done = run(f"http://127.0.0.1:{port}")
    arrived.wait(10)
    server.stop(0)
    return names, done


def test_grpc_delivers_with_its_extra_and_is_one_line_without() -> None:
    """With `otel-distro[grpc]` spans arrive; without it one line names what is missing, and the program runs."""
    if INSTALLED:
        names, done = names_received_by_a_server()
        assert names == ["over grpc"]
        assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    else:
        done = run("http://127.0.0.1:9")
        assert (done.returncode, done.stdout) == (0, "done\n")
        (line,) = done.stderr.splitlines()
        assert "pip install 'otel-distro[grpc]'" in line
