"""Groups of real processes: one set of numbers, exact whoever is killed; one owner of the port, who is replaced."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from tests.servers.base import free_port
from tests.servers.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


class Worker:
    """A worker process, driven by lines."""

    def __init__(self, base: Path, port: int, group: str = "g", **options: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.metrics_worker", str(base), group, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            **options,
        )
        self.pid = self._answer()

    def do(self, command: str, argument: Any = None) -> Any:
        self.tell(command, argument)
        return self._answer()

    def tell(self, command: str, argument: Any = None) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([command, argument]) + "\n")
        self.process.stdin.flush()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(30)
        self.close()

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


Start = Callable[..., Worker]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def start(base: Path) -> Iterator[Start]:
    made: list[Worker] = []

    def one(port: int = -1, group: str = "g", **options: Any) -> Worker:
        worker = Worker(base, port, group, **options)
        made.append(worker)
        return worker

    yield one
    for worker in made:
        worker.process.kill()
        worker.process.wait(30)
        worker.close()


def totals(text: str) -> dict[str, float]:
    """Samples by name and labels; a line that appears twice would be an error."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name + "".join(f"{{{k}={v}}}" for k, v in sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def directory(base: Path) -> Path:
    return base / f"otel-distro-{os.geteuid()}" / "g"


def indices(base: Path) -> list[str]:
    return [name for name in (p.name for p in directory(base).iterdir()) if name.endswith(".index")]


def get(port: int) -> str | None:
    """A scrape over HTTP, None while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            return str(response.read(), "utf-8")
    except (urllib.error.URLError, ConnectionError):
        return None


def within(seconds: float, check: Callable[[], Any]) -> Any:
    """What `check` gives, as soon as it is true."""
    return wait_until(check, seconds=seconds, what="the group to be as it should")


def test_counters_of_a_killed_process_stay_and_its_gauges_go(start: Start, base: Path) -> None:
    """After kill -9 totals and histograms are exact, active things of the dead are gone, its files too."""
    one, two, three = start(), start(), start()
    one.do("add", 5)
    two.do("add", 7)
    three.do("add", 0.5)
    two.do("set", 9)
    two.do("observe", 2.5)
    two.do("scrape")  # runs its callbacks, as the owner of the port would ask it to
    before = totals(one.do("scrape"))
    assert (before["orders_total{kind=a}"], before["active"], before["level"]) == (12.5, 3, 9)
    two.kill()
    for _ in range(3):
        after = totals(one.do("scrape"))
        assert after["orders_total{kind=a}"] == 12.5
        assert after["duration_seconds_count"] == 3
        assert after["duration_seconds_sum"] == 12.5
        assert after["duration_seconds_bucket{le=1.0}"] == 1
        assert after["active"] == 2
        assert after["cpu_total"] == 2.5
        assert after["system_load"] == 0
        assert "level" not in after
    assert len(indices(base)) == 2
    assert totals(three.do("scrape"))["orders_total{kind=a}"] == 12.5
    assert not one.do("said")


def test_every_process_shows_the_same_numbers(start: Start) -> None:
    """Whoever is asked, by the port or by a mounted route, answers for all, under the group's instance id."""
    workers = [start() for _ in range(4)]
    for number, worker in enumerate(workers):
        worker.do("add", number)
    texts = [worker.do("scrape") for worker in workers]
    assert {totals(text)["orders_total{kind=a}"] for text in texts} == {6}
    assert all('service_instance_id="g"' in text for text in texts)


def test_what_a_process_counts_until_the_moment_it_is_killed_is_there(start: Start) -> None:
    """The total after kill -9 lies between what the process had said and what it could have added since."""
    watcher = start()
    said = 0
    for _ in range(3):
        worker = start()
        worker.tell("hammer")
        first = worker._answer()
        time.sleep(random.uniform(0.05, 0.2))
        worker.process.send_signal(signal.SIGKILL)
        worker.process.wait(30)
        assert worker.process.stdout is not None
        last = [first, *(line for line in worker.process.stdout.read().splitlines() if line.strip())][-1]
        worker.close()
        said += int(last)
        total = totals(watcher.do("scrape"))["orders_total{kind=hammer}"]
        assert said <= total <= said + 3 * 100 + 3
        said = int(total)


