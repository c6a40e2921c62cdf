"""Processes of a group, several in one, for tests of shared series."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from prometheus_client.parser import text_string_to_metric_families

from otel_distro.guard import Guard
from otel_distro.metrics import LeanMeterProvider
from otel_distro.metrics.shared import (
    Group,
    GroupSource,
    SharedStore,
    runtime,
)
from otel_distro.prometheus import Renderer

VIEWS = [View(instrument_name="spread", aggregation=ExponentialBucketHistogramAggregation(max_size=20))]


class Process:
    """What one process has of a group, here several in one; `die` gives its locks back as the kernel would."""

    def __init__(self, base: Path, **options: Any) -> None:
        self.lines: list[str] = []
        self.guard = Guard(output=lambda level, text: self.lines.append(text))
        self.store = SharedStore(Group(base, "g"), self.guard)
        self.provider = LeanMeterProvider(
            resource=Resource({}),
            guard=self.guard,
            store=self.store,
            views=VIEWS,
            exemplar_filter="always_off",
            **options,
        )
        meter = self.provider.get_meter("scope", "1", None, {"team": "a"})
        self.instruments = {
            "orders": meter.create_counter("orders").add,
            "active": meter.create_up_down_counter("active").add,
            "duration": meter.create_histogram("duration", explicit_bucket_boundaries_advisory=[1, 10, 100]).record,
            "spread": meter.create_histogram("spread").record,
            "level": meter.create_gauge("level").set,
        }
        self.source = GroupSource(self.provider, self.store, self.guard, pause=lambda: None, limit=100)
        self._renderer = Renderer(self.guard, lambda: None, scope_labels=False, pause=lambda: None)

    def measure(self, name: str, value: float, labels: str) -> None:
        self.instruments[name](value, {"k": labels} if labels else None)

    def totals(self) -> dict[str, float]:
        text = self._renderer.render(self.source.snapshot(exemplars=False), openmetrics=False).decode()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name + "".join(f"{{{k}={v}}}" for k, v in sorted(sample.labels.items()))] = sample.value
        return found

    def die(self) -> None:
        runtime.unlock(self.store._index)

    def close(self) -> None:
        """Give the descriptors back that a real process keeps until its end."""
        self.source._forget()
        self.store.group.leave()
        for descriptor in self.store._closing:
            os.close(descriptor)


def directory(base: Path) -> Path:
    return base / f"otel-distro-{os.geteuid()}" / "g"
