"""docs/metrics.md keeps up with the code: every metric of ours is in its table, in its group, with its unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opentelemetry.metrics import Meter

from otel_distro.instrumentation.asgi.metrics import Instruments
from otel_distro.instrumentation.asgi.streams import Kind
from otel_distro.instrumentation.calls import meter_of
from otel_distro.instrumentation.httpx import HttpxInstrumentation
from otel_distro.instrumentation.redis import RedisInstrumentation
from otel_distro.instrumentation.sqlalchemy import SqlalchemyInstrumentation
from otel_distro.metrics.groups import group_of
from otel_distro.own_metrics import Component, OwnMetrics, Settled
from otel_distro.runtime import LoopLag, observe_garbage, observe_process
from otel_distro.settings import METRIC_GROUPS
from tests.recording import Recording
from tests.tracing_rig import Recorder, queue

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
LOGS = {"otel.sdk.processor.log.", "otel.sdk.exporter.log.", "otel_distro.log."}


def documented() -> dict[str, list[tuple[str, str]]]:
    """Group and unit of each metric in the table; a name may be in two groups."""
    found: dict[str, list[tuple[str, str]]] = {}
    group = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or len(cells) < 6 or not cells[1].startswith("`"):
            continue
        group = cells[0].strip("`") or group
        prefix = ""
        for name in cells[1].split(","):
            text = name.strip(" *`")
            text = prefix + text if text.startswith(".") else text
            prefix = text.rpartition(".")[0]
            found.setdefault(text, []).append((group, cells[3]))
    return found


def made() -> list[Any]:
    """One of each instrument that the distro can make."""
    recording = Recording()
    provider, guard = recording.meter_provider, recording.guard
    meters: dict[str, Meter] = {name: provider.get_meter(f"otel_distro.{name}") for name in ("runtime", "own")}
    observe_process(meters["runtime"])
    kept: list[Any] = [observe_garbage(meters["runtime"], guard), LoopLag(meters["runtime"], guard)]
    own = OwnMetrics(meters["own"], guard)
    own.watch_durations(Settled())
    for signal in ("traces", "logs"):
        own.watch_queue(Component(signal, "t", "n"), queue(Recorder()), 1)
        own.watch_exporter(Component(signal, "t", "n"), list)
    own.watch_exporter(Component("metrics", "t", "n"), list)
    classes = (RedisInstrumentation, SqlalchemyInstrumentation, HttpxInstrumentation)
    kept += [instrumentation(recording.toolbox) for instrumentation in classes]
    server = meter_of(provider, "fastapi")
    Instruments(server)
    Kind(server, "sse.server", "x", "events", directions=False)
    Kind(server, "websocket.server", "x", "messages", directions=True)
    return list(provider._instruments)


def test_every_metric_is_in_the_table_with_its_group_and_unit() -> None:
    """What the distro measures is documented, and what is documented is measured."""
    table = documented()
    measured = {(i.name, group_of(i.instrumentation_scope.name, i.name), i.unit) for i in made()}
    assert {group for _, group, _ in measured} == set(METRIC_GROUPS)
    for name, group, unit in measured:
        if not name.startswith(tuple(LOGS)):
            assert (group, unit) in table.get(name, []), name
    names = {name for name, _, _ in measured}
    groups = {name for name, rows in table.items() if rows[0][0] in METRIC_GROUPS}
    assert groups <= names
    assert {prefix for prefix in LOGS if any(name.startswith(prefix) for name in names)} == LOGS
