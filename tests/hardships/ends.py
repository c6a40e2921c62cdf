"""How long a program takes to end while spans wait and the collector does not answer."""

from __future__ import annotations

from dataclasses import dataclass

from tests.programs import run
from tests.servers import OtlpSink
from tests.servers.sink import Answer

BUDGET = 2.0
"""Seconds all signals together may take, the default of `OTEL_DISTRO_SHUTDOWN_TIMEOUT`."""
BEYOND = 0.5
"""Seconds beyond it that are borne with."""

PROGRAM = """
import atexit, os, sys, time
from opentelemetry import trace
from tests.held_up import delays, held_up
began = [0.0, {{}}]
# registered last, so it runs first: what follows is the distro's own end
atexit.register(lambda: began.__setitem__(slice(None), (time.monotonic(), delays())))
tracer = trace.get_tracer("ends")
for number in range({spans}):
    tracer.start_span("waiting").end()
# runs in the interpreter's last moments, after every atexit callback
class Last:
    def __del__(self, now=time.monotonic, write=os.write, began=began, delays=delays, held_up=held_up):
        write(1, str(now() - began[0] - held_up(began[1], delays())).encode())
sys.last_thing = Last()
"""


@dataclass(frozen=True)
class End:
    """How long the end took.

    Attributes:
        how: what the collector did.
        spans: that waited.
        took: seconds, from the first thing that happens at an end to the last, without those for which the machine had
            no processor for it.
        code: the program's exit code.
        lines: that were said.
    """

    how: str
    spans: int
    took: float
    code: int
    lines: int


def end(spans: int, how: str = "refuses", *, budget: float = BUDGET) -> End:
    """The end of a program with `spans` waiting; the collector `refuses` connections, or `hangs` after the request."""
    with OtlpSink() as sink:
        if how == "refuses":
            sink.stop()
        else:
            sink.answer = Answer(delay=60)
        done = run(
            PROGRAM.format(spans=spans),
            OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
            OTEL_METRICS_EXPORTER="none",
            OTEL_BSP_SCHEDULE_DELAY="3600000",
            OTEL_BSP_MAX_QUEUE_SIZE=str(max(2048, spans)),
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="512",
            OTEL_DISTRO_SHUTDOWN_TIMEOUT=str(int(budget * 1000)),
        )
        return End(how, spans, float(done.stdout or "nan"), done.returncode, len(done.stderr.splitlines()))
