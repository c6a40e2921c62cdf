"""What the pipelines share: exporters by name, ends within one budget, upstream's lines said once."""

from __future__ import annotations

import logging
import threading
import time

from otel_distro.guard import Guard
from otel_distro.pipeline import Pipeline
from otel_distro.pipeline._exporters import build
from otel_distro.quiet import SayOnce


def make() -> tuple[Guard, list[str]]:
    lines: list[str] = []
    return Guard(output=lambda level, text: lines.append(text)), lines


def test_exporters_come_in_the_order_of_their_names() -> None:
    """A list gives each exporter once, upstream's own names for OTLP included."""
    guard, lines = make()
    built = build("traces", ("console", "otlp_proto_http", "otlp"), {"otlp": object, "console": list}, guard)
    assert [name for name, _ in built] == ["console", "otlp"]
    assert lines == []


def test_none_switches_the_others_off() -> None:
    """`none` means none; named beside others it is said."""
    guard, lines = make()
    assert build("traces", ("none",), {}, guard) == []
    assert lines == []
    assert build("traces", ("otlp", "none"), {"otlp": object}, guard) == []
    assert len(lines) == 1


def test_an_exporter_that_cannot_be_built_stops_no_other() -> None:
    """One that raises is said with its reason, the next one is built."""
    guard, lines = make()
    built = build("traces", ("bad", "good"), {"bad": lambda: 1 / 0, "good": object}, guard)
    assert [name for name, _ in built] == ["good"]
    assert lines == ["traces exporter bad: ZeroDivisionError: division by zero"]


def test_an_unknown_exporter_names_what_there_is() -> None:
    """An unknown name is one line with the names that would work."""
    guard, lines = make()
    assert build("metrics", ("promtheus",), {"prometheus": object}, guard) == []
    assert len(lines) == 1
    assert "OTEL_METRICS_EXPORTER='promtheus'" in lines[0]
    assert "built in: prometheus" in lines[0]


def test_all_signals_end_side_by_side_within_one_budget() -> None:
    """Three signals that hang take one budget together, not three; the others are not held up."""
    guard, _ = make()
    ended: list[str] = []
    release = threading.Event()
    pipeline = Pipeline()
    pipeline.endings = [
        ("traces", lambda seconds: ended.append("traces")),
        ("metrics", lambda seconds: release.wait(30)),
        ("logs", lambda seconds: release.wait(30)),
    ]
    began = time.monotonic()
    pipeline.shutdown(0.2, guard)
    elapsed = time.monotonic() - began
    release.set()
    assert ended == ["traces"]
    assert elapsed < 10  # not the 30 s of one that hangs, let alone of two
    pipeline.shutdown(0.2, guard)
    assert ended == ["traces"]


def test_a_signal_that_raises_at_the_end_is_counted() -> None:
    """One signal's failure stays its own."""
    guard, _ = make()
    ended: list[str] = []
    pipeline = Pipeline(flushes=[("a", lambda seconds: 1 / 0), ("b", lambda seconds: ended.append("b"))])
    pipeline.flush(1, guard)
    assert ended == ["b"]
    assert [failure.part for failure in guard.failures] == ["flush a"]


def test_upstreams_lines_pass_once_without_their_stack_trace() -> None:
    """The same message again and again is one line; its exception becomes part of it."""
    said = SayOnce()
    try:
        raise OSError("refused")  # noqa: TRY301 - the exception under test
    except OSError as error:
        info = (type(error), error, error.__traceback__)
    records = [logging.LogRecord("x", 40, "f", 1, "export failed: %s", (n,), info) for n in range(3)]
    assert [said.filter(record) for record in records] == [True, False, False]
    assert records[0].getMessage() == "export failed: 0: refused"
    assert records[0].exc_info is None


def test_what_has_been_said_is_bounded() -> None:
    """A logger that makes up new formats cannot grow our memory."""
    said = SayOnce()
    records = [logging.LogRecord("x", 40, "f", 1, f"format {n}", (), None) for n in range(100)]
    assert sum(said.filter(record) for record in records) == 64
