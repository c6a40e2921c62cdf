"""What a killed process had counted is pushed by whoever folds it, as the process itself would have pushed it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData, NumberDataPoint
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from otel_distro.guard import Guard
from otel_distro.metrics import LeanMeterProvider
from otel_distro.metrics.shared import Group, GroupSource, SharedStore, runtime
from otel_distro.otlp.encode_metrics import MetricEncoder


class Member:
    """A process that shares its series, is read by a reader of its own, and hears the last numbers of others."""

    def __init__(self, base: Path, name: str, *, silent: bool = False) -> None:
        self.lines: list[str] = []
        guard = Guard(output=lambda level, text: self.lines.append(text))
        resource = Resource({"service.instance.id": name, "host.name": "h"}, "https://example.test/1")
        self.store = SharedStore(Group(base, "g"), guard, None if silent else lambda: resource)
        self.reader = InMemoryMetricReader()
        views = [View(instrument_name="spread", aggregation=ExponentialBucketHistogramAggregation(max_size=20))]
        self.provider = LeanMeterProvider(
            resource=resource, guard=guard, store=self.store, readers=[self.reader], views=views,
            exemplar_filter="always_off",
        )  # fmt: skip
        self.heard: list[MetricsData] = []
        self.source = GroupSource(
            self.provider, self.store, guard, pause=lambda: None, killed=self.heard.append, delivery=0.2
        )  # fmt: skip

    def measure(self) -> None:
        """Something of every kind."""
        meter = self.provider.get_meter("scope", "1", "https://example.test/2", {"team": "a"})
        orders = meter.create_counter("orders", "{order}", "All orders")
        orders.add(3, {"kind": "a"})
        orders.add(1.5, {"kind": "b", "list": ["x", 1]})
        meter.create_observable_counter("cpu", [lambda options: [Observation(7.25)]], "s")
        duration = meter.create_histogram("duration", "s", explicit_bucket_boundaries_advisory=[1, 10])
        spread = meter.create_histogram("spread")
        for value in (0.5, 5, 5.5, 50):
            duration.record(value, {"route": "/"})
            spread.record(value)
        meter.create_gauge("level").set(4)
        meter.create_up_down_counter("active").add(2)

    def kill(self) -> None:
        """Give the lock back, as the kernel does."""
        runtime.unlock(self.store._index)


def plain(data: MetricsData | None) -> dict[str, Any]:
    """Resource, scopes and points without times of collection, extremes and exemplars; only sums that never fall."""
    assert data is not None
    (group,) = data.resource_metrics
    found: dict[str, Any] = {"resource": dict(group.resource.attributes), "schema": group.schema_url}
    for part in group.scope_metrics:
        scope = (part.scope.name, part.scope.version, part.scope.schema_url, dict(part.scope.attributes or {}))
        for metric in part.metrics:
            if metric.name in {"level", "active"}:
                continue
            points = []
            for point in metric.data.data_points:
                facts = {name: getattr(point, name) for name in point.__dataclass_fields__}
                for unknown in ("time_unix_nano", "min", "max", "exemplars"):
                    facts.pop(unknown, None)
                facts["attributes"] = {
                    k: list(v) if isinstance(v, tuple) else v for k, v in (point.attributes or {}).items()
                }
                points.append(facts)
            kind = (type(metric.data).__name__, getattr(metric.data, "is_monotonic", None))
            found[metric.name] = (scope, metric.unit, metric.description, kind, points)
    return found


def test_the_last_numbers_are_what_the_process_would_have_pushed(tmp_path: Path) -> None:
    """Every sum and histogram, under the dead process's resource and scopes, with its start; sent once."""
    dead, alive = Member(tmp_path, "dead"), Member(tmp_path, "alive")
    dead.measure()
    wanted = plain(dead.reader.get_metrics_data())
    dead.kill()
    for _ in range(3):
        alive.source.snapshot(exemplars=False)
    (heard,) = alive.heard
    assert plain(heard) == wanted
    assert wanted["resource"]["service.instance.id"] == "dead"
    assert not alive.lines


