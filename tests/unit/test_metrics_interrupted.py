"""Signal handlers and finalisers that measure in the midst of the making of a series."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource

from otel_distro.guard import Guard
from otel_distro.metrics import LeanMeterProvider, LocalStore
from otel_distro.metrics.cells import Store
from otel_distro.metrics.shared import runtime
from otel_distro.metrics.shared.member import Member
from otel_distro.metrics.shared.store import SharedStore

_WHERE = ("metrics/cells.py", "metrics/stream.py", "metrics/shared/store.py")


def at_event(number: int, handler: Callable[[], object]) -> Callable[[FrameType, str, Any], None]:
    """A profile function that calls `handler` once, at the event of this number in code that makes series."""
    left = number

    def profile(frame: FrameType, event: str, called: object) -> None:
        nonlocal left
        if frame.f_code.co_filename.endswith(_WHERE):
            left -= 1
            if left < 0:
                sys.setprofile(None)
                handler()

    return profile


@pytest.mark.parametrize("shared", [False, True], ids=["local", "shared"])
def test_a_handler_that_measures_while_a_series_is_made_hangs_nowhere_and_loses_nothing(
    shared: bool, tmp_path: Path
) -> None:
    """Whichever step it interrupts: each series has cells of its own, in their order, and holds what was counted."""
    number, done = 0, False
    while not done:
        guard = Guard(level=100)
        base = tmp_path / str(number)
        base.mkdir()
        store: Store = SharedStore(runtime.Group(base, "g"), guard) if shared else LocalStore()
        meter = LeanMeterProvider(resource=Resource({}), guard=guard, store=store).get_meter("m")
        counter, histogram = meter.create_counter("c"), meter.create_histogram("h")
        called: list[None] = []

        def handler(counter: Any = counter, histogram: Any = histogram, called: list[None] = called) -> None:
            called.append(None)
            counter.add(1, {"series": 1})
            counter.add(1, {"series": 2})
            histogram.record(3.0, {"series": 3})

        sys.setprofile(at_event(number, handler))
        try:
            counter.add(1, {"series": 1})
        finally:
            sys.setprofile(None)
        counter.add(1, {"series": 4})
        assert not guard.failures
        entries, cells, found = store.entries(), store.read(), Counter[tuple[Any, ...]]()
        spans = [(entry.at, entry.at + entry.size) for entry in entries]
        assert all(before[1] <= after[0] for before, after in zip(sorted(spans), sorted(spans)[1:], strict=False))
        for entry in entries:
            found[entry.identity.name, entry.attributes["series"]] += int(cells[entry.at])
        once = {("c", 2): 1, ("h", 3): 3} if called else {}
        assert found == {("c", 1): 2 if called else 1, ("c", 4): 1} | once
        if isinstance(store, SharedStore):
            member = Member(store.group.path, store.name)
            member.refresh()
            assert [place.at for place in member.places] == [begin for begin, _ in sorted(spans)]
            member.close()
            store.close()
        number, done = number + 1, not called
    assert number > 20
