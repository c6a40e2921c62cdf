"""What a scrape of 64 processes with 5,000 samples each costs: reported, not asserted; the totals are."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.metrics import PLAIN, PROCESSES, ROUTES, SAMPLES, Stretches, group
from otel_distro.guard import Guard
from otel_distro.metrics.shared import GroupSource, SharedStore
from otel_distro.prometheus import Renderer


@pytest.mark.parametrize("layouts", ["equal", "differing"])
def test_a_scrape_of_64_processes_is_exact(
    tmp_path: Path, layouts: str, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """All processes' counts are in one text, whatever the order in which each made its series."""
    lines: list[str] = []
    guard = Guard(output=lambda level, text: lines.append(text))
    providers = group(tmp_path, guard, differing=layouts == "differing")
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
    assert len(found) == SAMPLES
    assert not lines
    source._forget()
    for provider in providers:
        one = provider.store
        assert isinstance(one, SharedStore)
        one.close()
        for descriptor in one._closing:
            os.close(descriptor)
