"""A reader that is made when it has something to read: at its first interval, or at a flush or the end before that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from otel_distro.guard import Guard, start_thread
from otel_distro.process import in_forked_child, unforked

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader

    from .provider import LeanMeterProvider

_LONGEST = 2.0
"""Seconds anybody waits for another thread that makes the reader."""


class LateReader:
    """Stands for a reader that collects at an interval, until the first is over.

    The metrics SDK need not be imported before. The numbers are cumulative in cells, so nothing is lost by that.

    Args:
        make: makes the reader, which begins an interval of its own.
        interval: milliseconds until the first collection.
        measured: whether the application has measured anything: else there is nothing to tell at an early end.
        guard: gets what fails.
    """

    def __init__(
        self, make: Callable[[], MetricReader], *, interval: float, measured: Callable[[], bool], guard: Guard
    ) -> None:
        self._make = make
        self._interval = interval / 1000
        self._measured = measured
        self._guard = guard
        self._provider: LeanMeterProvider | None = None
        self._gone = False
        self._coming = False
        self._over = threading.Event()
        self._lock = threading.RLock()
        in_forked_child(self._in_child, guard.failed)

    def begin(self, provider: LeanMeterProvider) -> None:
        """Wait for the first interval to pass, in a thread."""
        self._provider = provider
        waiting = threading.Thread(target=self._wait, args=(self._over,), name="otel-distro-metrics", daemon=True)
        # else what was measured leaves with the end
        start_thread(waiting)

    @property
    def there(self) -> bool:
        """Whether the reader was made, as far as it could be, or never will be: nothing is waited for any more."""
        return self._gone and not self._coming

    def come(self) -> MetricReader | None:
        """Be there: the reader is made and added to the provider, once; returned by the call that does it.

        Another call waits for that one: a flush and the end need the reader.
        """
        if self.there:
            return None
        lock = self._lock
        # reentrant, for a signal's handler, and never for long: whoever makes it may wait for a module's import
        if not lock.acquire(timeout=_LONGEST):
            reason = f"the reader of metrics is still being made after {_LONGEST:g} s"
            self._guard.failed("metrics", reason, remedy="what was measured is not pushed before it is there")
            return None
        try:
            # a fork finds this as it was before or as it is afterwards, not between
            with unforked():
                if self._gone or self._provider is None:
                    return None
                self._gone = self._coming = True
                self._over.set()
                reader = self._guard.call("metric reader", None, self._make)
                if reader is not None:
                    self._provider.add_metric_reader(reader)
                self._coming = False
            return reader
        finally:
            lock.release()

    def end(self) -> None:
        """Be there for the last collection where the application has measured anything, else never."""
        if self._gone or self._measured():
            self.come()
        else:
            self._gone = True
            self._over.set()

    def _wait(self, over: threading.Event) -> None:
        if not over.wait(self._interval):
            reader = self.come()
            if reader is not None:
                self._guard.call("metric reader", None, reader.collect)

    def _in_child(self) -> None:
        # a thread that held it is not here
        self._lock = threading.RLock()
        if self._coming:
            # what was being imported stays locked here for ever, so nothing tries again
            self._guard.failed(
                "metrics",
                "this process was forked while its parent made the reader of metrics, which took too long to wait for",
                remedy="its metrics are not pushed; fork later, or call force_flush of the meter provider before",
            )
        # where the parent's reader is here as well, that goes on by itself
        if not self._gone and self._provider is not None:
            self._over = threading.Event()
            self.begin(self._provider)


__all__ = ["LateReader"]
