"""The metrics as an ASGI application."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from otel_distro.guard import Guard
from otel_distro.prometheus import Answer, MetricsRoute


async def asked(route: MetricsRoute, headers: Any = (), method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of a scrape's answer."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    await route({"type": "http", "method": method, "headers": headers}, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def ask(route: MetricsRoute, method: str = "GET", **headers: str) -> tuple[int, dict[bytes, bytes], bytes]:
    """The same in an event loop of its own."""
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return asyncio.run(asked(route, pairs, method))


async def status_of(route: MetricsRoute, accept: bytes = b"") -> int:
    """The status alone."""
    return (await asked(route, [(b"accept", accept)]))[0]


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


def test_a_scrape_takes_no_place_of_the_applications() -> None:
    """The loop's pool serves the application while scrapes hang, and scrapes are answered while the pool is full."""
    go, busy = threading.Event(), threading.Event()

    def scrape(accept: str, encoding: str) -> Answer:
        if accept == "hang":
            go.wait(60)
        return Answer(b"x", ())

    async def program() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        route = MetricsRoute(scrape, guarded()[0])
        hanging = asyncio.create_task(status_of(route, b"hang"))
        await asyncio.sleep(0.05)
        assert await asyncio.to_thread(lambda: 1) == 1
        work = asyncio.create_task(asyncio.to_thread(busy.wait, 60))
        await asyncio.sleep(0.05)
        assert await status_of(route, b"") == 200
        busy.set()
        go.set()
        assert (await hanging, await work) == (200, True)

    asyncio.run(program())


def test_scrapes_that_hang_are_bounded() -> None:
    """32 of them may wait, one more is told at once that there is no place, and there is when they have ended."""
    go = threading.Event()

    def scrape(accept: str, encoding: str) -> Answer:
        go.wait(60)
        return Answer(b"x", ())

    async def program() -> None:
        route = MetricsRoute(scrape, guarded()[0])
        waiting = [asyncio.create_task(status_of(route)) for _ in range(32)]
        await asyncio.sleep(0)
        assert await status_of(route) == 503
        go.set()
        assert set(await asyncio.gather(*waiting)) == {200}
        assert await status_of(route) == 200

    asyncio.run(program())


def test_a_scraper_that_leaves_ends_nothing_else() -> None:
    """A request that is cancelled while it is scraped leaves its thread to itself, and no line."""
    go = threading.Event()
    guard, lines = guarded()

    def scrape(accept: str, encoding: str) -> Answer:
        go.wait(60)
        return Answer(b"x", ())

    async def program() -> None:
        route = MetricsRoute(scrape, guard)
        left = asyncio.create_task(status_of(route))
        await asyncio.sleep(0.05)
        left.cancel()
        await asyncio.wait([left])
        go.set()
        assert await status_of(route) == 200

    asyncio.run(program())
    assert lines == []


def test_a_header_that_comes_twice_is_one_list() -> None:
    """Repeated headers are joined by a comma (RFC 9110, section 5.3)."""
    seen: list[str] = []

    def scrape(accept: str, encoding: str) -> Answer:
        seen.extend((accept, encoding))
        return Answer(b"x", ())

    headers = [(b"accept", b"a/b"), (b"accept", b"c/d;q=0.1"), (b"accept-encoding", b"gzip")]
    asyncio.run(asked(MetricsRoute(scrape, guarded()[0]), headers))
    assert seen == ["a/b,c/d;q=0.1", "gzip"]
