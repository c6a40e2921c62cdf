"""What the distro shows of itself: nothing that is lost goes uncounted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from otel_distro import settings
from otel_distro.components import Component
from otel_distro.conventions import server_of
from otel_distro.export_durations import ExportDurations
from otel_distro.metrics import LeanMeterProvider
from otel_distro.metrics.groups import Groups
from otel_distro.otlp import sender as senders
from otel_distro.otlp.stats import SenderStats
from otel_distro.own_metrics import OwnMetrics, error_of
from otel_distro.pipeline import Pipeline
from otel_distro.pipeline._base import Exporting
from otel_distro.pipeline._own import install, merges, otlp_component
from tests.forking import in_child
from tests.metrics_rig import Setup
from tests.servers.waiting import wait_until
from tests.tracing_rig import Recorder, Stuck, end_spans, queue

PROCESSOR = Component("traces", "batching_span_processor", "otlp")
EXPORTER = Component("traces", "otlp_http_span_exporter", "otlp")
SPANS = "otel.sdk.processor.span."


def by(setup: Setup, name: str, *keys: str) -> dict[Any, float]:
    """Values of a metric by `error.type`, or by one attribute, or by several."""
    found: dict[Any, float] = {}
    for attributes, value in setup.values(name).items():
        labels = tuple(dict(attributes).get(key) for key in keys or ("error.type",))
        found[labels if len(labels) > 1 else labels[0]] = value
    return found


def stats(**changes: Any) -> SenderStats:
    facts: dict[str, Any] = {
        "signal": "traces",
        "endpoint": "http://collector:4318/v1/traces",
        "sent": 0,
        "dropped": {},
        "queued": 0,
        "queued_bytes": 0,
        "requests": 0,
        "failures": 0,
        "latency": 0.0,
        "away_for": None,
        "off": "",
    }
    return SenderStats(**{**facts, **changes})


def test_every_span_that_was_made_is_somewhere(setup: Setup) -> None:
    """Produced is processed plus waiting, dropped ones included, at every moment."""
    release = threading.Event()

    class Waiting(Recorder):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            release.wait(30)
            return super().export(spans)

    made = queue(Waiting(), setup.guard, max_queue_size=8, max_export_batch_size=8, schedule_delay=60_000)
    OwnMetrics(setup.meter, setup.guard).watch_queue(PROCESSOR, made, 8)
    end_spans(made, 3)
    assert by(setup, "otel_distro.span.produced") == {None: 3}
    assert by(setup, SPANS + "queue.size") == {None: 3}
    assert by(setup, SPANS + "queue.capacity") == {None: 8}
    assert by(setup, SPANS + "processed") == {None: 0}
    release.set()
    assert made.force_flush()
    end_spans(made, 1)
    made.shutdown()
    end_spans(made, 2)
    assert by(setup, "otel_distro.span.produced") == {None: 6}
    assert by(setup, SPANS + "queue.size") == {None: 0}
    assert by(setup, SPANS + "processed") == {None: 4, "already_shutdown": 2}


def test_what_does_not_fit_is_processed_as_queue_full() -> None:
    """A queue that is full drops, and the drops have the conventions' error.type."""
    setup = Setup()
    made = queue(Stuck(interruptible=True), setup.guard, max_queue_size=4, max_export_batch_size=4)
    OwnMetrics(setup.meter, setup.guard).watch_queue(PROCESSOR, made, 4)
    end_spans(made, 40)
    processed = by(setup, SPANS + "processed")
    assert processed["queue_full"] >= 30
    assert by(setup, "otel_distro.span.produced")[None] >= processed["queue_full"] + 4
    made.shutdown(2000)
    # what the exporter held is counted by the thread that comes out of it
    wait_until(lambda: sum(by(setup, SPANS + "processed").values()) == 40, seconds=20, what="the last count")
    assert by(setup, "otel_distro.span.produced") == {None: 40}


def test_produced_never_falls_while_an_exporter_holds_spans(setup: Setup) -> None:
    """Spans between the queue and the end of an export are in no counter, and are not taken back."""
    inside, release = threading.Event(), threading.Event()

    class Slow(Recorder):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            inside.set()
            release.wait(30)
            return super().export(spans)

    made = queue(Slow(), setup.guard, schedule_delay=60_000)
    OwnMetrics(setup.meter, setup.guard).watch_queue(PROCESSOR, made, 8)
    end_spans(made, 5)
    assert by(setup, "otel_distro.span.produced") == {None: 5}
    flushing = threading.Thread(target=made.force_flush)
    flushing.start()
    assert inside.wait(30)
    assert by(setup, "otel_distro.span.produced") == {None: 5}
    release.set()
    flushing.join()
    assert by(setup, "otel_distro.span.produced") == {None: 5}
    made.shutdown()


