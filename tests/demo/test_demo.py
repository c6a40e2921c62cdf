"""The demo's driver, end to end: real services under the real launcher, judged by what stands on the screen."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "examples.demo"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the demo in this environment until it ends."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def children_of(parent: int) -> list[int]:
    """Ids of the processes that this one started and that run."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def screen() -> str:
    """What one round of the demo writes."""
    done = run("--rounds", "1", PYTHONIOENCODING="utf-8")
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stderr == ""
    return done.stdout


def part(screen: str, heading: str) -> list[str]:
    """The lines between a heading and the next empty line."""
    lines = screen.split(heading, 1)[1].splitlines()[1:]
    return lines[: lines.index("")]


def labels(lines: list[str]) -> list[tuple[str, str, int, str]]:
    """Service, kind, depth and label of each span line of a tree."""
    rows = (re.match(r"(orders|inventory) +(\w+) +((?:[│ ]  )*(?:[├└]─ )?)(.*?)\s{2,}", line) for line in lines)
    return [(row[1], row[2], len(row[3]) // 3, row[4]) for row in rows if row]


def test_one_trace_goes_through_both_services(screen: str) -> None:
    """An order is one tree: server, Redis, a call, and under the call the other service's server span."""
    tree = labels(part(screen, "One order, across both services"))
    assert tree[0] == ("orders", "server", 0, "POST /orders · 201")
    calls = [number for number, row in enumerate(tree) if re.match(r"(GET|POST) · 127\.0\.0\.1:\d+/", row[3])]
    assert [tree[number][3].rpartition(":")[2].partition("/")[2] for number in calls] == [
        "products/cup 200",
        "reservations 201",
    ]
    for number, name in zip(calls, ("GET /products/{sku} · 200", "POST /reservations · 201"), strict=True):
        assert tree[number][:3] == ("orders", "client", 1)
        assert tree[number + 1] == ("inventory", "server", 2, name)
    redis = [row[3] for row in tree if row[3].endswith("redis")]
    assert redis == ["GET · redis", "SET · redis"]


def test_both_services_show_their_sql(screen: str) -> None:
    """Each statement stands under the request that made it, with operation and table, in the order of execution."""
    tree = labels(part(screen, "One order, across both services"))
    found = (re.fullmatch(r"([A-Z]+) (\w+) · sqlite", row[3]) for row in tree)
    statements = [(row[0], match[1], match[2]) for row, match in zip(tree, found, strict=True) if match]
    assert statements == [
        ("orders", "SELECT", "customers"),
        ("inventory", "SELECT", "products"),
        ("inventory", "SELECT", "products"),
        ("inventory", "UPDATE", "products"),
        ("inventory", "INSERT", "reservations"),
        ("orders", "INSERT", "orders"),
        ("orders", "SELECT", "orders"),
        ("orders", "UPDATE", "orders"),
    ]


def test_the_error_is_shown_with_its_exception(screen: str) -> None:
    """The request that failed has its exception's type and message under it."""
    lines = part(screen, "The request that failed")
    assert "1 error" in lines[0]
    assert "GET /orders/{order_id}/invoice · 500" in lines[1]
    assert "KeyError: 'US'" in "\n".join(lines)


def test_metrics_count_what_was_sent(screen: str) -> None:
    """Every series of requests shows the number that was sent, in both services, and nothing else was counted."""
    rows = re.findall(r"^  (GET|POST) (\S+) +(\d+) +(\d+) +(\d+) ", screen, re.MULTILINE)
    assert all(sent == counted for *_, sent, counted in rows)
    counted = Counter({(method, route, int(status)): int(count) for method, route, status, _, count in rows})
    assert counted["POST", "/orders", 201] == 3
    assert counted["GET", "/orders/{order_id}/invoice", 500] == 1
    assert counted["POST", "/reservations", 201] == 3
    assert not any("health" in route for _, route, _ in counted)
    assert f"{sum(int(row[4]) for row in rows)} requests sent" in screen


def test_health_checks_make_no_trace(screen: str) -> None:
    """The demo's own health checks are nowhere on the screen."""
    assert "/health" not in screen


def test_output_to_a_file_is_plain(screen: str) -> None:
    """No escape sequences and no redrawn bar where there is no terminal; what to try next ends it."""
    assert "\x1b" not in screen
    assert "\r" not in screen
    assert "20/20" in screen
    assert "./scripts/demo --stack" in screen.split("What to try next")[1]


def test_a_taken_port_is_one_line() -> None:
    """A port in use ends the demo before anything is started, with what to do."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = run("--orders-port", str(port))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"demo: port {port} for orders: Address already in use; choose another with --orders-port\n"


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo that was told to keep running, once it does."""
    process = subprocess.Popen(
        [*COMMAND, "--keep", "--rounds", "1"],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "utf-8", "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "Ctrl-C ends everything" in line:
            break
    else:
        pytest.fail(process.communicate()[1])
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)]
)
def test_nothing_outlives_the_demo(
    kept: subprocess.Popen[str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """However the demo ends, even by SIGKILL, its children end with it and its files are gone."""
    children = children_of(kept.pid)
    assert len(children) == 4  # the janitor, Redis, two services
    assert list(tmp_path.iterdir())
    kept.send_signal(number)
    assert kept.wait(90) == code
    end = time.monotonic() + 60
    while any(map(alive, children)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, children))
    assert not list(tmp_path.iterdir())
