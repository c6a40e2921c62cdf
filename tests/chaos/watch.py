"""Somebody who scrapes all the time and never forgives a total that falls."""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from typing import Self

_COUNT = re.compile(
    r'^http_server_request_duration_seconds_count\{[^}]*http_route="/work/\{number\}"[^}]*\} (\S+)$', re.M
)


def scrape(url: str, accept: str = "") -> str | None:
    """The text of /metrics; None while nobody answers."""
    try:
        request = urllib.request.Request(url, headers={"accept": accept} if accept else {})
        with urllib.request.urlopen(request, timeout=5) as response:
            return str(response.read(), "utf-8")
    except OSError:
        return None


def count(text: str) -> int:
    """Requests that a text of /metrics tells of."""
    return int(sum(float(value) for value in _COUNT.findall(text)))


class Watch:
    """Scrapes until it is stopped.

    Args:
        url: of /metrics.
        pause: seconds between two scrapes.

    Attributes:
        falls: pairs of a total and the smaller one that followed it.
        scrapes: answered ones.
        longest_gap: seconds without an answer after the first one.
    """

    def __init__(self, url: str, pause: float = 0.1) -> None:
        self.falls: list[tuple[int, int]] = []
        self.scrapes = 0
        self.longest_gap = 0.0
        self._url = url
        self._pause = pause
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        last, answered = 0, 0.0
        while not self._ended.wait(self._pause):
            text = scrape(self._url)
            now = time.monotonic()
            if text is None:
                continue
            if answered:
                self.longest_gap = max(self.longest_gap, now - answered - self._pause)
            answered = now
            self.scrapes += 1
            found = count(text)
            if found < last:
                self.falls.append((last, found))
            last = found
