"""`otel_distro.status()` in real processes: under both launchers, in forked children, with upstream's pipeline."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.programs import OURS, STOCK, run

ENVIRON = {
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    "OTEL_LOG_LEVEL": "none",
}


def printed(code: str, launcher: Sequence[str], **environ: str) -> str:
    return run(f"import otel_distro, os\n{code}", launcher, check=True, **{**ENVIRON, **environ}).stdout


@pytest.mark.parametrize(
    ("launcher", "pipeline"), [(OURS, "lean"), (STOCK, "lean"), (OURS, "upstream")], ids=["ours", "stock", "upstream"]
)
def test_both_launchers_and_pipelines_have_a_status(launcher: tuple[str, ...], pipeline: str) -> None:
    """Whoever set telemetry up, the status knows the pipeline, its exporter and the instrumentations."""
    code = (
        "s = otel_distro.status(); print(s.running, s.pipeline, s.role, [e.name for e in s.exporters],"
        " any(i.library == 'redis' for i in s.instrumentations))"
    )
    assert printed(code, launcher, OTEL_DISTRO_PIPELINE=pipeline) == f"True {pipeline} application ['otlp'] True\n"


def test_a_forked_child_counts_for_itself() -> None:
    """Numbers are those of the process that asks: a child starts at zero, under its own pid."""
    code = """
from opentelemetry import trace
def counted():
    s = otel_distro.status(); return s.pid == os.getpid(), s.exporters[0].queue["after_shutdown"]
provider = trace.get_tracer_provider(); tracer = trace.get_tracer("x")
provider.shutdown(); tracer.start_span("late").end()
if os.fork() == 0:
    print("child", *counted(), flush=True); os._exit(0)
os.wait(); print("parent", *counted())
"""
    assert printed(code, OURS) == "child True 0\nparent True 1\n"