def test_a_child_of_a_fork_starts_at_zero_and_its_counts_stay(start: Start) -> None:
    """Inherited totals are not counted again; what a child adds is, before and after it ends."""
    parent = start()
    parent.do("add", 100)
    parent.do("fork", 1)
    parent.do("fork", 2)
    found = totals(parent.do("scrape"))
    assert found["orders_total{kind=a}"] == 103
    assert found["active"] == 1
    child = parent.do("fork", -5)
    try:
        within(10, lambda: totals(parent.do("scrape"))["orders_total{kind=a}"] == 108)
        other = start()
        parent.kill()
        found = totals(other.do("scrape"))
        # the parent is seen to be dead although its child has inherited all it had open
        assert found["orders_total{kind=a}"] == 108
        assert "active" not in found or found["active"] == 0
    finally:
        os.kill(child, signal.SIGKILL)


def test_many_short_lived_processes_leave_one_file(start: Start, base: Path) -> None:
    """Recycled workers are folded once each: the total is exact, the directory does not grow."""
    watcher = start()
    for number in range(12):
        worker = start()
        worker.do("add", number)
        worker.kill(random.choice([signal.SIGKILL, signal.SIGTERM]))
        if number % 3 == 0:
            watcher.do("scrape")
    assert totals(watcher.do("scrape"))["orders_total{kind=a}"] == sum(range(12))
    assert len(indices(base)) == 1


def test_totals_never_fall_while_processes_come_and_go_and_several_scrape(start: Start) -> None:
    """Two scrapers fold at the same time as workers die and start: no total ever falls, the last one is exact."""
    first, second = start(), start()
    truth, last = 0, 0.0
    for number in range(8):
        workers = [start() for _ in range(2)]
        for worker in workers:
            worker.do("add", 3)
            truth += 3
        for worker in workers:
            worker.process.kill()
        for scraper in random.sample([first, second], 2):
            scraper.tell("scrape")
        for scraper in (first, second):
            now = totals(scraper._answer()).get("orders_total{kind=a}", 0.0)
            assert now >= last or number == 0
            last = max(last, now)
        for worker in workers:
            worker.process.wait(30)
    assert totals(first.do("scrape"))["orders_total{kind=a}"] == truth
    assert totals(second.do("scrape"))["orders_total{kind=a}"] == truth


def test_the_port_has_one_owner_and_another_takes_over_when_it_dies(start: Start) -> None:
    """One of four binds; after its kill -9 another does, and no total has fallen."""
    port = free_port()
    workers = [start(port) for _ in range(4)]
    for worker in workers:
        worker.do("add", 1)
    for alive in (4, 3, 2):
        within(2, lambda: get(port) is not None)
        text = get(port)
        assert text is not None
        assert totals(text)["orders_total{kind=a}"] == 4
        assert totals(text)["active"] == alive
        owners = [worker for worker in workers if worker.do("port")]
        assert len(owners) == 1
        workers.remove(owners[0])
        owners[0].kill()
    assert not any(worker.do("said") for worker in workers)


def test_an_owner_that_stops_in_order_hands_the_port_over(start: Start) -> None:
    """Graceful stop of the owner: the next one answers."""
    port = free_port()
    workers = [start(port) for _ in range(2)]
    [owner] = [worker for worker in workers if worker.do("port")]
    owner.do("stop")
    assert owner.do("port") == 0
    workers.remove(owner)
    within(2, lambda: workers[0].do("port") == port)


def test_a_process_that_was_not_started_never_binds(start: Start) -> None:
    """Supervisors are members of the group, count, and leave the port alone."""
    port = free_port()
    supervisor, worker = start(-1), start(port)
    supervisor.do("add", 2)
    within(2, lambda: worker.do("port") == port)
    worker.kill()
    time.sleep(1.2)
    assert get(port) is None
    assert supervisor.do("port") == 0


