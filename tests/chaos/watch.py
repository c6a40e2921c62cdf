"""Somebody who scrapes all the time, parses strictly, and never forgives a total that falls."""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from typing import Self

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.servers.exposition import promtool_check

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
_NAMED_BY_THE_CONVENTIONS = 'should not have "_count" suffix'
_COUNT = re.compile(
    r'^http_server_request_duration_seconds_count\{[^}]*http_route="/job/\{number\}"[^}]*\} (\S+)$', re.M
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


def faults(text: str, openmetrics: str) -> list[str]:
    """What is wrong with the same page in both formats, by promtool and by the strict OpenMetrics parser."""
    found = []
    try:
        found += [finding for finding in promtool_check(text) if _NAMED_BY_THE_CONVENTIONS not in finding]
        list(text_string_to_metric_families(openmetrics))  # type: ignore[no-untyped-call]
    except ValueError as error:
        found.append(str(error)[:300])
    return found


class Watch:
    """Scrapes until it is stopped, as OpenMetrics.

    Args:
        url: of /metrics.
        pause: seconds between two scrapes.

    Attributes:
        falls: pairs of a total and the smaller one that followed it.
        unparsable: pages that the strict parser refused, with its reason; the first ten.
        scrapes: answered ones.
        longest_gap: seconds without an answer after the first one.
    """

    def __init__(self, url: str, pause: float = 0.1) -> None:
        self.falls: list[tuple[int, int]] = []
        self.unparsable: list[str] = []
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
            text = scrape(self._url, OPENMETRICS)
            now = time.monotonic()
            if text is None:
                continue
            if answered:
                self.longest_gap = max(self.longest_gap, now - answered - self._pause)
            answered = now
            self.scrapes += 1
            self._parse(text)
            found = count(text)
            if found < last:
                self.falls.append((last, found))
            last = found

    def _parse(self, text: str) -> None:
        try:
            list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
        except ValueError as error:
            if len(self.unparsable) < 10:
                self.unparsable.append(str(error)[:300])
