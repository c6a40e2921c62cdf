"""`otel_distro.status()`: what runs, what does not and why; readable, frozen, without secrets."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

import otel_distro
from otel_distro._status import of_session
from otel_distro.guard import Guard
from otel_distro.otlp.stats import SenderStats
from otel_distro.pipeline import Exporting, Pipeline
from otel_distro.session import open_session
from tests.tracing_rig import provider


def session(**environ: str) -> Any:
    opened = open_session(environ, ["python", "app.py"])
    opened.guard = Guard(output=lambda level, text: None)
    return opened


def test_a_process_without_the_distro_says_so() -> None:
    """The public function works anywhere, as a no-op where nothing was started."""
    state = otel_distro.status()
    assert not state.running
    assert "no launcher has started it" in str(state)


def test_a_disabled_sdk_is_a_reason() -> None:
    """OTEL_SDK_DISABLED=true is why nothing runs."""
    state = of_session(session(OTEL_SDK_DISABLED="true"))
    assert (state.running, state.reason) == (False, "OTEL_SDK_DISABLED=true")


def test_what_runs_is_listed_with_its_numbers() -> None:
    """Signals, exporters with their counters, who instruments what, problems of the settings and failures."""
    opened = session(OTEL_PROPAGATORS="bogus", OTEL_METRICS_EXPORTER="none")
    stats = SenderStats("traces", "http://c:4318/v1/traces", 7, {"too old": 3}, 2, 99, 4, 1, 0.01, 12.0, "")
    exporter = SimpleNamespace(stats=lambda: (stats,))
    queue = SimpleNamespace(counts=lambda: {"exported": 9, "queue_full": 5})
    opened.pipeline = Pipeline(tracer_provider=provider(), exporting=[Exporting("traces", "otlp", exporter, queue)])
    opened.decisions = lambda: [SimpleNamespace(library="redis", by="nobody", reason="disabled")]
    opened.guard.failed("exporter otlp", ValueError("boom"), remedy="none")
    opened.guard.failed("exporter otlp", ValueError("boom"))
    state = of_session(opened)
    assert state.running
    assert {part.name: part.on for part in state.parts} == {
        "traces": True,
        "metrics": False,
        "logs": False,
        "propagators": True,
        "health": False,
    }
    assert state.exporters[0].queue["queue_full"] == 5
    assert state.exporters[0].senders[0]["dropped"] == {"too old": 3}
    assert (state.failures[0].count, state.failures[0].remedy) == (2, "none")
    text = str(state)
    for said in (
        "exported 9, queue_full 5",
        "sent 7, waiting 2, dropped 3 (too old), away for 12 s",
        "OTEL_PROPAGATORS",
    ):
        assert said in text
    for said in ("redis: disabled", "exporter otlp (2x): ValueError: boom"):
        assert said in text


def test_the_result_is_frozen() -> None:
    """What was true at one moment cannot be changed by whoever holds it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        otel_distro.status().running = True  # type: ignore[misc]


def test_a_secret_of_a_setting_is_not_shown() -> None:
    """Headers and credentials in endpoints stay out of the status."""
    opened = session(
        OTEL_EXPORTER_OTLP_HEADERS="authorization", OTEL_EXPORTER_OTLP_ENDPOINT="http://joe:canary@host:4317/?t=canary"
    )
    assert "canary" not in str(of_session(opened))
    assert len(of_session(opened).problems) == 2
