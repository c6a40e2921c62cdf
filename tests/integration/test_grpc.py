"""The protocol grpc: delivered with the extra, one line without; tested as it is installed."""

from __future__ import annotations

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

from tests.programs import run

SPAN = "from opentelemetry import trace; trace.get_tracer('x').start_span('over grpc').end(); print('done')"
INSTALLED = find_spec("grpc") is not None


def exported(endpoint: str) -> subprocess.CompletedProcess[str]:
    """A program that sends one span by gRPC."""
    return run(
        SPAN,
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
        OTEL_METRICS_EXPORTER="none",
    )


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
    done = exported(f"http://127.0.0.1:{port}")
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
        done = exported("http://127.0.0.1:9")
        assert (done.returncode, done.stdout) == (0, "done\n")
        (line,) = done.stderr.splitlines()
        assert "pip install 'otel-distro[grpc]'" in line
