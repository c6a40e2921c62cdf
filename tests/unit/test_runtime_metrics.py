"""What the process, its garbage collector and its event loops show of themselves."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import types
from pathlib import Path

import pytest
from opentelemetry.metrics import Observation

from otel_distro.runtime import MERGES, Garbage, LoopLag, observe_garbage
from otel_distro.runtime.event_loop import _Timer
from otel_distro.runtime.process import ProcessMetrics, Stat, observe_process, open_descriptors, read_stat
from tests.forking import in_child
from tests.metrics_group_rig import Process
from tests.metrics_rig import Setup

LINUX = Path("/proc/self/stat").exists()


def value(setup: Setup, name: str, **attributes: object) -> float:
    found: float = setup.values(name)[
        tuple(sorted(((k.replace("__", "."), v) for k, v in attributes.items()), key=repr))
    ]
    return found


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_the_process_shows_what_the_kernel_counts(setup: Setup) -> None:
    """CPU, memory, threads and descriptors follow what the process does between two collections."""
    observe_process(setup.meter)
    release = threading.Event()
    before = setup.metrics()
    threads = [threading.Thread(target=release.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    memory = bytearray(os.urandom(1)) * 60_000_000
    descriptors = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
    deadline = time.process_time() + 0.05
    while time.process_time() < deadline:
        pass
    after = setup.metrics()
    for descriptor in descriptors:
        os.close(descriptor)
    release.set()
    for thread in threads:
        thread.join()
    assert len(memory) == 60_000_000

    def rise(name: str) -> float:
        first, second = (sum(p.value for p in m[name].data_points) for m in (before, after))
        return float(second - first)

    assert rise("process.thread.count") == 3
    assert rise("process.unix.file_descriptor.count") == 5
    assert rise("process.memory.usage") > 50_000_000
    assert rise("process.memory.virtual") > 50_000_000
    assert rise("process.cpu.time") > 0.04
    assert rise("process.context_switches") > 0
    assert rise("process.uptime") > 0
    assert {p.attributes["cpu.mode"] for p in after["process.cpu.time"].data_points} == {"user", "system"}
    kinds = {p.attributes["process.context_switch.type"] for p in after["process.context_switches"].data_points}
    assert kinds == {"voluntary", "involuntary"}


def test_a_programs_name_may_contain_anything(tmp_path: Path) -> None:
    """Blanks and parentheses in the second field of /proc/self/stat move no other field."""
    fields = ["S", *map(str, range(4, 53))]
    fields[17], fields[19], fields[20], fields[21] = "7", "1000", "4096", "3"
    path = tmp_path / "stat"
    path.write_text(f"42 (a) b (c) {' '.join(fields)}\n")
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    assert read_stat(str(path)) == Stat(threads=7, virtual=4096, resident=3 * page, started=1000 / ticks)


@pytest.mark.parametrize("text", ["", "42 (a", "42 (a) S 1 2", "42 (a) " + "x " * 60])
def test_a_system_that_tells_nothing_costs_those_metrics_only(setup: Setup, tmp_path: Path, text: str) -> None:
    """Where /proc has no such file, or another, memory and threads are left out instead of guessed."""
    path = tmp_path / "stat"
    path.write_text(text)
    assert read_stat(str(path)) is None
    assert read_stat(str(tmp_path / "missing")) is None
    assert open_descriptors(str(tmp_path / "missing"), str(tmp_path / "missing")) is None
    observe_process(setup.meter, ProcessMetrics(lambda: None, lambda: None))
    shown = setup.metrics()
    assert {"process.cpu.time", "process.uptime", "process.context_switches"} <= set(shown)
    assert not {"process.memory.usage", "process.thread.count", "process.unix.file_descriptor.count"} & set(shown)


def test_descriptors_are_counted_one_by_one_where_no_size_tells(tmp_path: Path) -> None:
    """Another system's directory of descriptors is listed, less the listing's own."""
    for number in range(4):
        (tmp_path / str(number)).touch()
    assert open_descriptors(str(tmp_path / "missing"), str(tmp_path)) == 3


def test_one_collection_reads_the_process_once(setup: Setup) -> None:
    """Memory, address space, threads and uptime of one collection are of one moment."""
    reads: list[None] = []

    def read() -> Stat:
        reads.append(None)
        return Stat(len(reads), len(reads), len(reads), 0.0)

    observe_process(setup.meter, ProcessMetrics(read, lambda: 0))
    setup.metrics()
    second = setup.metrics()
    names = ("process.memory.usage", "process.memory.virtual", "process.thread.count")
    assert {second[name].data_points[0].value for name in names} == {2}
    assert len(reads) == 2


def test_a_total_counts_from_the_instruments_beginning(setup: Setup) -> None:
    """The start of what a callback reports is when it began to count, not when somebody first looked."""
    observe_process(setup.meter)
    made = time.time_ns()
    time.sleep(0.01)
    (user, *_) = setup.metrics()["process.cpu.time"].data_points
    assert user.start_time_unix_nano <= made < user.time_unix_nano


def test_what_is_made_before_the_first_reading_counts_from_the_providers_beginning() -> None:
    """Nothing is made until somebody reads, once, and the totals are of the whole life; in a child of the child's."""
    setup, made = Setup(), []
    other = setup.provider.get_meter("application")

    def make() -> None:
        made.append(time.time_ns())
        observe_process(setup.meter)
        # as another thread of the application's may meanwhile
        other.create_observable_counter("application.total", [lambda _: [Observation(1)]])

    setup.provider.before_first_reading(setup.meter.name, make)
    before = time.time_ns()

    def start() -> int:
        (user, *_) = setup.metrics()["process.cpu.time"].data_points
        return int(user.start_time_unix_nano)

    assert not made
    assert int(in_child(start)) >= before
    assert start() <= before
    assert start() <= before
    assert len(made) == 1
    assert setup.metrics()["application.total"].data_points[0].start_time_unix_nano >= made[0]


