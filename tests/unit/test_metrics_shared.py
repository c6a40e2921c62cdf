"""Shared series: layouts, merging, folding and everything that can be wrong in the directory."""

from __future__ import annotations

import os
import resource as limits
import shutil
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from prometheus_client.parser import text_string_to_metric_families

from otel_distro.guard import Guard
from otel_distro.metrics import LeanMeterProvider, LocalStore
from otel_distro.metrics.shared import (
    Group,
    GroupSource,
    SharedStore,
    directories,
    group_name,
    open_store,
    records,
    runtime,
    started,
)
from otel_distro.metrics.shared import fold as folding
from otel_distro.prometheus import Renderer

ROOT = Path(__file__).resolve().parents[2]
VIEWS = [View(instrument_name="spread", aggregation=ExponentialBucketHistogramAggregation(max_size=20))]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path


class Process:
    """What one process has of a group, here several in one; `die` gives its locks back as the kernel would."""

    def __init__(self, base: Path, **options: Any) -> None:
        self.lines: list[str] = []
        self.guard = Guard(output=lambda level, text: self.lines.append(text))
        self.store = SharedStore(Group([base], "g"), self.guard)
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


@settings(max_examples=150, deadline=None)
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
    assert folding.fold(directory(base), stale, 100, lambda: None) == 0
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


FOREIGN = {
    "empty": b"",
    "text": b"hello",
    "magic only": records.MAGIC,
    "damaged record": records.MAGIC + struct.pack("<II", 5, 1) + b"Sxxxx",
    "impossible length": records.MAGIC + struct.pack("<II", 0, 0) + b"xxxxx",
    "no such stream": records.MAGIC + records.series_record(7, 0, 1, 0.0, (-1, 0), b"{}"),
    "nonsense stream": records.MAGIC
    + records.stream_record(0, b"[1,2]")
    + records.series_record(0, 0, 1, 0.0, (-1, 0), b"{}"),
    "nonsense attributes": records.MAGIC
    + records.stream_record(0, b'[["s",null,null,{}],["n","","","sum"],[true,false,[],0,"sum"]]')
    + records.series_record(0, 0, 1, 0.0, (-1, 0), b"\xff"),
    "wrong size": records.MAGIC
    + records.stream_record(0, b'[["scope","1","",{"team":"a"}],["orders","","","sum"],[true,false,[],0,"sum"]]')
    + records.series_record(0, 0, 1, 0.0, (-1, 0), b"{}")
    + records.series_record(0, 1, 99, 0.0, (-1, 0), b"{}"),
    "beyond all bounds": records.MAGIC
    + records.stream_record(0, b'[["s",null,null,{}],["n","","","sum"],[true,false,[],0,"sum"]]')
    + records.series_record(0, 1 << 50, 1, 0.0, (-1, 0), b"{}"),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_files_that_are_not_ours_change_nothing(base: Path, content: bytes) -> None:
    """Foreign and damaged indices are named at most once and ignored; the group's numbers are right."""
    one, two = Process(base), Process(base)
    one.measure("orders", 1, "")
    two.measure("orders", 2, "")
    (directory(base) / "1-x.index").write_bytes(content)
    (directory(base) / "1-x.cells").write_bytes(b"short")
    for _ in range(3):
        assert one.totals()["orders_total"] == 3
    assert len(one.lines) <= 1


def test_links_and_directories_among_the_files_change_nothing(base: Path) -> None:
    """What is no plain file is not followed."""
    one = Process(base)
    one.measure("orders", 1, "")
    (directory(base) / "a.index").symlink_to("/etc/passwd")
    (directory(base) / "b.index").mkdir()
    (directory(base) / "folded").mkdir()
    assert one.totals()["orders_total"] == 1


def test_cells_that_someone_shortened_are_no_signal(base: Path) -> None:
    """Other processes' files are read, not mapped: fewer bytes are zeros, and the scraper lives."""
    one, two = Process(base), Process(base)
    one.measure("orders", 1, "")
    two.measure("orders", 2, "")
    two.die()
    os.truncate(directory(base) / f"{two.store.name}.cells", 3)
    assert one.totals()["orders_total"] == 1


def test_a_damaged_folding_is_never_written_over(base: Path) -> None:
    """What ended processes left is kept for a person to look at; the living are still counted."""
    one, two = Process(base), Process(base)
    one.measure("orders", 1, "")
    two.measure("orders", 2, "")
    (directory(base) / folding.NAME).write_bytes(b"damaged")
    two.die()
    assert one.totals()["orders_total"] == 3
    assert (directory(base) / folding.NAME).read_bytes() == b"damaged"
    assert len(one.lines) == 1


def test_thousands_of_ended_processes_are_folded_with_few_open_files(base: Path) -> None:
    """3,000 stale files with 150 descriptors left: the total is exact, the files are gone."""
    one, two = Process(base), Process(base)
    two.measure("orders", 1, "")
    two.die()
    for suffix in (".index", ".cells", ".exemplars"):
        source = directory(base) / (two.store.name + suffix)
        for number in range(3000 if suffix == ".index" else 300):
            shutil.copy(source, directory(base) / f"9-{number:05}{suffix}")
    soft, hard = limits.getrlimit(limits.RLIMIT_NOFILE)
    limits.setrlimit(limits.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 150, hard))  # noqa: PTH208
    try:
        assert one.totals()["orders_total"] == 301
    finally:
        limits.setrlimit(limits.RLIMIT_NOFILE, (soft, hard))
    one.source.tidy()
    assert len(list(directory(base).glob("*.index"))) == 1
    assert one.totals()["orders_total"] == 301


