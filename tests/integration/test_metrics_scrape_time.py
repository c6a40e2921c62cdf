"""What a scrape of 64 processes with 5,000 samples each costs: reported, not asserted; the totals are."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from prometheus_client.parser import text_string_to_metric_families

from otel_distro.guard import Guard
from otel_distro.metrics import LeanMeterProvider
from otel_distro.metrics.shared import Group, GroupSource, SharedStore
from otel_distro.prometheus import Renderer

PROCESSES, ROUTES, PLAIN = 64, 293, 20
BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]


class Stretches:
    """A pause that notes how long this thread has worked since the last one, in CPU seconds."""

    def __init__(self) -> None:
        self.longest: list[float] = []
        self._since = time.thread_time()

    def __call__(self) -> None:
        self.longest.append(time.thread_time() - self._since)
        self._since = time.thread_time()


def process(base: Path, guard: Guard, order: list[int]) -> LeanMeterProvider:
    provider = LeanMeterProvider(resource=Resource({}), guard=guard, store=SharedStore(Group([base], "g"), guard))
    meter = provider.get_meter("scope")
    duration = meter.create_histogram("duration", "s", explicit_bucket_boundaries_advisory=BOUNDS)
    for number in order:
        duration.record(0.3, {"http.route": f"/r/{number}", "method": "GET"})
    counter = meter.create_counter("orders")
    for number in range(PLAIN):
        counter.add(1, {"n": str(number)})
    return provider


@pytest.mark.parametrize("layouts", ["equal", "differing"])
def test_a_scrape_of_64_processes_is_exact(
    tmp_path: Path, layouts: str, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """All processes' counts are in one text, whatever the order in which each made its series."""
    lines: list[str] = []
    guard = Guard(output=lambda level, text: lines.append(text))
    orders = [list(range(ROUTES)) for _ in range(PROCESSES)]
    if layouts == "differing":
        for order in orders:
            random.shuffle(order)
    providers = [process(tmp_path, guard, order) for order in orders]
    store = providers[0].store
    assert isinstance(store, SharedStore)
    pause = Stretches()
    source = GroupSource(providers[0], store, guard, pause=pause)
    renderer = Renderer(guard, lambda: None, pause=pause)
    text, spent = b"", []
    for number in range(6):
        pause()
        before = time.process_time()
        text = renderer.render(source.snapshot(exemplars=number % 2 == 1), openmetrics=number % 2 == 1)
        spent.append((time.process_time() - before) * 1000)
        if number == 1:
            pause.longest.clear()
    report = (
        f"{PROCESSES} processes, {layouts} layouts: first {spent[0]:.0f} ms, warm {min(spent[2::2]):.0f} ms, exemplars "
        f"{min(spent[3::2]):.0f} ms of CPU; longest stretch when warm {max(pause.longest) * 1000:.1f} ms"
    )
    record_property("scrape", report)
    with capsys.disabled():
        print(f"\n{report}")
    text = renderer.render(source.snapshot(exemplars=False), openmetrics=False)
    found = [sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples]
    assert sum(s.value for s in found if s.name == "duration_seconds_count") == PROCESSES * ROUTES
    assert sum(s.value for s in found if s.name == "orders_total") == PROCESSES * PLAIN
    assert len(found) == ROUTES * (len(BOUNDS) + 3) + PLAIN
    assert not lines
    source._forget()
    for provider in providers:
        one = provider.store
        assert isinstance(one, SharedStore)
        one.close()
        for descriptor in one._closing:
            os.close(descriptor)