def test_the_last_numbers_can_be_encoded(tmp_path: Path) -> None:
    """Unknown extremes are left out of OTLP, and the rest is whole."""
    dead, alive = Member(tmp_path, "dead"), Member(tmp_path, "alive")
    dead.measure()
    dead.reader.get_metrics_data()
    dead.kill()
    alive.source.tidy()
    alive.source.snapshot(exemplars=False)
    (heard,) = alive.heard
    encoded = MetricEncoder().encode(heard)
    assert encoded.lost == 0
    message = ExportMetricsServiceRequest.FromString(encoded.body)
    metrics = {m.name: m for m in message.resource_metrics[0].scope_metrics[0].metrics}
    assert set(metrics) == {"orders", "cpu", "duration", "spread"}
    (point,) = metrics["duration"].histogram.data_points
    assert (point.count, point.sum, list(point.bucket_counts)) == (4, 61.0, [1, 2, 1])
    assert not point.HasField("min")
    assert metrics["spread"].exponential_histogram.data_points[0].count == 4


@pytest.mark.parametrize("silent", [False, True])
def test_a_process_that_ended_in_order_or_said_nothing_of_itself_is_not_spoken_for(
    tmp_path: Path, silent: bool
) -> None:
    """It has pushed its last numbers itself; one without a resource cannot be named."""
    ended, alive = Member(tmp_path, "ended", silent=silent), Member(tmp_path, "alive")
    ended.measure()
    if not silent:
        ended.store.close()
    ended.kill()
    alive.source.snapshot(exemplars=False)
    assert alive.heard == []
    assert not alive.lines


def test_a_forked_child_is_named_by_its_own_resource(tmp_path: Path) -> None:
    """The resource is asked for again in the child, whose numbers begin at zero."""
    alive = Member(tmp_path, "alive")
    names = iter(["parent", "child"])
    guard = Guard(output=lambda level, text: None)
    resource = lambda: Resource({"service.instance.id": next(names)})  # noqa: E731 - asked once a process
    store = SharedStore(Group(tmp_path, "g"), guard, resource)
    provider = LeanMeterProvider(resource=Resource({}), guard=guard, store=store)
    counter = provider.get_meter("scope").create_counter("orders")
    counter.add(100)
    pid = os.fork()
    if pid == 0:
        counter.add(5)
        os._exit(0)
    os.waitpid(pid, 0)
    alive.source.snapshot(exemplars=False)
    (heard,) = alive.heard
    (group,) = heard.resource_metrics
    assert group.resource.attributes["service.instance.id"] == "child"
    (point,) = group.scope_metrics[0].metrics[0].data.data_points
    assert isinstance(point, NumberDataPoint)
    assert point.value == 5


def test_who_pushes_no_more_leaves_the_dead_to_others(tmp_path: Path) -> None:
    """A process on its way out shows the dead one's numbers and folds nothing; the next one speaks for it."""
    dead, leaving, alive = (Member(tmp_path, name) for name in ("dead", "leaving", "alive"))
    dead.measure()
    dead.kill()
    leaving.provider.shutdown()
    leaving.source.snapshot(exemplars=False)
    assert leaving.heard == []
    alive.source.snapshot(exemplars=False)
    assert len(alive.heard) == 1


def test_the_files_of_a_killed_process_stay_until_its_numbers_are_delivered(tmp_path: Path) -> None:
    """Were the one who pushed them killed, too, the next would find them; after a while they are folded."""
    dead, one, two = (Member(tmp_path, name) for name in ("dead", "one", "two"))
    dead.measure()
    index = tmp_path / f"otel-distro-{os.geteuid()}" / "g" / f"{dead.store.name}.index"
    dead.kill()
    for member in (one, two):
        member.source.snapshot(exemplars=False)
        assert len(member.heard) == 1
        assert index.exists()
    time.sleep(0.25)
    one.source.tidy()
    assert not index.exists()
    for member in (one, two):
        cells = member.source.snapshot(exemplars=False)
        assert sum(v for e, v in zip(cells.entries, (cells.cells[e.at] for e in cells.entries), strict=True)
                   if e.identity.name == "orders") == 4.5  # fmt: skip
        assert len(member.heard) == 1