def test_a_directory_that_is_open_to_others_is_not_used(base: Path) -> None:
    """Another one is taken, or none: then each process is alone, with one line."""
    shared = base / f"otel-distro-{os.geteuid()}"
    shared.mkdir()
    shared.chmod(0o755)
    lines: list[str] = []
    guard = Guard(output=lambda level, text: lines.append(text))
    assert isinstance(open_store([base], "g", guard), LocalStore)
    assert len(lines) == 1
    other = base / "other"
    other.mkdir()
    found = open_store([base, base / "missing", other], "g", guard)
    assert isinstance(found, SharedStore)
    assert found.group.path.parent.parent == other


def test_a_directory_behind_a_link_is_not_used(base: Path) -> None:
    """A name that someone has prepared as a link is refused."""
    (base / "real").mkdir(mode=0o700)
    (base / f"otel-distro-{os.geteuid()}").symlink_to(base / "real")
    with pytest.raises(OSError, match="not a directory of this user alone"):
        Group([base], "g")


def test_files_are_this_users_alone(base: Path) -> None:
    """Nobody else can read numbers or names."""
    one = Process(base)
    one.measure("orders", 1, "")
    for path in [directory(base).parent, directory(base), *directory(base).iterdir()]:
        assert path.stat().st_mode & 0o077 == 0


def test_a_removed_directory_leaves_each_process_its_own_numbers(base: Path) -> None:
    """Someone cleans up the runtime directory: measuring and scraping go on."""
    one = Process(base)
    one.measure("orders", 1, "")
    shutil.rmtree(directory(base))
    one.measure("orders", 2, "b")
    assert one.totals() == {"orders_total": 1, "orders_total{k=b}": 2}


FULL = """
    import resource, sys
    from pathlib import Path
    from tests.unit.test_metrics_shared import Process
    limit = int(sys.argv[2])
    one = Process(Path(sys.argv[1]))
    one.measure("orders", 1, "")
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    for number in range(5000):
        one.measure("duration", 5, str(number % 1500))
        one.measure("orders", 1, "")
    found = one.totals()
    assert found["orders_total"] == 5001, found["orders_total"]
    assert sum(v for k, v in found.items() if k.startswith("duration_count")) == 5000
    assert len(one.lines) == 1, one.lines
    print("done")
"""


@pytest.mark.parametrize("limit", [0, 4096, 30_000, 60_000])
def test_a_disk_that_fills_up_costs_one_line(base: Path, limit: int) -> None:
    """When files cannot grow, measuring goes on in memory, nothing is lost to this process, and no signal comes."""
    code = textwrap.dedent(FULL)
    result = subprocess.run(
        [sys.executable, "-c", code, str(base), str(limit)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.stdout == "done\n", result.stderr


def test_a_full_disk_stops_folding_and_loses_nothing(base: Path) -> None:
    """Dead processes that cannot be folded are read where they are, at every scrape."""
    one, two = Process(base), Process(base)
    two.measure("orders", 5, "")
    two.die()
    (directory(base) / f"{folding.NAME}.{os.getpid()}.tmp").mkdir()  # cannot be written, as on a full disk
    for _ in range(3):
        assert one.totals()["orders_total"] == 5
    assert len(one.lines) == 1
    (directory(base) / f"{folding.NAME}.{os.getpid()}.tmp").rmdir()
    assert one.totals()["orders_total"] == 5
    assert not (directory(base) / f"{two.store.name}.index").exists()


def test_the_last_member_removes_the_directory_and_others_keep_it(base: Path) -> None:
    """leave() of one of two keeps it, of the last one removes it."""
    one, two = Group([base], "g"), Group([base], "g")
    one.leave()
    assert directory(base).exists()
    two.leave()
    assert not directory(base).exists()
    two.leave()


def test_groups_are_named_by_their_facts() -> None:
    """Equal facts give equal names, different ones different names, and no fact can imitate two."""
    assert group_name("a", 1) == group_name("a", "1")
    assert group_name("a", "b") != group_name("ab")
    assert group_name("\ud800") != group_name("a")
    assert started(os.getpid()) != ""
    assert started(os.getpid()) == started(os.getpid())
    assert started(2**30) == ""


def test_directories_are_tried_best_first(base: Path) -> None:
    """The user's runtime directory, then memory, then the temporary directory; those that exist."""
    found = directories({"XDG_RUNTIME_DIR": str(base)}, "/nonexistent")
    assert found[0] == base
    assert Path("/nonexistent") not in found


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


@settings(max_examples=60, deadline=None)
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


@settings(max_examples=100, deadline=None)
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


def test_a_fork_without_room_for_files_keeps_the_childs_numbers_to_itself(base: Path) -> None:
    """A child that cannot share measures on, says so once, and shows what it has."""
    one = Process(base)
    one.measure("orders", 1, "")
    shutil.rmtree(base / f"otel-distro-{os.geteuid()}")
    (base / f"otel-distro-{os.geteuid()}").write_text("in the way")
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        one.measure("orders", 5, "")
        facts = (one.store.read().tolist()[0], len(one.lines))
        os.write(write, repr(facts).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "(5.0, 1)"
    os.waitpid(pid, 0)
