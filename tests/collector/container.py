"""What a container engine does with a collector, without an engine: `run`, in namespaces of the kernel.

The root file system is read-only and holds what the image holds, so no shell; environment, arguments and ports are the
deployment's own, for nobody else is in that network.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.servers.binaries import agent_binary, collector_binary, collector_start_binary

_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Container:
    """What a deployment says of one container.

    Attributes:
        command: entry point and arguments.
        environment: all of it; nothing is inherited.
        files: content by absolute path, mounted read-only.
        writable: absolute paths that volumes are mounted on.
        health: command that says whether it is healthy.
        ports: what must accept connections then.
        agent: the image holds the agent's own build.
    """

    command: list[str]
    environment: dict[str, str]
    files: dict[str, str]
    writable: list[str]
    health: list[str]
    ports: list[int]
    agent: bool = False


def run(container: Container) -> str:
    """Start it, wait until it is healthy, and stop it: the empty string, or what went wrong with the end of its log."""
    with tempfile.TemporaryDirectory(prefix="container-") as folder:
        root = Path(folder)
        for path, text in container.files.items():
            place = root / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        for path in (*container.writable, "/proc", "/dev", "/usr/bin"):
            (root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        shutil.copy(collector_start_binary(), root / "usr/bin/otelcol-start")
        shutil.copy(agent_binary() if container.agent else collector_binary(), root / "usr/bin/otelcol")
        command = ["unshare", "-Urmn", sys.executable, "-m", "tests.collector.container", folder]
        source = Path(__file__).resolve().parents[2]
        spec = json.dumps(asdict(container))
        done = subprocess.run(command, input=spec, capture_output=True, text=True, cwd=source, check=False, timeout=120)
    return "" if done.returncode == 0 else (done.stdout + done.stderr)[-2000:]


def _inside(root: Path, container: Container) -> int:
    """Exit status 0 when it became healthy, listens, and ended in order."""
    _prepare(root, container.writable)
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*_within(root), *container.command], env=container.environment, stdout=log, stderr=log
        )
        problem = _watch(root, container, process)
        time.sleep(0.5)  # the collector answers as healthy a moment before it listens to signals
        process.terminate()
        try:
            status = process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if not problem and status == 0:
            return 0
        log.seek(0)
        print(f"{log.read()[-1500:]}\n{problem or f'ended with status {status} after SIGTERM'}")
        return 1


def _watch(root: Path, container: Container, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + _SECONDS
    health = [*_within(root), *container.health]
    while subprocess.run(health, env=container.environment, capture_output=True, check=False).returncode:
        if process.poll() is not None:
            return f"ended with status {process.returncode}"
        if time.monotonic() > end:
            return f"not healthy after {_SECONDS:.0f} s"
        time.sleep(0.1)
    for port in container.ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return f"nobody listens on port {port}"
    return ""


def _within(root: Path) -> list[str]:
    # looked up here: the environment of the container has no PATH
    return [shutil.which("chroot") or "/usr/sbin/chroot", str(root)]


def _prepare(root: Path, writable: list[str]) -> None:
    """Mounts as an engine makes them, and the loopback interface."""
    mounts = [["--bind", str(root), str(root)]]
    mounts += [["--rbind", f"/{name}", str(root / name)] for name in ("proc", "dev")]
    mounts += [["-t", "tmpfs", "tmpfs", str(root / path.lstrip("/"))] for path in writable]
    mounts += [["-o", "remount,bind,ro", str(root)]]
    for arguments in mounts:
        subprocess.run(["mount", *arguments], check=True)
    with socket.socket() as interface:
        # SIOCSIFFLAGS with IFF_UP | IFF_RUNNING: `ip link set lo up` without iproute2.
        fcntl.ioctl(interface, 0x8914, struct.pack("16sh14x", b"lo", 0x41))


if __name__ == "__main__":
    sys.exit(_inside(Path(sys.argv[1]), Container(**json.load(sys.stdin))))
