"""A process of a group for the tests: obeys one command a line, answers each with one line of JSON.

`python -m tests.metrics_worker BASE GROUP PORT` (PORT -1: never start the endpoint).
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from opentelemetry.metrics import Observation
from opentelemetry.sdk.resources import Resource

from otel_distro.guard import Guard
from otel_distro.metrics import LeanMeterProvider
from otel_distro.metrics.shared import SharedStore, open_store
from otel_distro.prometheus import Endpoint


class Worker:
    """A provider in a group, driven by lines."""

    def __init__(self, base: str, group: str, port: int) -> None:
        self.lines: list[str] = []
        self.guard = Guard(output=lambda level, text: self.lines.append(text))
        self.store = open_store([Path(base)], group, self.guard)
        self.provider = LeanMeterProvider(
            resource=Resource({"service.name": "w"}), guard=self.guard, store=self.store, exemplar_filter="always_on"
        )
        self.endpoint = Endpoint(self.provider, self.guard, port=max(port, 0), instance_id=group, scope_labels=False)
        meter = self.provider.get_meter("scope")
        self.orders = meter.create_counter("orders")
        self.active = meter.create_up_down_counter("active")
        self.duration = meter.create_histogram("duration", "s", explicit_bucket_boundaries_advisory=[1, 10])
        self.level = meter.create_gauge("level")
        self.observed = 0.0
        meter.create_observable_counter("cpu", [lambda options: [Observation(self.observed)]])
        meter.create_observable_up_down_counter("system.load", [lambda options: [Observation(self.observed)]])
        if port >= 0:
            self.endpoint.start()

    def add(self, amount: float) -> None:
        self.orders.add(amount, {"kind": "a"})
        self.active.add(1)
        self.duration.record(amount)

    def hammer(self, _: Any) -> None:
        """Add until killed, and say after each hundred how far it is."""
        count = 0
        while True:
            for _ in range(100):
                self.orders.add(1, {"kind": "hammer"})
            count += 100
            print(count, flush=True)

    def series(self, count: int) -> None:
        for number in range(count):
            self.orders.add(1, {"n": str(number)})

    def set(self, value: float) -> None:
        self.level.set(value)

    def observe(self, value: float) -> None:
        self.observed = value

    def scrape(self, accept: str | None) -> str:
        return self.endpoint.scrape(accept or "").body.decode()

    def port(self, _: Any) -> int:
        return self.endpoint.port

    def said(self, _: Any) -> list[str]:
        return self.lines

    def start(self, _: Any) -> None:
        self.endpoint.start()

    def stop(self, _: Any) -> None:
        self.endpoint.stop()

    def close(self, _: Any) -> None:
        self.endpoint.stop()
        if isinstance(self.store, SharedStore):
            self.store.close()

    def fork(self, amount: int) -> int:
        """A child that adds, and lives on when `amount` is negative."""
        pid = os.fork()
        if pid:
            if amount >= 0:
                os.waitpid(pid, 0)
            return pid
        self.orders.add(abs(amount), {"kind": "a"})
        if amount < 0:
            time.sleep(60)
        os._exit(0)


def main() -> None:
    worker = Worker(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    print(json.dumps(os.getpid()), flush=True)
    for line in sys.stdin:
        command, argument = json.loads(line)
        print(json.dumps(getattr(worker, command)(argument)), flush=True)


if __name__ == "__main__":
    main()
