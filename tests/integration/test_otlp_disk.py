"""The spool directory between processes: kill -9, sharing, a full disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_distro.settings import Distro
from tests.otlp_servers import Speaking, batch, refused_url
from tests.servers.sink import Answer, OtlpSink
from tests.servers.waiting import wait_until

# submits `count` batches of one span each from `first` on, says "done", and does as it is told: waits, or ends in order
WORKER = textwrap.dedent(
    """
    import sys, time
    from otel_distro.settings import Distro
    from tests.otlp_servers import Speaking, batch
    url, directory, first, count, then = sys.argv[1:]
    speaking = Speaking(url, distro=Distro(spool_dir=directory))
    for number in range(int(first), int(first) + int(count)):
        speaking.sender.submit(batch(number))
        if number == int(first):
            speaking.sender.flush(10)
    if then == "wait":
        print("done", flush=True)
        time.sleep(600)
    speaking.sender.shutdown(5)
    print(dict(speaking.sender.stats().dropped), flush=True)
    """
)

# the same, without a free descriptor for a while; tells what it has dropped, and once more after the end
EXHAUSTED = textwrap.dedent(
    """
    import os, resource, sys
    from otel_distro.settings import Distro
    from tests.otlp_servers import Speaking, batch
    speaking = Speaking(sys.argv[1], distro=Distro(spool_dir=sys.argv[2]))
    for number in range(1, 6):
        speaking.sender.submit(batch(number))
        speaking.sender.flush(10)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    speaking.sender.flush(1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    print(dict(speaking.sender.stats().dropped), speaking.sender.stats().queued, flush=True)
    sys.stdin.readline()
    speaking.sender.flush(20)
    speaking.sender.shutdown(5)
    print([line for line in speaking.lines if "spool" in line], flush=True)
    """
)


def worker(url: str, directory: Path, first: int, count: int, then: str) -> subprocess.Popen[str]:
    """A process of its own that exports to `url` with a spool directory."""
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, url, str(directory), str(first), str(count), then],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )


def stored(directory: Path) -> list[Path]:
    return list(directory.rglob("*.otlp"))


def test_what_was_waiting_survives_kill_9(tmp_path: Path) -> None:
    """A process killed during an outage loses nothing: the next sends all of it, in order, before its own."""
    sink = OtlpSink()
    url = f"{sink.url}/v1/traces"
    killed = worker(url, tmp_path, 1, 50, "wait")
    assert killed.stdout is not None
    assert killed.stdout.readline() == "done\n"
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=30)
    assert len(stored(tmp_path)) == 50
    with sink, Speaking(url, distro=Distro(spool_dir=str(tmp_path))) as speaking:
        assert speaking.send(100)
        assert [span.name for span in sink.spans] == [f"span {number}" for number in [*range(1, 51), 100]]
        assert stored(tmp_path) == []
        assert speaking.sender.stats().sent == 51


def test_the_end_during_an_outage_keeps_everything_for_the_next_process(tmp_path: Path) -> None:
    """With a spool directory a normal end drops nothing, and says how much is kept."""
    with Speaking(refused_url(), distro=Distro(spool_dir=str(tmp_path))) as speaking:
        for number in range(1, 21):
            speaking.sender.submit(batch(number, 10))
    assert dict(speaking.sender.stats().dropped) == {}
    assert "200 spans" in speaking.lines[-1]
    assert "kept in the spool directory" in speaking.lines[-1]
    assert stored(tmp_path)


def test_many_processes_share_a_directory(tmp_path: Path) -> None:
    """Four workers with one directory, two killed, two ended in order: a fifth delivers every span once."""
    sink = OtlpSink()
    url = f"{sink.url}/v1/traces"
    workers = [worker(url, tmp_path, 1 + 100 * n, 30, "wait" if n < 2 else "end") for n in range(4)]
    for process in workers[:2]:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        os.kill(process.pid, signal.SIGKILL)
    outputs = [process.communicate(timeout=60)[0] for process in workers]
    assert outputs[2:] == ["{}\n", "{}\n"]
    with sink, Speaking(url, distro=Distro(spool_dir=str(tmp_path))) as speaking:
        assert speaking.send(1000)
        expected = [f"span {1 + 100 * n + k}" for n in range(4) for k in range(30)] + ["span 1000"]
        assert sorted(span.name for span in sink.spans) == sorted(expected)
        assert stored(tmp_path) == []


def test_two_targets_do_not_mix(tmp_path: Path) -> None:
    """What waits for one collector, or one signal, is never sent to another."""
    spool = Distro(spool_dir=str(tmp_path))
    with OtlpSink() as sink:
        with Speaking(refused_url(), distro=spool) as other:
            other.send(1)
        assert stored(tmp_path)
        with Speaking(f"{sink.url}/v1/traces", distro=spool) as speaking:
            assert speaking.send(2)
        with Speaking(f"{sink.url}/v1/logs", distro=spool, signal="logs") as speaking:
            speaking.sender.submit(batch(3)._replace(body=b""))
            assert speaking.sender.flush(5)
        assert [span.name for span in sink.spans] == ["span 2"]
    assert len(stored(tmp_path)) == 1


def test_two_tenants_do_not_mix(tmp_path: Path) -> None:
    """What waits under one tenant's header is never sent under another's; a renewed token sends it."""
    spool = Distro(spool_dir=str(tmp_path))
    with OtlpSink() as sink:
        url, sink.answer = f"{sink.url}/v1/traces", Answer(503)
        for number, (tenant, token) in enumerate((("a", "old"), ("b", "old")), 1):
            headers = {"X-Scope-OrgID": tenant, "Authorization": f"Bearer {token}"}
            with Speaking(url, distro=spool, headers=headers) as speaking:
                speaking.send(number, seconds=1)
        assert len(stored(tmp_path)) == 2
        seen = len(sink.requests)
        sink.answer = Answer()
        with Speaking(url, distro=spool, headers={"x-scope-orgid": "b", "Authorization": "Bearer new"}) as speaking:
            assert speaking.send(3)
        taken = [request.headers["x-scope-orgid"] for request in sink.requests[seen:]]
        assert set(taken) == {"b"}
        assert sorted(span.name for span in sink.spans) == ["span 2", "span 3"]
    assert len(stored(tmp_path)) == 1


def test_an_outage_with_a_directory_holds_no_memory(tmp_path: Path) -> None:
    """While the collector is away batches are in files, and come out in order when it is back."""
    with OtlpSink() as sink, Speaking(f"{sink.url}/v1/traces", distro=Distro(spool_dir=str(tmp_path))) as speaking:
        sink.stop()
        speaking.send(1)
        for number in range(2, 301):
            speaking.sender.submit(batch(number))
        assert len(stored(tmp_path)) == 300
        sink.start()
        wait_until(lambda: speaking.sender.stats().queued == 0, seconds=10, what="an empty spool")
        assert [span.name for span in sink.spans] == [f"span {number}" for number in range(1, 301)]
        assert stored(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KB, where this machine lets us mount one."""
    mount = shutil.which("mount")
    place = tmp_path / "disk"
    place.mkdir()
    command = [str(mount), "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", str(place)]
    if os.geteuid() != 0 or mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_process_without_a_free_descriptor_loses_no_file(tmp_path: Path) -> None:
    """What cannot be read for want of a descriptor is said once, and sent when the application has closed some."""
    sink = OtlpSink()
    command = [sys.executable, "-c", EXHAUSTED, f"{sink.url}/v1/traces", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "{} 5\n"
        with sink:
            said, _ = process.communicate("\n", timeout=60)
            assert sorted(span.name for span in sink.spans) == [f"span {number}" for number in range(1, 6)]
    assert said.count("Too many open files") == 1


def test_a_full_disk_costs_one_line(small_disk: Path) -> None:
    """When the disk is full, batches wait in memory instead; one line says it, and nothing is lost that fits there."""
    url = refused_url()
    with Speaking(url, distro=Distro(spool_dir=str(small_disk))) as speaking:
        speaking.send(1)
        for number in range(2, 60):
            speaking.sender.submit(batch(number)._replace(body=os.urandom(20_000)))
        stats = speaking.sender.stats()
        assert (stats.queued, dict(stats.dropped)) == (59, {})
        assert sum("No space left" in line for line in speaking.lines) == 1
        assert len(stored(small_disk)) < 20
