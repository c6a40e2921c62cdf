"""What `/metrics` of a service says about its requests."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from .traffic import Series

DURATION = "http_server_request_duration_seconds"


@dataclass(slots=True)
class Requests:
    """One series of requests: how many, how long together (seconds), and how many by upper bound (seconds)."""

    count: int = 0
    seconds: float = 0.0
    buckets: dict[float, float] = field(default_factory=dict)

    def quantile(self, share: float) -> float:
        """The upper bound, in seconds, under which this share of the requests stayed."""
        for bound, below in sorted(self.buckets.items()):
            if below >= share * self.count:
                return bound
        return float("inf")


def scrape(port: int) -> str:
    """The text of `/metrics`; empty when nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
            return str(response.read().decode())
    except (urllib.error.URLError, OSError):
        return ""


def requests(text: str) -> dict[Series, Requests]:
    """The requests that a service counted."""
    found: dict[Series, Requests] = {}
    for family in text_string_to_metric_families(text):
        if family.name != DURATION:
            continue
        for sample in family.samples:
            labels = sample.labels
            method, route = labels.get("http_request_method", ""), labels.get("http_route", "")
            entry = found.setdefault((method, route, int(labels.get("http_response_status_code", 0))), Requests())
            match sample.name.removeprefix(DURATION):
                case "_count":
                    entry.count += int(sample.value)
                case "_sum":
                    entry.seconds += sample.value
                case "_bucket":
                    bound = float(labels["le"])
                    entry.buckets[bound] = entry.buckets.get(bound, 0) + sample.value
    return found


def families(text: str) -> list[str]:
    """Names of all metrics that a service shows, in order."""
    return sorted(family.name for family in text_string_to_metric_families(text) if family.samples)


def wait_for(port: int, sent: Counter[Series], seconds: float) -> tuple[str, dict[Series, Requests]]:
    """Scrape until the counts are those that were sent; after `seconds`, whatever they are then."""
    end = time.monotonic() + seconds
    while True:
        text = scrape(port)
        counted = requests(text)
        if all(entry.count == sent[series] for series, entry in counted.items()) and sent.keys() <= counted.keys():
            return text, counted
        if time.monotonic() > end:
            return text, counted
        time.sleep(0.1)


def table(service: str, sent: Counter[Series], counted: Mapping[Series, Requests]) -> Iterator[str]:
    """A line for each series, with what was sent beside what was counted."""
    yield f"  {service:<32} {'status':>6} {'sent':>6} {'counted':>8} {'mean':>9} {'95 % in':>9}"
    for method, route, status in sorted(sent.keys() | counted.keys(), key=lambda s: (s[1], s[0], s[2])):
        series = (method, route, status)
        entry = counted.get(series, Requests())
        mean = f"{entry.seconds / entry.count * 1_000:.1f} ms" if entry.count else "-"
        most = f"{entry.quantile(0.95) * 1_000:g} ms" if entry.count else "-"
        wrong = "" if entry.count == sent[series] else "  <- differs"
        name = f"{method} {route or '(no route)'}"
        yield f"  {name:<32} {status:>6} {sent[series]:>6} {entry.count:>8} {mean:>9} {most:>9}{wrong}"
