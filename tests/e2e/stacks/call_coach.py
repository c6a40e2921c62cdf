"""What Call Coach lists, item by item."""

from __future__ import annotations

from tests.e2e.stacks.items import Stack, checks, correlated, echoed, error, metric, requests, resource, span
from tests.e2e.stacks.rig import CALLER, Evidence


def drive_call_coach(found: Evidence) -> None:
    """Two analyses, one that the model refuses, a tool call, a cache that hits and misses."""
    assert found.ask("analyze", "/api/calls/1/analyze", "POST", x_user="u-1").status == 200
    assert found.ask("refused", "/api/calls/2/analyze?transcript=broken", "POST", x_user="u-2").status == 502
    assert found.ask("score", "/api/calls/1").json()["score"] == 85.5
    assert found.ask("miss", "/api/calls/4").json()["score"] is None
    for _ in range(2):
        assert found.ask("rep", "/api/reps/rep-1").status == 200
    tool = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"arguments": {"call_id": 3}}}
    assert found.ask("tool", "/mcp", "POST", tool).json()["result"]["structuredContent"]["score"] == 85.5


def two_sessions(found: Evidence) -> None:
    """The log lines of both sessions, each with its own ids of call and rep."""
    lines = [line for line in found.lines() if line.get("message") == "coaching session stored"]
    assert [line["rep_id"] for line in lines] == ["rep-1", "rep-3"]
    assert {line["request_id"] for line in lines} == {CALLER["request"]}
    assert {line["dimension"] for line in lines} == {"discovery"}
    assert [line.get("user") for line in lines] == ["u-1", None]


def slow_request_named(found: Evidence) -> None:
    """A request over the threshold has one warning that says what it spent."""
    lines = [line for line in found.lines() if line["level"] == "WARNING" and "slow" in line["message"]]
    assert any("/api/calls/{call_id}/analyze" in str(line) for line in lines), found.lines()


CALL_COACH = Stack(
    "call_coach",
    drive_call_coach,
    {
        "sentry: capture_exception with user, call and correlation id": error(
            "HTTPStatusError", user="u-2", call_id=2, rep_id="rep-2"
        ),
        "metrics: api_requests_total": requests("/api/calls/{call_id}/analyze", "200", "POST"),
        "metrics: api_request_duration_seconds": requests("/api/calls/{call_id}/analyze", "502", "POST"),
        "metrics: claude_api_calls_total": metric(
            "gen_ai_client_operation_duration_seconds_count", 3, gen_ai_request_model="claude-opus-4-5"
        ),
        "metrics: claude_api_calls_total by status": metric(
            "gen_ai_client_operation_duration_seconds_count", 1, error_type="httpx.HTTPStatusError"
        ),
        "metrics: claude_input_tokens_total": metric("gen_ai_client_token_usage_sum", 1000, gen_ai_token_type="input"),
        "metrics: claude_output_tokens_total": metric("gen_ai_client_token_usage_sum", 600, gen_ai_token_type="output"),
        "metrics: cache_hits_total (redis)": metric(
            "cache_lookups_total", 1, cache_result="hit", cache_key_pattern="call:?"
        ),
        "metrics: cache_misses_total (redis)": metric(
            "cache_lookups_total", 1, cache_result="miss", cache_key_pattern="call:?"
        ),
        "metrics: cache_hits_total (own)": metric(
            "cache_lookups_total", 1, cache_name="rep_insights", cache_result="hit"
        ),
        "metrics: cache_size": metric("coaching_cache_size"),
        "metrics: db_queries_total, db_query_duration_seconds": metric(
            "db_client_operation_duration_seconds_count", 2, db_operation_name="SELECT", db_collection_name="calls"
        ),
        "metrics: db_connections_active": metric("db_client_connection_count", 0, db_client_connection_state="used"),
        "metrics: calls_analyzed_total": metric("coaching_calls_analyzed_total", 2),
        "metrics: coaching_sessions_created_total": metric("coaching_sessions_created_total", 2),
        "metrics: coaching_session_duration_seconds": metric(
            "coaching_session_duration_seconds_count", 2, outcome="success"
        ),
        "logs: JSON with call, rep, user and extra fields": two_sessions,
        "logs: correlation id in, out and on": echoed("analyze"),
        "logs: correlation id of a tool call": correlated("analyzing call"),
        "profiler: a block and a function are timed": span("ask claude"),
        "profiler: slow requests": slow_request_named,
        "fastmcp: a tool call is an operation": span("mcp.tool analyze_call"),
        "health: /api/health with checks and latencies": checks(
            "/api/health", database=True, redis=False, claude_api=False, backend_api=False
        ),
        "health: version and environment": resource(version="1.0.0", environment="production"),
    },
    environ={
        "ENVIRONMENT": "production",
        "APP_VERSION": "1.0.0",
        "ANTHROPIC_URL": "{outside}",
        "OTEL_DISTRO_SLOW_REQUEST": "1",
        "OTEL_DISTRO_HEALTH_HTTP": "claude_api={outside}/,backend_api={outside}/health",
    },
)
