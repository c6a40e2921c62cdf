"""Shared series: layouts, merging, folding and forks."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_distro.metrics.shared import fold as folding
from otel_distro.metrics.shared import (
    records,
    runtime,
)
from tests.metrics_group_rig import Process, directory


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path


numbers = st.integers(0, 1000).map(float)


steps = st.lists(
    st.one_of(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["orders", "active", "duration", "spread", "level"]),
            numbers,
            st.sampled_from(["", "a", "b", "c"]),
        ),
        st.tuples(st.integers(1, 3), st.just("die"), st.just(0.0), st.just("")),
        st.tuples(st.just(0), st.just("scrape"), st.just(0.0), st.just("")),
    ),
    max_size=40,
)


@given(program=steps)
def test_a_group_shows_what_one_process_would(program: list[Any]) -> None:
    """Whatever four processes measure, whoever dies and whenever is scraped: the sums are those of all of them."""
    with tempfile.TemporaryDirectory() as made:
        base = Path(made)
        group = [Process(base) for _ in range(4)]
        dead: set[int] = set()
        whole = Process(base / "alone") if (base / "alone").mkdir() is None else None
        assert whole is not None
        gauges: dict[tuple[int, str], float] = {}
        active: dict[tuple[int, str], float] = {}
        order: list[tuple[int, str]] = []
        for number, name, value, labels in program:
            if number in dead:
                continue
            if name == "die":
                dead.add(number)
                group[number].die()
            elif name == "scrape":
                group[0].totals()
            else:
                group[number].measure(name, value, labels)
                key = (number, labels)
                if name == "level":
                    gauges[key] = value
                    order = [k for k in order if k != key] + [key]
                elif name == "active":
                    active[key] = active.get(key, 0.0) + value
                else:
                    whole.measure(name, value, labels)
        expected = {k: v for k, v in whole.totals().items() if not k.startswith(("level", "active"))}
        found = group[0].totals()
        assert {k: v for k, v in found.items() if not k.startswith(("level", "active"))} == expected
        for labels in ("", "a", "b", "c"):
            suffix = f"{{k={labels}}}" if labels else ""
            alive = [key for key in order if key[1] == labels and key[0] not in dead]
            assert found.get(f"level{suffix}") == (gauges[alive[-1]] if alive else None)
            values = [v for (n, text), v in active.items() if text == labels and n not in dead]
            assert found.get(f"active{suffix}", 0.0) == sum(values)
        assert all(not process.lines for process in group)
        if dead:
            group[0].source.tidy()
            assert group[0].totals() == found
        for process in [*group, whole]:
            process.close()


def test_a_crash_between_folding_and_removing_counts_nobody_twice(base: Path) -> None:
    """The files of a folded process that are still there are known to be folded, and removed later."""
    one, two = Process(base), Process(base)
    two.measure("orders", 5, "")
    saved = base / "saved"
    two.die()
    shutil.copytree(directory(base), saved)
    assert one.totals()["orders_total"] == 5
    for file in saved.iterdir():
        if file.name.startswith(two.store.name):
            shutil.copy(file, directory(base) / file.name)
    fresh = Process(base)
    assert one.totals()["orders_total"] == fresh.totals()["orders_total"] == 5
    one.source.tidy()
    assert not list(directory(base).glob(f"{two.store.name}*"))
    assert one.totals()["orders_total"] == 5


def test_a_folder_that_looked_before_another_folded_does_not_fold_again(base: Path) -> None:
    """Two scrapers know of the same dead process; it is folded once, also when its id was forgotten since."""
    one, two, dead, later = (Process(base) for _ in range(4))
    dead.measure("orders", 5, "")
    later.measure("orders", 1, "")
    one.source._list()
    stale = [known.member for known in one.source._known.values() if known.member.name == dead.store.name]
    dead.die()
    assert two.totals()["orders_total"] == 6
    later.die()
    assert two.totals()["orders_total"] == 6
    assert folding.fold(directory(base), stale, 100, lambda: None) == []
    assert one.totals()["orders_total"] == 6


def test_two_foldings_never_run_at_once(base: Path) -> None:
    """While one process folds, another leaves the dead alone and still counts them."""
    one, dead = Process(base), Process(base)
    dead.measure("orders", 5, "")
    dead.die()
    lock = os.open(directory(base) / "folding", os.O_RDWR | os.O_CREAT, 0o600)
    assert runtime.locked(lock)
    assert one.totals()["orders_total"] == 5
    assert (directory(base) / f"{dead.store.name}.index").exists()
    os.close(lock)
    assert one.totals()["orders_total"] == 5
    assert not (directory(base) / f"{dead.store.name}.index").exists()


def test_a_processes_end_in_the_middle_of_a_record_loses_that_series_only(base: Path) -> None:
    """An index that ends in half a record is read up to it."""
    one, two = Process(base), Process(base)
    two.measure("orders", 5, "a")
    before = (directory(base) / f"{two.store.name}.index").stat().st_size
    two.measure("orders", 7, "b")
    two.die()
    after = (directory(base) / f"{two.store.name}.index").stat().st_size
    os.truncate(directory(base) / f"{two.store.name}.index", (before + after) // 2)
    assert one.totals() == {"orders_total{k=a}": 5}


def test_cells_are_never_seen_torn(base: Path) -> None:
    """A reader of the file sees a cell before or after a write, and never half of it."""
    one, two = Process(base), Process(base)
    gauge = two.provider.get_meter("scope").create_gauge("flip").series({})
    values = (1.0, -1.2345678901234567e-300)
    gauge.set(values[0])
    stop = threading.Event()

    def flip() -> None:
        while not stop.is_set():
            for value in values:
                gauge.set(value)

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        seen = set()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            seen.add(one.totals()["flip"])
    finally:
        stop.set()
        thread.join()
    assert seen <= set(values)


@given(data=st.binary(max_size=200), cut=st.integers(0, 60))
def test_records_are_whole_or_not_there(data: bytes, cut: int) -> None:
    """However a sequence of records is cut, the whole ones come back, and damage is an error."""
    kinds = [(records.STREAM, data), (records.SERIES, data[::-1]), (records.VALUES, b"x")]
    written = b"".join(records.frame(kind, payload) for kind, payload in kinds)
    assert [(k, p) for k, p, _ in records.frames(written)] == kinds
    shorter = written[: max(0, len(written) - cut)]
    found = [(k, p) for k, p, _ in records.frames(shorter)]
    assert found == kinds[: len(found)]
    if data:
        damaged = bytearray(written)
        damaged[9] ^= 1
        with pytest.raises(ValueError, match="damaged"):
            list(records.frames(bytes(damaged)))


attribute_values = st.one_of(st.text(max_size=5), st.booleans(), st.integers(), st.floats(allow_nan=False), st.none())


@given(attributes=st.dictionaries(st.text(min_size=1, max_size=5), attribute_values, max_size=4))
def test_attributes_come_back_and_their_order_does_not_matter(attributes: dict[str, Any]) -> None:
    """The index gives what was put in; equal attributes are equal bytes."""
    data = records.attributes_bytes(attributes)
    assert records.attributes_of(data) == attributes
    assert records.attributes_bytes(dict(reversed(attributes.items()))) == data


def test_a_fork_in_the_middle_of_a_scrape_leaves_both_able_to_scrape(base: Path) -> None:
    """The child of a fork during a scrape is a process of its own: no lock of its parent's holds it."""
    one, two = Process(base), Process(base)
    for process in (one, two):
        process.measure("orders", 1, "")
    inside, go = threading.Event(), threading.Event()

    def pause() -> None:
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            go.wait(30)

    one.source._pause = pause
    thread = threading.Thread(target=one.totals)
    thread.start()
    assert inside.wait(30)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        one.measure("orders", 5, "")
        os.write(write, repr(one.totals()["orders_total"]).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "7.0"
    os.waitpid(pid, 0)
    go.set()
    thread.join(30)
    assert one.totals()["orders_total"] == 7
