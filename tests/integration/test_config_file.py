"""`OTEL_CONFIG_FILE` in real processes: the pipeline of the equivalent variables, under both launchers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs import OURS, STOCK, run
from tests.servers import OtlpSink

DOCUMENT = """
file_format: "1.0"
resource:
  attributes:
    - name: service.name
      value: ${SHOP_NAME:-declared}
propagator: {composite: [{tracecontext: }]}
tracer_provider:
  processors:
    - batch:
        exporter:
          otlp_http:
            endpoint: ${COLLECTOR}/v1/traces
            headers: [{name: x-who, value: file}]
  sampler: {always_on: }
"""
VARIABLES = {
    "OTEL_RESOURCE_ATTRIBUTES": "service.name=declared",
    "OTEL_PROPAGATORS": "tracecontext",
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-who=file",
    "OTEL_TRACES_SAMPLER": "always_on",
}
PROGRAM = """
from opentelemetry import trace
import otel_distro
trace.get_tracer("t").start_span("s").end()
state = otel_distro.status()
print(state.service, [(p.name, p.on, p.detail) for p in state.parts], [(e.signal, e.name) for e in state.exporters])
"""


@pytest.mark.parametrize(
    ("launcher", "pipeline"), [(OURS, "lean"), (STOCK, "lean"), (OURS, "upstream")], ids=["ours", "stock", "upstream"]
)
def test_a_file_is_the_pipeline_of_its_variables(launcher: tuple[str, ...], pipeline: str, tmp_path: Path) -> None:
    """The same parts run, the same span leaves with the same resource, and both say the same."""
    path = tmp_path / "otel.yaml"
    path.write_text(DOCUMENT)
    with OtlpSink() as sink:
        both = {"OTEL_DISTRO_PIPELINE": pipeline}
        declared = run(PROGRAM, launcher, **both, OTEL_CONFIG_FILE=str(path), COLLECTOR=sink.url)
        endpoint = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{sink.url}/v1/traces"}
        variables = run(PROGRAM, launcher, **both, **VARIABLES, **endpoint)
        assert declared.stdout == variables.stdout != ""
        assert declared.stderr == variables.stderr
        assert [span.name for span in sink.spans] == ["s", "s"]
        first, second = ({k: v for k, v in span.resource.items() if k not in OWN} for span in sink.spans)
        assert first == second
        assert first["service.name"] == "declared"


OWN = {"process.pid", "service.instance.id"}


def test_a_broken_file_is_said_once_for_a_program_and_its_children(tmp_path: Path) -> None:
    """One line, and the program runs with what the variables say."""
    path = tmp_path / "otel.yaml"
    path.write_text("tracer_provider: [")
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'pass'], check=True); print('ran')"
    done = run(code, OTEL_CONFIG_FILE=str(path), OTEL_TRACES_EXPORTER="none", OTEL_METRICS_EXPORTER="none")
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert done.stderr.count("OTEL_CONFIG_FILE") == 1
    assert "Traceback" not in done.stderr