def test_garbage_collections_are_counted_by_generation(setup: Setup) -> None:
    """A collection of the oldest generation shows under its number, with what it found."""
    observe_garbage(setup.meter, Garbage(setup.guard))
    before = setup.metrics()
    for _ in range(10):
        circle: list[object] = []
        circle.append(circle)
    del circle
    gc.collect()
    after = setup.metrics()

    def of(metrics: dict[str, object], name: str) -> dict[int, float]:
        return {p.attributes["cpython.gc.generation"]: p.value for p in metrics[name].data_points}  # type: ignore[attr-defined]

    assert of(after, "cpython.gc.collections")[2] == of(before, "cpython.gc.collections")[2] + 1
    found = sum(of(after, "cpython.gc.collected_objects").values())
    assert found >= sum(of(before, "cpython.gc.collected_objects").values()) + 10
    assert set(of(after, "cpython.gc.uncollectable_objects")) == {0, 1, 2}


def test_a_forked_child_does_not_show_its_parents_garbage(setup: Setup) -> None:
    """Collections that the parent made are the parent's; the group would count them once for each worker."""
    observe_garbage(setup.meter, Garbage(setup.guard))
    for _ in range(9):
        gc.collect()
    number = in_child(lambda: value(setup, "cpython.gc.collections", cpython__gc__generation=2))
    assert float(number) < 9


class Lagging:
    """A watched loop class of its own, so that no other test's loop is touched."""

    def __init__(self, interval: float = 0.01) -> None:
        self.setup = Setup()

        class Loop(asyncio.SelectorEventLoop):
            pass

        self.loop_class = Loop
        self.lag = LoopLag(self.setup.meter, self.setup.guard, interval=interval)
        self.lag.watch_uvloop(types.SimpleNamespace(Loop=Loop))  # type: ignore[arg-type]

    def run(self, coroutine: object) -> None:
        with asyncio.Runner(loop_factory=self.loop_class) as runner:
            runner.run(coroutine)  # type: ignore[arg-type]

    def points(self) -> tuple[int, float]:
        data = self.setup.metrics().get("asyncio.event_loop.lag")
        return (data.data_points[0].count, data.data_points[0].max) if data else (0, 0.0)


def test_a_blocked_loop_shows_for_how_long() -> None:
    """A callback that holds the loop makes the next look late by what is left of it; others are on time."""
    lagging = Lagging()

    async def main() -> None:
        await asyncio.sleep(0.1)
        time.sleep(0.2)  # noqa: ASYNC251 - what is measured
        await asyncio.sleep(0.05)

    lagging.run(main())
    count, worst = lagging.points()
    assert count >= 3
    assert worst > 0.15


def test_a_loop_that_is_blocked_now_shows_to_another_thread() -> None:
    """While a callback holds the loop the gauge rises, before the histogram can know; afterwards there is none."""
    lagging = Lagging()
    seen: list[float] = []

    def look() -> None:
        seen.append(lagging.setup.values("asyncio.event_loop.overdue")[()])

    async def main() -> None:
        await asyncio.sleep(0.03)
        watcher = threading.Timer(0.15, look)
        watcher.start()
        time.sleep(0.3)  # noqa: ASYNC251 - what is measured
        watcher.join()

    lagging.run(main())
    assert seen[0] > 0.05
    assert lagging.setup.values("asyncio.event_loop.overdue") == {}


