"""docs/metrics.md keeps up with the code: every metric of ours is in its table, in its group, with its unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opentelemetry.metrics import Meter
from prometheus_client.openmetrics import parser

from otel_distro.components import Component
from otel_distro.export_durations import ExportDurations
from otel_distro.instrumentation.asgi.metrics import Instruments
from otel_distro.instrumentation.asgi.streams import Kind
from otel_distro.instrumentation.calls import meter_of
from otel_distro.instrumentation.httpx import HttpxInstrumentation
from otel_distro.instrumentation.redis import RedisInstrumentation
from otel_distro.instrumentation.sqlalchemy import SqlalchemyInstrumentation
from otel_distro.measure import Cache, Counter, ModelCalls, Quota, observe, timed
from otel_distro.metrics.groups import group_of
from otel_distro.metrics.source import LocalSource
from otel_distro.own_metrics import OwnMetrics
from otel_distro.prometheus import Renderer
from otel_distro.runtime import Garbage, LoopLag, observe_garbage
from otel_distro.runtime.process import observe_process
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
    observe_process(meters["runtime"], killed=lambda: 0)
    observe_garbage(meters["runtime"], Garbage(guard))
    kept: list[Any] = [LoopLag(meters["runtime"], guard)]
    own = OwnMetrics(meters["own"], guard)
    ExportDurations().measure(meters["own"])
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


def test_whatever_is_measured_parses_strictly() -> None:
    """Names, units and labels of ours, and odd ones of an application's, make no line that OpenMetrics refuses."""
    recording = Recording()
    provider, guard = recording.meter_provider, recording.guard
    meter = provider.get_meter("otel_distro.measure")
    observe_process(provider.get_meter("otel_distro.runtime"), killed=lambda: 0)
    observe_garbage(provider.get_meter("otel_distro.runtime"), Garbage(guard))
    kept = LoopLag(meter, guard)
    own = OwnMetrics(provider.get_meter("otel_distro.own"), guard)
    own.watch_queue(Component("traces", "batching_span_processor", "otlp"), queue(Recorder()), 8)
    guard.failed('a "part"\nof ours', "broken")
    odd = 'a"b\\c\nd\ud800 €'
    Counter("shop.orders.total", unit="{order}", meter=meter).add(2, plan=odd)
    Quota("ga4.quota", unit="1", meter=meter).set(used=2, limit=1, property=odd)
    Cache(odd, meter=meter).miss()
    observe("3rd part", lambda: 1, meter=meter)
    observe("sizes", lambda: {odd: 1.5, "": 2}, label="a b", unit="By", meter=meter)
    with timed("x.duration", active=True, labels={"le": "1", "otel.scope.name": "mine"}, meter=meter)():
        pass
    with ModelCalls("p", currency="EUR", meter=meter)("m", **{"gen_ai/token\ttype": 1}) as call:
        call.tokens(input=5, output=7, cost=0.5)
    renderer = Renderer(guard, lambda: provider.resource, scope_labels=True, pause=lambda: None)
    text = renderer.render(LocalSource(provider).snapshot(exemplars=True), openmetrics=True).decode()
    families: Any = parser.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    names = {family.name for family in families}
    expected = {"process_cpu_time_seconds", "otel_distro_span_produced", "shop_orders", "ga4_quota_remaining"}
    assert expected | {"x_duration_seconds", "x_active", "gen_ai_client_token_usage", "otel_distro_model_cost"} <= names
    assert kept


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