def test_a_strangers_port_is_one_warning_and_is_taken_when_it_is_free(start: Start) -> None:
    """A taken port stops nothing; it is said once, and bound when the stranger has gone."""
    port = free_port()
    stranger, worker = start(port, "other"), start(port)
    worker.do("add", 1)
    time.sleep(1.2)
    assert worker.do("port") == 0
    assert [line.split(":")[0] for line in worker.do("said")] == ["/metrics"]
    stranger.kill()
    within(3, lambda: worker.do("port") == port)


def test_values_of_callbacks_are_fresh_in_every_process(start: Start) -> None:
    """A scrape lets all processes run their callbacks: sums over processes, the host's own numbers once."""
    port = free_port()
    workers = [start(port) for _ in range(3)]

    def fresh(number: float) -> bool:
        for worker in workers:
            worker.do("observe", number)
        found = totals(within(2, lambda: get(port)))
        return (found["cpu_total"], found["system_load"]) == (3 * number, number)

    # a scrape waits a tenth of a second for the others, in which a busy machine may have no processor for one
    for first in (1, 100):
        assert any(fresh(first + attempt / 2) for attempt in range(50))


def test_a_stopped_process_delays_a_scrape_and_loses_nothing(start: Start) -> None:
    """SIGSTOP of a worker: its last numbers are shown, the scrape is answered."""
    port = free_port()
    owner, other = start(port), start(port)
    other.do("add", 5)
    other.process.send_signal(signal.SIGSTOP)
    try:
        assert totals(owner.do("scrape"))["orders_total{kind=a}"] == 5
    finally:
        other.process.send_signal(signal.SIGCONT)


def test_openmetrics_shows_the_youngest_exemplar_of_any_process(start: Start) -> None:
    """The exemplar of a process that measured later replaces that of one before."""
    one, two = start(), start()
    one.do("add", 5)
    time.sleep(0.01)
    two.do("add", 7)
    families = {f.name: f for f in openmetrics_families(one.do("scrape", "application/openmetrics-text"))}
    [counter] = [s for s in families["orders"].samples if s.name == "orders_total"]
    assert counter.exemplar.value == 7
    again = {f.name: f for f in openmetrics_families(one.do("scrape", "application/openmetrics-text"))}
    assert [s.exemplar.value for s in again["orders"].samples if s.exemplar] == [7]


def test_the_limit_holds_for_the_group_as_a_whole(start: Start) -> None:
    """Different series of several processes are together no more than the limit, and nothing is lost."""
    watcher = start()
    for _ in range(2):
        worker = start()
        worker.do("series", 1900)
        worker.kill()
    other = start()
    other.do("series", 2500)
    found = {k: v for k, v in totals(watcher.do("scrape")).items() if k.startswith("orders_total")}
    assert len(found) <= 2000
    assert sum(found.values()) == 2 * 1900 + 2500
    assert found["orders_total{otel_metric_overflow=true}"] > 0


def test_the_last_one_out_removes_the_directory(start: Start, base: Path) -> None:
    """After an orderly end nothing is left in the runtime directory."""
    one, two = start(), start()
    one.do("close")
    assert directory(base).exists()
    two.do("close")
    assert not directory(base).exists()
    two.do("add", 1)  # what is mapped stays usable


def test_a_launch_after_all_have_died_starts_at_zero(start: Start) -> None:
    """Nobody of the earlier launch lives: its numbers are not shown again."""
    one = start()
    one.do("add", 5)
    one.kill()
    two = start()
    two.do("add", 1)
    assert totals(two.do("scrape"))["orders_total{kind=a}"] == 1


def test_directories_of_groups_without_members_are_swept(start: Start, base: Path) -> None:
    """A start removes what killed groups left, and not what live ones have."""
    names = "d" * 24, "a" * 24  # of the form that groups have
    dead, alive = (start(-1, name) for name in names)
    dead.kill()
    port = free_port()
    owner = start(port)
    within(5, lambda: not (directory(base).parent / names[0]).exists())
    assert (directory(base).parent / names[1]).exists()
    alive.do("add", 1)
    assert owner.do("port") == port
