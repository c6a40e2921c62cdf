"""The metrics as an ASGI application."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from otel_distro.guard import Guard
from otel_distro.prometheus import Answer, MetricsRoute


def ask(route: MetricsRoute, method: str = "GET", **headers: str) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(route({"type": "http", "method": method, "headers": pairs}, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def guarded() -> tuple[Guard, list[str]]:
    lines: list[str] = []
    return Guard(output=lambda level, text: lines.append(text)), lines


def test_a_scrape_runs_off_the_event_loop_and_gets_the_headers() -> None:
    """The scrape is called in another thread with what the client accepts; its answer is sent as it is."""
    calls: list[Any] = []

    def scrape(accept: str, encoding: str) -> Answer:
        calls.append((accept, encoding, threading.current_thread() is threading.main_thread()))
        return Answer(b"a 1.0\n", (("content-type", "text/plain"),))

    route = MetricsRoute(scrape, guarded()[0])
    status, headers, body = ask(route, Accept="x/y", Accept_Encoding="gzip")
    assert (status, body) == (200, b"a 1.0\n")
    assert headers == {b"content-type": b"text/plain", b"content-length": b"6"}
    assert calls == [("x/y", "gzip", False)]
    assert ask(route, "HEAD")[1:] == (headers, b"")


def test_other_methods_and_failures_have_their_status() -> None:
    """405 with what is allowed, 500 with one line at the guard."""

    def scrape(accept: str, encoding: str) -> Answer:
        raise RuntimeError("no")

    guard, lines = guarded()
    route = MetricsRoute(scrape, guard)
    assert ask(route, "POST")[0] == 405
    assert ask(route)[0] == 500
    assert len(lines) == 1


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
def test_other_scopes_are_ignored(kind: str) -> None:
    """Nothing is sent for what is not HTTP."""

    async def unused(*args: Any) -> Any:
        pytest.fail("called")

    asyncio.run(MetricsRoute(lambda a, b: Answer(b"", ()), guarded()[0])({"type": kind}, unused, unused))
