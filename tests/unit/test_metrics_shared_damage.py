"""Everything that can be wrong with the directory of a group, and whom it must not disturb."""

from __future__ import annotations

import math
import os
import resource as limits
import shutil
import struct
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_distro.guard import Guard
from otel_distro.metrics import LocalStore
from otel_distro.metrics.shared import (
    Group,
    SharedStore,
    directories,
    group_name,
    network,
    open_store,
    records,
)
from otel_distro.metrics.shared import fold as folding
from otel_distro.process import started
from tests.metrics_group_rig import Process, directory


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path


ROOT = Path(__file__).resolve().parents[2]


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


def test_ten_thousand_stale_files_are_folded_with_few_open_files(base: Path) -> None:
    """What 3,333 killed processes left, with 150 descriptors to spare: the total is exact, the files are gone."""
    one, two = Process(base), Process(base)
    two.measure("orders", 1, "")
    two.die()
    for suffix in (".index", ".cells", ".exemplars"):
        source = directory(base) / (two.store.name + suffix)
        for number in range(3333):
            shutil.copyfile(source, directory(base) / f"9-{number:05}{suffix}")
    soft, hard = limits.getrlimit(limits.RLIMIT_NOFILE)
    limits.setrlimit(limits.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 150, hard))  # noqa: PTH208
    try:
        assert one.totals()["orders_total"] == 3334
    finally:
        limits.setrlimit(limits.RLIMIT_NOFILE, (soft, hard))
    one.source.tidy()
    assert len(list(directory(base).glob("*.index"))) == 1
    assert one.totals()["orders_total"] == 3334
    assert not one.lines


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
        Group(base, "g")


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
    from tests.metrics_group_rig import Process
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
    one, two = Group(base, "g"), Group(base, "g")
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


