"""What metrics cost: scrapes of many processes and of one, and a measurement; beside upstream's in the same run.

`python -m benchmarks.metrics` prints a table. Times are CPU of the working thread, the best of several, in milliseconds
or microseconds; a ratio is against upstream's SDK and Prometheus exporter.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.metrics import MeterProvider as UpstreamProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from otel_distro.guard import Guard
from otel_distro.metrics import LeanMeterProvider
from otel_distro.metrics.shared import Group, GroupSource, SharedStore
from otel_distro.metrics.source import LocalSource
from otel_distro.prometheus import Renderer

PROCESSES = 64
ROUTES, PLAIN = 293, 20
BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
SAMPLES = ROUTES * (len(BOUNDS) + 3) + PLAIN
"""Lines of the text: about 5,000."""


class Stretches:
    """A pause that notes how long this thread has worked since the last one, in CPU seconds."""

    def __init__(self) -> None:
        self.longest: list[float] = []
        self._since = time.thread_time()

    def __call__(self) -> None:
        """Note it, and let no time pass."""
        now = time.thread_time()
        self.longest.append(now - self._since)
        self._since = time.thread_time()


def fill(provider: MeterProvider, order: list[int]) -> None:
    """Make `SAMPLES` lines of series, those of the routes in this order."""
    meter = provider.get_meter("scope")
    duration = meter.create_histogram("duration", "s", explicit_bucket_boundaries_advisory=BOUNDS)
    for number in order:
        duration.record(0.3, {"http.route": f"/r/{number}", "method": "GET"})
    counter = meter.create_counter("orders")
    for number in range(PLAIN):
        counter.add(1, {"n": str(number)})


def group(base: Path, guard: Guard, *, differing: bool) -> list[LeanMeterProvider]:
    """`PROCESSES` members of one group, in this process.

    Args:
        base: of the runtime directory.
        guard: of all of them.
        differing: each made its series in another order.
    """
    made = []
    for _ in range(PROCESSES):
        order = list(range(ROUTES))
        if differing:
            random.shuffle(order)
        made.append(LeanMeterProvider(resource=Resource({}), guard=guard, store=SharedStore(Group(base, "g"), guard)))
        fill(made[-1], order)
    return made


def scrapes(providers: list[LeanMeterProvider], guard: Guard, times: int = 8) -> tuple[float, float, float]:
    """The first scrape, the best later one, and its longest stretch without a pause, in milliseconds."""
    store = providers[0].store
    assert isinstance(store, SharedStore)
    pause = Stretches()
    source, renderer = GroupSource(providers[0], store, guard, pause=pause), Renderer(guard, lambda: None, pause=pause)
    spent, longest = [], []
    for _ in range(times):
        pause.longest.clear()
        pause()
        before = time.thread_time()
        renderer.render(source.snapshot(exemplars=False), openmetrics=False)
        spent.append((time.thread_time() - before) * 1000)
        longest.append(max(pause.longest[1:]) * 1000)
    return spent[0], min(spent[1:]), min(longest[1:])


def best(action: Callable[[], Any], times: int) -> float:
    """CPU seconds of the fastest of several runs."""
    spent = []
    for _ in range(times):
        before = time.thread_time()
        action()
        spent.append(time.thread_time() - before)
    return min(spent)


def single(guard: Guard) -> tuple[float, float]:
    """A scrape of one process with `SAMPLES` lines, ours and upstream's, in milliseconds."""
    lean = LeanMeterProvider(resource=Resource({}), guard=guard, scraped=True)
    fill(lean, list(range(ROUTES)))
    source, renderer = LocalSource(lean), Renderer(guard, lambda: Resource({}), pause=lambda: None)
    renderer.render(source.snapshot(exemplars=False), openmetrics=False)  # the first one works the lines out
    registry = CollectorRegistry()
    upstream = UpstreamProvider([PrometheusMetricReader(registry=registry)], Resource({}), shutdown_on_exit=False)
    fill(upstream, list(range(ROUTES)))
    ours = best(lambda: renderer.render(source.snapshot(exemplars=False), openmetrics=False), 15)
    return ours * 1000, best(lambda: generate_latest(registry), 7) * 1000


def record(guard: Guard, times: int = 20_000) -> tuple[float, float, float]:
    """A histogram's measurement in microseconds: ours by the API, ours on a bound series, upstream's."""

    def histogram(provider: MeterProvider) -> Any:
        return provider.get_meter("scope").create_histogram("h", "s", explicit_bucket_boundaries_advisory=BOUNDS)

    attributes = {"http.route": "/r/1", "http.request.method": "GET", "http.response.status_code": 200}
    lean = histogram(LeanMeterProvider(resource=Resource({}), guard=guard, scraped=True))
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(registry=registry)
    upstream = histogram(UpstreamProvider([reader], Resource({}), shutdown_on_exit=False))
    bound = lean.series(attributes)

    def many(record: Callable[..., None], *more: Any) -> Callable[[], None]:
        def run() -> None:
            for _ in range(times):
                record(0.3, *more)

        return run

    calls = many(lean.record, attributes), many(bound.record), many(upstream.record, attributes)
    api, series, theirs = (best(call, 7) / times * 1e6 for call in calls)
    return api, series, theirs


def main() -> int:
    """Print the table."""
    guard = Guard(output=lambda _, text: print(text, file=sys.stderr))
    for differing in (False, True):
        with tempfile.TemporaryDirectory() as base:
            providers = group(Path(base), guard, differing=differing)
            first, warm, longest = scrapes(providers, guard)
            print(
                f"scrape of {PROCESSES} x {SAMPLES} samples, {'differing' if differing else 'equal'} layouts: "
                f"warm {warm:.0f} ms, first {first:.0f} ms, longest stretch when warm {longest:.2f} ms"
            )
    ours, theirs = single(guard)
    print(f"scrape of one process, {SAMPLES} lines: {ours:.1f} ms, upstream {theirs:.0f} ms (1/{theirs / ours:.0f})")
    api, series, theirs = record(guard)
    print(
        f"histogram record, known attributes: {api:.2f} us (1/{theirs / api:.0f} of upstream's {theirs:.1f} us); "
        f"on a bound series, as our instrumentations do it: {series:.2f} us (1/{theirs / series:.0f})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