def test_deliveries_and_losses_are_exported_points_by_reason(setup: Setup) -> None:
    """What a sender delivered has no error.type, each loss has its own, and what waits is in flight."""
    now = [stats(sent=90, dropped={"refused with status 400": 6, senders.REJECTED: 3, "spool full": 1}, queued=7)]
    own = OwnMetrics(setup.meter, setup.guard)
    own.watch_exporter(EXPORTER, lambda: now)
    exported = "otel.sdk.exporter.span.exported"
    assert by(setup, exported) == {None: 90, "400": 6, "rejected": 3, "spool_full": 1}
    assert by(setup, "otel.sdk.exporter.span.inflight") == {None: 7}
    attributes = dict(next(iter(setup.values(exported))))
    assert attributes["otel.component.name"] == "otlp_http_span_exporter/otlp"
    assert (attributes["server.address"], attributes["server.port"]) == ("collector", 4318)


def test_each_attempt_is_counted(setup: Setup) -> None:
    """A collector that is away shows by attempts that fail before anything is lost; all signals are in one metric."""
    own = OwnMetrics(setup.meter, setup.guard)
    own.watch_exporter(EXPORTER, lambda: [stats(requests=10, failures=4)])
    own.watch_exporter(Component("metrics", "otlp_http_metric_exporter", "otlp"), lambda: [stats(requests=1)])
    found = {
        (dict(a)["otel.component.type"], dict(a)["outcome"]): value
        for a, value in setup.values("otel_distro.exporter.attempts").items()
    }
    assert found == {
        ("otlp_http_span_exporter", "success"): 6,
        ("otlp_http_span_exporter", "failure"): 4,
        ("otlp_http_metric_exporter", "success"): 1,
        ("otlp_http_metric_exporter", "failure"): 0,
    }
    assert by(setup, "otel.sdk.exporter.metric_data_point.exported") == {None: 0}


def test_an_exporter_without_numbers_shows_what_it_answered() -> None:
    """Another's exporter counts by its answers: taken, failed, raised."""
    setup = Setup()
    answers: list[Any] = [SpanExportResult.SUCCESS, SpanExportResult.FAILURE]

    class Moody(Recorder):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return answers.pop(0) if answers else SpanExportResult(1 / 0)

    made = queue(Moody(), setup.guard, schedule_delay=60_000)
    OwnMetrics(setup.meter, setup.guard).watch_queue(PROCESSOR, made, 8, "mine.Moody")
    for number in (1, 2, 3):
        end_spans(made, number)
        made.force_flush()
    assert by(setup, "otel.sdk.exporter.span.exported") == {None: 1, "failed": 2, "raised": 3}
    assert by(setup, "otel.sdk.exporter.span.exported", "otel.component.type") == {"mine.Moody": 3}
    assert by(setup, SPANS + "processed") == {None: 6}
    made.shutdown()


def test_durations_are_taken_once_there_is_a_meter(setup: Setup) -> None:
    """A sender may be older than the meter; what it settles before is not measured, and harms nothing."""
    settled = ExportDurations()
    record = settled.recorder(EXPORTER, "https://collector/v1/traces")
    record(1.0, "")
    settled.measure(setup.meter)
    record(0.25, "")
    record(2.0, "503")
    points = setup.metrics()["otel.sdk.exporter.operation.duration"].data_points
    assert {p.attributes.get("error.type"): p.sum for p in points} == {None: 0.25, "503": 2.0}
    assert {p.attributes["server.port"] for p in points} == {443}


def test_failures_of_parts_are_counted_and_a_child_starts_anew() -> None:
    """Each part of the distro that failed has its number; a forked child does not repeat its parent's."""
    setup = Setup()
    own = OwnMetrics(setup.meter, setup.guard)
    for _ in range(3):
        setup.guard.failed("exporter x", "broken")
    assert by(setup, "otel_distro.failures", "otel_distro.part") == {"exporter x": 3}

    def look() -> object:
        setup.guard.after_fork()
        before = by(setup, "otel_distro.failures", "otel_distro.part")
        setup.guard.failed("exporter x", "broken")
        return before, by(setup, "otel_distro.failures", "otel_distro.part")

    assert in_child(look) == str(({}, {"exporter x": 1}))
    assert own is not None


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://c:4318/v1/traces", {"server.address": "c", "server.port": 4318}),
        ("https://[::1]/x", {"server.address": "::1", "server.port": 443}),
        ("http://c:bad", {}),
        ("", {}),
    ],
)
def test_a_servers_address_is_the_urls(endpoint: str, expected: dict[str, Any]) -> None:
    """Host and port, never path, user or password; nothing where the URL cannot be read."""
    assert server_of(endpoint) == expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("refused with status 413", "413"),
        (senders.REJECTED, "rejected"),
        (senders.OFF, "exporter_off"),
        (senders.NOT_ENCODED, "not_encodable"),
        ("not sent before the end", "not_sent_before_the_end"),
    ],
)
def test_a_loss_has_a_reason_of_few(reason: str, expected: str) -> None:
    """`error.type` has no blanks, and a refusal's is the status alone."""
    assert error_of(reason) == expected