def test_containers_that_share_memory_are_different_groups() -> None:
    """A network namespace of its own, as a container has, is told apart."""
    code = "from otel_distro.metrics.shared import network; print(network())"
    mine = in_another_process(code).strip()
    assert mine == str(network())
    made = subprocess.run(
        ["unshare", "--user", "--net", sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no namespace can be made here: {made.stderr.strip()}")
    assert made.stdout.strip() not in {mine, "0"}


def test_directories_are_tried_best_first(base: Path) -> None:
    """The user's runtime directory, then memory, then the temporary directory; those that exist."""
    found = directories({"XDG_RUNTIME_DIR": str(base), "TMPDIR": "/nonexistent"})
    assert found[0] == base
    assert Path("/nonexistent") not in found
    assert directories({"XDG_RUNTIME_DIR": "/nonexistent", "TMPDIR": str(base)})[-2:] == [base, Path("/tmp")]


def test_a_full_directory_is_passed_over_unless_others_are_there(base: Path) -> None:
    """Full from the beginning, as `/dev/shm` of a container may be: the next one. Full later: alone, and one line."""
    code = """
        import os
        from pathlib import Path
        from otel_distro.guard import Guard
        from otel_distro.metrics.shared import open_store
        full, other = Path("full"), Path("other")
        lines, filler = [], full / "filler"
        guard = Guard(output=lambda level, text: lines.append(text))
        def fill():
            with filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        def opened():
            before = len(os.listdir("/proc/self/fd"))
            store = open_store([full, other], "g", guard)
            where = getattr(store, "group", None)
            print(where and where.path.parent.parent, len(os.listdir("/proc/self/fd")) - before, len(lines))
            return store
        try: fill()
        except OSError: pass
        first = opened()
        first.group.leave()
        print(*sorted(path.name for path in full.rglob("*")))
        filler.unlink()
        second = opened()
        try: fill()
        except OSError: pass
        opened()
    """
    (base / "full").mkdir()
    (base / "other").mkdir()
    mounted = 'mount -t tmpfs -o size=64k tmpfs full && exec "$@"'
    command = ["unshare", "-Urm", "sh", "-c", mounted, "sh", sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(
        command, cwd=base, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    assert done.stdout.splitlines() == ["other 4 0", "filler otel-distro-0", "full 4 0", "None 0 1"], done.stderr


def test_a_directory_that_cannot_be_looked_at_is_left_out(base: Path) -> None:
    """One that the kernel refuses to look up, as it does below another user's home, is as good as none."""
    assert directories({"XDG_RUNTIME_DIR": "/" + 5000 * "x", "TMPDIR": str(base)}) == directories({"TMPDIR": str(base)})


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


def in_another_process(code: str, *arguments: object) -> str:
    """Output of a program that must not change this process's clock, user or threads."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(code), *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def entered() -> Iterator[Path]:
    """A directory that another user can enter, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="metrics-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def test_a_read_only_directory_costs_one_line(entered: Path) -> None:
    """A user that may not write where the files would be: this process alone, one line, at the start and later on."""
    code = """
        import os, sys
        from pathlib import Path
        from otel_distro.guard import Guard
        from otel_distro.metrics import LocalStore
        from otel_distro.metrics.shared import open_store
        from tests.metrics_group_rig import Process
        base, lines = Path(sys.argv[1]), []
        if os.geteuid() == 0:
            os.seteuid(65534)
        read_only = base / "read-only"
        found = open_store([Path("/proc"), read_only], "g", Guard(output=lambda level, text: lines.append(text)))
        assert isinstance(found, LocalStore) and len(lines) == 1, lines
        assert "each process shows its own numbers only" in lines[0]
        one = Process(base / "writable")
        one.measure("orders", 1, "")
        one.store.group.path.chmod(0o500)
        one.measure("orders", 1, "")
        for number in range(3000):  # more cells than were allocated
            one.measure("duration", 5, str(number % 1000))
        assert one.totals()["orders_total"] == 2
        assert sum(v for k, v in one.totals().items() if k.startswith("duration_count")) == 3000
        assert len(one.lines) <= 1, one.lines
        print("done")
    """
    (entered / "read-only").mkdir(mode=0o555)
    (entered / "writable").mkdir()
    (entered / "writable").chmod(0o777)
    assert in_another_process(code, entered) == "done\n"


def test_jumps_of_the_clock_change_no_total(base: Path) -> None:
    """A day forwards, two days back: totals, liveness, folding and gauges go on, and nothing is said."""
    code = """
        import sys, time
        from pathlib import Path
        real, offset = time.time, [0.0]
        time.time = lambda: real() + offset[0]
        from tests.metrics_group_rig import Process
        one, two = Process(Path(sys.argv[1])), Process(Path(sys.argv[1]))
        truth = 0
        for jump in (0, 86400, -172800, 3600):
            offset[0] = jump
            three = Process(Path(sys.argv[1]))
            for process in (one, two, three):
                process.measure("orders", 1, "")
                process.measure("active", 1, "")
                process.measure("level", jump, "")
                truth += 1
            three.die()
            found = one.totals()
            assert found["orders_total"] == truth, (jump, found)
            assert found["active"] == 2 * (truth / 3), (jump, found)
            one.source.tidy()
            assert two.totals()["orders_total"] == truth, jump
        assert not one.lines and not two.lines, (one.lines, two.lines)
        print("done")
    """
    assert in_another_process(code, base) == "done\n"


def test_a_fork_during_a_scrape_hangs_nobody(base: Path) -> None:
    """Children that are forked while a thread scrapes measure and scrape at once; their counts are exact."""
    code = """
        import os, sys, threading
        from pathlib import Path
        from tests.metrics_group_rig import Process
        one = Process(Path(sys.argv[1]))
        one.measure("orders", 1, "")
        ended = threading.Event()

        def scrape():
            while not ended.is_set():
                one.totals()

        threads = [threading.Thread(target=scrape) for _ in range(2)]
        for thread in threads:
            thread.start()
        children = []
        for number in range(20):
            pid = os.fork()
            if pid == 0:
                import signal
                signal.alarm(20)  # a deadlock ends the child by a signal, which the parent sees
                one.measure("orders", 1, "")
                one.measure("duration", number, str(number))  # a new series takes the locks that are held elsewhere
                assert one.totals()["orders_total"] >= 2
                os._exit(0)
            children.append(pid)
        codes = [os.waitpid(pid, 0)[1] for pid in children]
        ended.set()
        for thread in threads:
            thread.join()
        assert codes == [0] * 20, codes
        assert one.totals()["orders_total"] == 21
        print("done")
    """
    assert in_another_process(code, base) == "done\n"


def test_a_directory_of_another_user_is_no_base(base: Path) -> None:
    """Whoever owns it may put anything in the place of ours; one that is sticky, as `/tmp`, or root's, is good."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    guard = Guard(output=lambda level, text: None)
    os.chown(base, 65534, 65534)
    assert isinstance(open_store([base], "g", guard), LocalStore)
    base.chmod(0o1777)
    Group(base, "g").leave()
    code = """
        import os, sys
        from pathlib import Path
        from otel_distro.metrics.shared import Group
        os.seteuid(65534)
        Group(Path(sys.argv[1]), "g").leave()
        print("joined")
    """
    with tempfile.TemporaryDirectory(prefix="metrics-") as folder:
        Path(folder).chmod(0o777)
        assert in_another_process(code, folder) == "joined\n"


def test_only_groups_are_swept_away(base: Path) -> None:
    """What is not called as a group is, or lies behind a link in the place of the groups, is never removed."""
    group, name = Group(base, group_name("mine")), group_name("ended")
    left, other = group.parent / name, group.parent / "precious"
    for folder in (left, other):
        folder.mkdir(mode=0o700)
        os.utime(folder, (1, 1))
    assert group.sweep(1.0) == 1
    assert not left.exists()
    assert other.exists()
    elsewhere = base / "elsewhere"
    (elsewhere / name).mkdir(parents=True)
    os.utime(elsewhere / name, (1, 1))
    group.parent.rename(base / "away")
    group.parent.symlink_to(elsewhere)
    assert group.sweep(1.0) == 0
    assert (elsewhere / name).exists()


def test_workers_that_give_up_root_share_their_numbers() -> None:
    """gunicorn's `user`: one page for all workers, of ended ones too, and none is in root's group."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    code = """
        import os, sys, time, urllib.request
        from pathlib import Path
        import otel_distro.prometheus
        from opentelemetry.sdk.resources import Resource
        from otel_distro.guard import Guard
        from otel_distro.metrics.shared import Group, SharedStore
        from otel_distro.pipeline._scrapes import ScrapedMeterProvider, Scrapes
        from otel_distro.pipeline.lean import stay_together
        from otel_distro.prometheus import Endpoint
        from tests.servers.base import free_port
        "".encode("idna")  # an import, which the other user may not be able to make
        base, port = Path(sys.argv[1]), free_port()
        guard = Guard(output=lambda level, text: print(text, flush=True))
        store = SharedStore(Group(base, "g"), guard)
        provider = ScrapedMeterProvider(resource=Resource({}), guard=guard, store=store)
        scrapes = Scrapes(lambda: Endpoint(provider, guard, port=port), serves=False, guard=guard)
        stay_together(provider, store, scrapes, guard)
        sold = provider.get_meter("m").create_counter("sold")
        def scraped():
            for _ in range(1000):  # who has the port is tried again each half second
                try:
                    return urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
                except OSError:
                    time.sleep(0.05)
            return ""
        def work(count):
            ready, tell = os.pipe()
            hold, end = os.pipe()
            workers = []
            for _ in range(count):
                workers.append(os.fork())
                if workers[-1] == 0:
                    os.close(end)
                    os.setuid(65534)
                    sold.add(5)
                    os.write(tell, b"x")
                    os.read(hold, 1)
                    os._exit(0)
            for _ in workers:
                os.read(ready, 1)
            page = scraped()
            print(*[line.split()[-1] for line in page.splitlines() if line.startswith("sold_total{")])
            os.close(end)
            for worker in workers:
                os.waitpid(worker, 0)
        work(2)
        work(1)
        print(sum(path.suffix == ".index" for path in (base / "otel-distro-0").rglob("*")))
    """
    with tempfile.TemporaryDirectory(prefix="metrics-") as folder:
        Path(folder).chmod(0o1777)
        assert in_another_process(code, folder).split() == ["10.0", "15.0", "1"]


@pytest.mark.parametrize("suffix", [".cells", ".exemplars", folding.NAME])
def test_a_pipe_in_the_place_of_a_file_holds_up_nobody(base: Path, suffix: str) -> None:
    """What is no plain file is left out at once: opening a pipe to read waits for somebody who writes."""
    one, two = Process(base), Process(base)
    one.measure("orders", 1, "")
    two.measure("orders", 2, "")
    place = directory(base) / (suffix if suffix == folding.NAME else f"{two.store.name}{suffix}")
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    assert one.totals()["orders_total"] in {1, 3}
    one.source.snapshot(exemplars=True)


@pytest.mark.parametrize("number", [1e300, -1e300, math.inf, math.nan, 2.0**62])
def test_cells_of_nonsense_are_no_histogram(base: Path, number: float) -> None:
    """An exponential histogram of a scale, a bank or a window that there is not costs no other number, and no time."""
    one, two = Process(base), Process(base)
    one.measure("spread", 3, "")
    two.measure("spread", 5, "")
    two.measure("orders", 2, "")
    [place] = [entry for entry, _ in two.store._entries if entry.identity.name == "spread"]
    with (directory(base) / f"{two.store.name}.cells").open("r+b") as file:
        for cell in range(8):
            before = os.pread(file.fileno(), 8, (place.at + cell) * 8)
            os.pwrite(file.fileno(), struct.pack("<d", number), (place.at + cell) * 8)
            assert one.totals()["orders_total"] == 2
            os.pwrite(file.fileno(), before, (place.at + cell) * 8)
