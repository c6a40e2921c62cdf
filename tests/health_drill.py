"""The figures of `docs/health.md`: `python -m tests.health_drill`, about half a minute, on loopback alone.

What probes cost and wait for while dependencies hang, how often a check runs under a flood, and what a plain request
pays for health that is there.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

from starlette.responses import Response

from tests.asgi_rig import App, Message, one_route, rigged, scope_of
from tests.e2e.service import Service
from tests.health_rig import HealthRig
from tests.programs import OURS
from tests.servers.base import free_port

_ROOT = Path(__file__).resolve().parents[1]
_COMMAND = (
    *OURS,
    "uvicorn",
    "--app-dir",
    str(_ROOT),
    "tests.health_service:app",
    "--port",
    "{port}",
    "--no-access-log",
)
_RATE, _SECONDS, _CLIENTS = 1000, 5, 8


def service(environ: Mapping[str, str]) -> Service:
    variables = {"OTEL_DISTRO_HEALTH": "on", "PYTHONPATH": str(_ROOT), "OTEL_TRACES_EXPORTER": "none"}
    return Service("drill", _COMMAND, {**variables, **environ}, Path(tempfile.mkdtemp()))


def timed(connection: HTTPConnection, path: str) -> tuple[int, float]:
    """Status and milliseconds of one probe."""
    began = time.perf_counter()
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status, (time.perf_counter() - began) * 1000


def hanging() -> None:
    """`/live` and `/ready` while databases hang, Redis refuses and a name is not resolved."""
    with socket.create_server(("127.0.0.1", 0)) as hung:
        port = hung.getsockname()[1]
        environ = {
            "OTEL_DISTRO_HEALTH_HTTP": "partner=http://slow.invalid/",
            "SYNC_DATABASE": f"postgresql+psycopg://u:p@127.0.0.1:{port}/a",
            "ASYNC_DATABASE": f"postgresql+asyncpg://u:p@127.0.0.1:{port}/b",
            "REDIS_PORT": str(free_port()),
        }
        with service(environ) as running, ThreadPoolExecutor(1) as pool:
            ready = pool.submit(timed, HTTPConnection("127.0.0.1", running.port, timeout=30), "/ready")
            connection = HTTPConnection("127.0.0.1", running.port, timeout=30)
            live = [timed(connection, "/live")[1] for _ in range(2000)]
            status, first = ready.result()
            again = [timed(connection, "/ready")[1] for _ in range(200)]
    print(
        f"hanging: /live p50 {statistics.median(live):.2f} ms, p99 {sorted(live)[-20]:.2f} ms, max {max(live):.1f} ms;"
    )
    print(
        f"         /ready {status} after {first:.0f} ms with a timeout of 800 ms, "
        f"then p50 {statistics.median(again):.2f} ms"
    )


def flooded() -> None:
    """A thousand probes a second: how often the check ran."""

    def probe(port: int) -> list[float]:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        began = time.perf_counter()
        took = []
        for number in range(_RATE * _SECONDS // _CLIENTS):
            time.sleep(max(0.0, began + number * _CLIENTS / _RATE - time.perf_counter()))
            took.append(timed(connection, "/ready")[1])
        return took

    with service({"COUNTED": "1"}) as running, ThreadPoolExecutor(_CLIENTS) as pool:
        began = time.perf_counter()
        took = [one for some in pool.map(probe, [running.port] * _CLIENTS) for one in some]
        seconds = time.perf_counter() - began
        ran = running.call("/work").json()["ran"]
    rate = len(took) / seconds
    print(f"flood:   {len(took)} probes in {seconds:.1f} s ({rate:.0f}/s), cache 1 s: the check ran {ran} times;")
    print(f"         /ready p50 {statistics.median(took):.2f} ms, p99 {sorted(took)[-len(took) // 100]:.2f} ms")


def costs() -> None:
    """A plain request without health and with it, in turns; the difference of CPU time."""

    async def fine(request: object) -> Response:
        return Response("fine")

    app = one_route(fine, "/x")
    with rigged(sampler="always_off") as rig:
        answers, routes = rig.tools.answers, HealthRig().health.routes()
        rounds: list[tuple[float, float]] = []
        for _ in range(60):
            pair = []
            for some in ({}, routes):
                answers.clear()
                answers.update(some)
                vars(app).pop("_otel_distro_server", None)
                pair.append(_requests(app))
            rounds.append((pair[0], pair[1]))
    off, on = min(off for off, _ in rounds), min(on for _, on in rounds)
    middle = statistics.median(on - off for off, on in rounds)
    print(
        f"cost:    a plain request: {off:.2f} us off, {on:.2f} us on (best rounds); median difference {middle:.2f} us"
    )


def _requests(app: App, count: int = 1500) -> float:
    """Microseconds of CPU of one request, without an event loop around it: nothing in it waits."""
    scope = scope_of("/x")

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        return

    async def many() -> float:
        began = time.process_time()
        for _ in range(count):
            await app({**scope}, receive, send)
        return (time.process_time() - began) / count * 1e6

    return asyncio.run(many())


if __name__ == "__main__":
    for part in (hanging, flooded, costs):
        if not sys.argv[1:] or part.__name__ in sys.argv[1:]:
            part()