def installed(groups: tuple[str, ...]) -> tuple[Setup, Pipeline, list[Callable[[], Any]]]:
    chosen, _ = settings.parse({"OTEL_DISTRO_METRICS_GROUPS": ",".join(groups) or "none"})
    enabled = Groups(chosen.metric_groups.enabled)
    setup = Setup(merges=merges(enabled), wants=enabled.wants)
    pipeline = Pipeline()
    made = queue(Recorder(), setup.guard)
    pipeline.exporting.append(Exporting("traces", "console", Recorder(), made))
    assert isinstance(setup.provider, LeanMeterProvider)
    install(chosen, setup.guard, pipeline, setup.provider, ExportDurations())
    return setup, pipeline, [made.shutdown]


@pytest.mark.parametrize(
    ("groups", "there", "absent"),
    [
        (("runtime", "own"), {"process.cpu.time", SPANS + "processed"}, set()),
        (("own",), {SPANS + "processed", "otel.sdk.exporter.span.exported"}, {"process.cpu.time"}),
        (("runtime",), {"process.cpu.time", "cpython.gc.collections"}, {SPANS + "processed"}),
        ((), set(), {"process.cpu.time", SPANS + "processed"}),
    ],
)
def test_a_group_that_is_off_makes_nothing(groups: tuple[str, ...], there: set[str], absent: set[str]) -> None:
    """The process's and the distro's own metrics are there when their group is on, and no object of theirs is else."""
    setup, pipeline, ends = installed(groups)
    shown = set(setup.metrics())
    assert there <= shown
    assert not absent & shown
    assert (pipeline.loops is not None) == ("runtime" in groups)
    assert not setup.lines
    for end in ends:
        end()


def test_an_exporter_is_called_by_the_conventions_or_by_its_class() -> None:
    """OTLP by gRPC, which upstream's exporter does, has the conventions' name; a third party's has its own."""
    chosen, _ = settings.parse({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    setup, pipeline = Setup(), Pipeline()
    made = [queue(Recorder(), setup.guard) for _ in range(2)]
    for name, queued in zip(("otlp", "mine"), made, strict=True):
        pipeline.exporting.append(Exporting("traces", name, Recorder(), queued))
    install(chosen, setup.guard, pipeline, setup.provider, ExportDurations())
    for queued in made:
        end_spans(queued, 2)
        queued.shutdown()
    exported = by(setup, "otel.sdk.exporter.span.exported", "otel.component.type", "otel.component.name")
    assert exported == {
        ("otlp_grpc_span_exporter", "otlp_grpc_span_exporter/otlp"): 2,
        ("tests.tracing_rig.Recorder", "tests.tracing_rig.Recorder/mine"): 2,
    }


def test_a_last_look_keeps_what_came_of_the_end() -> None:
    """Callbacks run once more after everything has been sent: a worker that measured leaves its final numbers."""
    setup, pipeline, _ = installed(("own",))
    pipeline.flush(5.0, setup.guard)
    assert not setup.provider.store.entries()
    setup.meter.create_counter("orders").add(1)
    queued: Any = pipeline.exporting[0].queue
    end_spans(queued, 4)
    pipeline.endings.append(("traces", lambda seconds: queued.shutdown(seconds * 1000)))
    pipeline.shutdown(5.0, setup.guard)
    cells = {
        (entry.identity.name, entry.attributes.get("error.type")): setup.provider.store.read()[entry.at]
        for entry in setup.provider.store.entries()
    }
    assert cells[SPANS + "processed", None] == 4
    assert cells[SPANS + "queue.size", None] == 0


def test_components_are_called_as_the_conventions_say() -> None:
    """The type of an exporter by OTLP tells its protocol and its signal."""
    names = {
        otlp_component(signal, settings.Otlp(protocol=protocol)).type
        for signal in ("traces", "metrics", "logs")
        for protocol in ("grpc", "http/protobuf", "http/json")
    }
    assert names == {
        f"otlp_{way}_{noun}_exporter" for way in ("grpc", "http", "http_json") for noun in ("span", "metric", "log")
    }
