"""What Voice Kraliki lists, item by item."""

from __future__ import annotations

import time

from tests.e2e.stacks.items import Stack, checks, error, metric, requests, span, status_of
from tests.e2e.stacks.rig import CALLER, Evidence

_CALLS = 12


def drive_voice(found: Evidence) -> None:
    """Calls over both workers, one whose provider fails, and a crash."""
    for number in range(_CALLS):
        body = {"provider": "deepgram", "user_id": f"u-{number}"}
        assert found.ask(f"call {number}", "/calls", "POST", body).status == 201
    assert found.ask("refused", "/calls", "POST", {"provider": "broken", "user_id": "u-x"}).status == 502
    assert found.ask("list", "/calls").json()["calls"] >= _CALLS
    assert found.ask("crash", "/crash").status == 500
    found.sentry.wait_for(lambda sentry: len(sentry.events) >= 2, what="both events")


def exact_over_workers(found: Evidence) -> None:
    """Two workers, one set of numbers, whichever answers the scrape."""
    deadline = time.monotonic() + 10
    while True:
        served = found.metric(
            "http_server_request_duration_seconds_count", http_route="/calls", http_request_method="POST"
        )
        if served == _CALLS + 1 or time.monotonic() > deadline:
            break
    assert served == _CALLS + 1
    assert found.metric("voice_call_duration_seconds_count", provider="deepgram", outcome="success") == _CALLS


def lines_of_calls(found: Evidence) -> None:
    """One line a call, with the caller's ids and the user of that call, from whichever worker."""
    lines = [line for line in found.lines() if line.get("message") == "call answered"]
    assert sorted(line["user"] for line in lines) == sorted(f"u-{number}" for number in range(_CALLS))
    assert {(line["trace_id"], line["request_id"]) for line in lines} == {(CALLER["trace"], CALLER["request"])}


def liveness(found: Evidence) -> None:
    """`/health` has status, version, python and environment."""
    body = found.health("/health")
    assert body["status"] == "healthy"
    assert (body["version"], body["environment"]) == ("2.0.0", "production")
    assert body["python"].startswith("3.")


VOICE = Stack(
    "voice_kraliki",
    drive_voice,
    {
        "sentry: unhandled exceptions": error("LookupError"),
        "sentry: capture_exception with user, tags and extra": error(
            "HTTPStatusError", user="u-x", feature="voice-api", provider="broken"
        ),
        "sentry: request latency of every endpoint": span("POST /calls", http__route="/calls"),
        "sentry: database queries": span("INSERT voice_calls"),
        "sentry: external API calls": span("POST", http__response__status_code=500),
        "sentry: custom transactions and their steps": span("transcribe"),
        "sentry: a custom transaction": span("call_analysis"),
        "http_requests_total by method, endpoint, status": requests("/calls", "502", "POST"),
        "http_request_duration_seconds": requests("/calls", "201", "POST", at_least=_CALLS),
        "http_requests_inprogress": metric("http_server_active_requests", 0),
        "four workers, one truth": exact_over_workers,
        "voice_calls_total by provider and status": metric("voice_call_duration_seconds_count", 1, outcome="failure"),
        "call_duration_seconds by provider": metric("voice_call_duration_seconds_sum", 0, provider="deepgram"),
        "active_calls by provider": metric("voice_call_active", 0, provider="deepgram"),
        "logs of every call, each with its own user": lines_of_calls,
        "/health: the liveness probe": liveness,
        "/ready: the readiness probe": status_of("/ready", "ready"),
        "/ready names the database": checks("/ready", database=True),
    },
    environ={
        "RELEASE_VERSION": "2.0.0",
        "ENVIRONMENT": "production",
        "ENABLE_METRICS": "true",
        "SENTRY_TRACES_SAMPLE_RATE": "1.0",
        "SENTRY_PROFILES_SAMPLE_RATE": "0.1",
        "PROVIDER_URL": "{outside}",
        "DATABASE_URL": "sqlite:///{logs}/voice.db",
    },
    # as in `monitored`: four instrumented libraries take long to import beside other suites
    arguments=("--workers", "2", "--timeout-worker-healthcheck", "60"),
)