def test_the_timer_keeps_no_loop_running_and_leaves_nothing_behind() -> None:
    """A loop ends as soon as its work does, with nothing scheduled, run after run."""
    lagging = Lagging(interval=30)
    began = time.monotonic()
    loop = lagging.loop_class()
    for _ in range(3):
        loop.run_until_complete(asyncio.sleep(0))
    scheduled = [handle for handle in vars(loop)["_scheduled"] if not handle.cancelled()]
    loop.close()
    assert not scheduled
    assert not lagging.lag._timers
    assert time.monotonic() - began < 15
    assert not lagging.setup.lines


def test_a_look_that_fails_is_not_the_last() -> None:
    """What a signal's handler raises in the middle of a look reaches the loop, and the loop is looked at again."""
    looks: list[float] = []
    told: list[object] = []
    thrice = asyncio.Event()

    def record(late: float) -> None:
        looks.append(late)
        if len(looks) == 1:
            raise TimeoutError("SIGALRM")
        if len(looks) == 3:
            thrice.set()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, about: told.append(type(about["exception"])))
        timer = _Timer(loop, 0.001, record)
        await thrice.wait()
        timer.stop()

    asyncio.run(asyncio.wait_for(main(), 30))
    assert told == [TimeoutError]


def test_loops_that_cannot_run_raise_as_ever() -> None:
    """A closed loop, and one that runs already, refuse in asyncio's own words."""
    lagging = Lagging()
    loop = lagging.loop_class()

    async def again() -> str:
        with pytest.raises(RuntimeError) as refused:
            loop.run_forever()
        return str(refused.value)

    assert "already running" in loop.run_until_complete(again())
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_forever()
    assert not lagging.lag._timers
    assert not lagging.setup.lines


def test_several_loops_are_watched_side_by_side() -> None:
    """Loops in threads of their own are watched each, and the worst one counts."""
    lagging = Lagging()
    at_once = threading.Barrier(3)
    timers: list[int] = []

    async def main() -> None:
        at_once.wait()
        timers.append(len(lagging.lag._timers))
        at_once.wait()
        await asyncio.sleep(0.05)

    threads = [threading.Thread(target=lambda: lagging.run(main())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert timers == [3, 3, 3]
    assert lagging.points()[0] >= 3
    assert not lagging.setup.lines


def test_unwatch_leaves_the_class_as_it_was() -> None:
    """The patch can be taken back."""
    lagging = Lagging()
    lagging.lag.unwatch()
    assert lagging.loop_class.run_forever is asyncio.SelectorEventLoop.run_forever


def test_a_forked_childs_overdue_is_not_its_parents() -> None:
    """A child that forks inside a loop does not wait for the parent's timer for ever."""
    lagging = Lagging()

    def look() -> object:
        time.sleep(0.05)
        return lagging.setup.values("asyncio.event_loop.overdue")

    async def main() -> str:
        await asyncio.sleep(0.02)
        return in_child(look)

    with asyncio.Runner(loop_factory=lagging.loop_class) as runner:
        assert runner.run(main()) == "{}"


def test_workers_become_one_service(tmp_path: Path) -> None:
    """Memory, threads and processes of a group are added, CPU stays when a worker dies, uptime is the oldest's."""
    # in a process of its own, which takes the group's files with it
    assert in_child(lambda: _two_workers(tmp_path)) == "None"


def _two_workers(base: Path) -> None:
    while not all(os.times()[:2]):  # a child that has just been forked may not have used any of one kind
        base.stat()
    stats = {"a": Stat(3, 100, 10, 5.0), "b": Stat(4, 200, 20, 50.0)}
    processes = {name: Process(base, merges=MERGES) for name in stats}
    for name, process in processes.items():
        read = {"a": lambda: stats["a"], "b": lambda: stats["b"]}[name]
        observe_process(process.provider.get_meter("otel_distro.runtime"), ProcessMetrics(read, lambda: 6))
        process.provider.observe()
    one, two = processes["a"], processes["b"]
    totals = one.totals()
    assert totals["process_thread_count"] == 7
    assert totals["process_memory_usage_bytes"] == 30
    assert totals["process_unix_file_descriptor_count"] == 12
    assert totals["otel_distro_process_count"] == 2
    boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert boot - 50 < totals["process_uptime_seconds"] <= boot + 1
    two.die()
    later = one.totals()
    assert later["process_thread_count"] == 3
    assert later["otel_distro_process_count"] == 1
    for mode in ("user", "system"):
        name = f"process_cpu_time_seconds_total{{cpu_mode={mode}}}"
        assert later[name] >= totals[name] > 0
