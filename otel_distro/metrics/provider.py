"""The meter provider, with cells instead of aggregation objects; see `adopted` for upstream's class."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, NoOpMeter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.util.types import Attributes

from otel_distro.guard import Guard, start_thread
from otel_distro.process import Deadline, in_forked_child, unforked

from .adopted import adopt_if_imported
from .cells import LocalStore, Store
from .identity import InstrumentKind, Merge
from .instruments import LeanInstrument, LeanObservable
from .meter import LeanMeter, Workshop
from .stream import Means, now
from .views import Preference, Viewer

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader, MetricsData
    from opentelemetry.sdk.metrics.view import View

    from .collection import Collection
    from .late import LateReader


class LeanMeterProvider(MeterProvider):
    """See `opentelemetry.metrics.MeterProvider`.

    Args:
        resource: what the numbers belong to.
        guard: gets failures and warnings.
        exemplar_filter: "trace_based", "always_on" or "always_off".
        views: upstream's; custom exemplar reservoirs are not used.
        readers: upstream's, any number; each is registered at one provider only.
        cardinality_limit: series a stream, the overflow series included; at least 2.
        store: where cells are kept; this process's memory by default.
        scraped: keep the default aggregations even when every reader prefers another: a scraper will read the cells.
        merges: rules for merging several processes' values, by stream name, that differ from the default.
        child_resource: the resource of a forked child, from its parent's.
        wants: tells by the scope's and the instrument's name whether it measures at all; None for all.
    """

    def __init__(
        self,
        *,
        resource: Resource,
        guard: Guard,
        exemplar_filter: str = "trace_based",
        views: Sequence[View] = (),
        readers: Sequence[MetricReader] = (),
        cardinality_limit: int = 2000,
        store: Store | None = None,
        scraped: bool = True,
        merges: Mapping[str, Merge] | None = None,
        child_resource: Callable[[Resource], Resource] | None = None,
        wants: Callable[[str, str], bool] | None = None,
    ) -> None:
        self.resource = resource
        self.store: Store = LocalStore() if store is None else store
        self._guard = guard
        self._scraped = scraped
        self._child_resource = child_resource
        self._collecting = threading.RLock()
        self._left: threading.Thread | None = None
        self._rounds = 0
        self._closed = False
        self._meters: dict[InstrumentationScope, Meter] = {}
        self._instruments: tuple[LeanInstrument, ...] = ()
        self._collections: dict[MetricReader, Collection] = {}
        self._late: list[LateReader] = []
        self._unmade: list[tuple[str, Callable[[], object]]] = []
        self._began = now()
        self._private = LocalStore()
        self._means = means = Means(self.store, self._private, guard, max(2, cardinality_limit), exemplar_filter)
        self._viewer = Viewer(views, means, merges or {})
        self._workshop = Workshop(self._viewer, guard, self._preferences, self._made, wants or _everything)
        self._views = tuple(views)
        self._exemplar_filter = exemplar_filter
        adopt_if_imported()
        for reader in readers:
            self.add_metric_reader(reader)
        in_forked_child(self.after_fork, guard.failed)

    def get_meter(
        self, name: str, version: str | None = None, schema_url: str | None = None, attributes: Attributes = None
    ) -> Meter:
        """See `opentelemetry.metrics.MeterProvider.get_meter`; after `shutdown` a meter that does nothing."""
        if self._closed:
            return NoOpMeter(name, version=version, schema_url=schema_url)
        if not name:
            self._guard.warn("metrics: a meter was asked for without a name", once="meter without a name")
        scope = InstrumentationScope(name or "", version, schema_url, attributes)
        with self._workshop.lock:
            meter = self._meters.get(scope)
            if meter is None:
                meter = self._meters[scope] = LeanMeter(scope, self._workshop)
            return meter

    def add_metric_reader(self, metric_reader: MetricReader) -> None:
        """Let `metric_reader` collect from now on; what was measured before is in its first cumulative numbers."""
        from otel_distro import _compat_metrics as _compat

        from . import chosen  # noqa: F401 - not under the lock, for an import waits for whoever imports the same
        from .collection import Collection

        with self._workshop.lock:
            if metric_reader in self._collections:
                self._guard.warn("metrics: a reader was added twice", once=f"reader {id(metric_reader)}")
                return
            collection = Collection(metric_reader, self._viewer)
            for instrument in self._instruments:
                instrument.binder.extend(collection.prefers)
            self._collections = {**self._collections, metric_reader: collection}
        self._guard.call("metric reader", None, _compat.attach_reader, metric_reader, self._collect, self)

    def expect(self, reader: LateReader) -> None:
        """Wait for a reader that is made when there is something to read; it wants no other than the default."""
        self._late.append(reader)
        reader.begin(self)

    def remove_metric_reader(self, metric_reader: MetricReader) -> None:
        """Shut `metric_reader` down and forget it."""
        with self._workshop.lock:
            rest = dict(self._collections)
            if rest.pop(metric_reader, None) is None:
                self._guard.warn("metrics: a reader that was never added is removed", once=f"no {id(metric_reader)}")
                return
            self._collections = rest
        from otel_distro import _compat_metrics as _compat

        _compat.attach_reader(metric_reader, None)
        self._guard.call("metric reader", None, metric_reader.shutdown)

    def settle_before_reading(self, settle: Callable[[], object]) -> None:
        """Let series be told later what waits in a ledger: `settle` tells them, called before anybody reads them."""
        self._means.settles.append(settle)

    def before_first_reading(self, meter: str, make: Callable[[], object]) -> None:
        """Call `make` before the first collection: it makes instruments of this meter that only callbacks fill.

        What those report counts as since the provider is there, in a forked child since the fork.
        """
        self._unmade.append((meter, make))

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Let every reader collect and export what it has, within `timeout_millis` together.

        Returns:
            Whether all of them did; a reader that fails is counted and does not stop the others.
        """
        deadline = Deadline(timeout_millis / 1000)
        for late in self._late:
            late.come()
        good = all(late.there for late in self._late)
        for reader in self._collections:
            left = max(1.0, deadline.left() * 1000)
            good = self._guard.call("metric reader", False, reader.force_flush, left) is not False and good
        return good

    @property
    def closed(self) -> bool:
        """Whether `shutdown` has begun."""
        return self._closed

    def shutdown(self, timeout_millis: float = 30_000) -> None:
        """Let every reader export once more and stop, within `timeout_millis` together; a second call does nothing."""
        with self._workshop.lock:
            if self._closed:
                return
            self._closed = True
        deadline = Deadline(timeout_millis / 1000)
        for late in self._late:
            late.end()
        for reader in self._collections:
            left = max(1.0, deadline.left() * 1000)
            self._guard.call("metric reader", None, reader.shutdown, left)

    def observe(self, timeout_millis: float = 10_000) -> None:
        """Run all callbacks, so that the cells hold what they say now; a collection does this itself.

        When another collection hangs in a callback for `timeout_millis`, the values stay as they are.
        """
        with self._unforked_at_first(), self._one_at_a_time(timeout_millis) as free:
            if free:
                self._observe(timeout_millis)

    def observe_within(self, timeout_millis: float) -> None:
        """`observe`, waited for no longer than `timeout_millis`: for threads that have others to answer.

        A callback cannot be stopped, so all of them run in a thread that can be left alone. What has not been observed
        by then stays as it is, and until that thread has ended nobody waits for another.
        """
        seconds = timeout_millis / 1000
        if self._left is not None and self._left.is_alive():
            self._hangs(seconds)
            return
        observing = threading.Thread(
            target=self._guard.call,
            args=("metrics: collection", None, self.observe, timeout_millis),
            name="otel-distro-observe",
            daemon=True,
        )
        if not start_thread(observing):
            self.observe(timeout_millis)
            return
        observing.join(seconds)
        if observing.is_alive():
            self._left = observing
            self._hangs(seconds)

    def after_fork(self) -> None:
        """In a child: new locks, all series at zero in cells of its own, the child's resource."""
        self._workshop.lock = threading.RLock()
        self._collecting = threading.RLock()
        self.store.after_fork()
        self._private.after_fork()
        self._began = now()
        for instrument in self._instruments:
            for streams in instrument.binder.views:
                for stream in streams.streams.values():
                    stream.after_fork()
        for collection in self._collections.values():
            collection.forget()
        if self._child_resource is not None:
            self.resource = self._child_resource(self.resource)

    @property
    def _sdk_config(self) -> Any:
        """What third parties read of upstream's provider."""
        from otel_distro import _compat_metrics as _compat

        return _compat.sdk_configuration(self.resource, self._views, self._exemplar_filter)

    def _collect(self, reader: MetricReader, timeout_millis: float = 10_000) -> MetricsData | None:
        """What `reader.collect()` calls."""
        collection = self._collections.get(reader)
        if collection is None:
            return None
        with self._unforked_at_first(), self._one_at_a_time(timeout_millis) as free:
            if not free:
                return None
            self._observe(timeout_millis)
            return collection.collect(self._instruments, self.resource, time.time_ns())

    def _observe(self, timeout_millis: float) -> None:
        self._rounds += 1
        if self._unmade:
            self._make_observables()
        for settle in self._means.settles:
            self._guard.call("metrics that wait", None, settle)
        options = CallbackOptions(timeout_millis=timeout_millis)
        for instrument in self._instruments:
            if isinstance(instrument, LeanObservable):
                instrument.observe(options, self._rounds)

    def _make_observables(self) -> None:
        unmade, self._unmade = self._unmade, []
        known, meters = len(self._instruments), {meter for meter, _ in unmade}
        for _, make in unmade:
            self._guard.call("metrics", None, make)
        for instrument in self._instruments[known:]:
            # the application may make one of its own meanwhile
            if instrument.instrumentation_scope.name in meters:
                for streams in instrument.binder.views:
                    for stream in streams.streams.values():
                        stream.began = self._began

    def _unforked_at_first(self) -> AbstractContextManager[None]:
        """The first round of callbacks imports what it needs, in a thread of ours: see `unforked`."""
        return nullcontext() if self._rounds else unforked()

    @contextmanager
    def _one_at_a_time(self, timeout_millis: float) -> Iterator[bool]:
        """Whether no other collection runs, or one ended in time; one that hangs in a callback is said once."""
        lock, seconds = self._collecting, timeout_millis / 1000
        free = lock.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))
        if not free:
            self._hangs(seconds)
        try:
            yield free
        finally:
            if free:
                lock.release()

    def _hangs(self, seconds: float) -> None:
        remedy = "observed values stay as they are until it does; callbacks need time limits of their own"
        self._guard.failed("metrics: collection", f"a callback has not returned for {seconds:g} s", remedy=remedy)

    def _preferences(self) -> list[Preference]:
        """Of all readers; the scraper's, which is the default, comes first."""
        preferences: list[Preference] = [c.prefers for c in self._collections.values()]
        return [_default, *preferences] if self._scraped or not preferences else preferences

    def _made(self, instrument: LeanInstrument) -> None:
        self._instruments = (*self._instruments, instrument)


def _everything(_scope: str, _name: str) -> bool:
    return True


def _default(_kind: InstrumentKind) -> None:
    """No preference."""
