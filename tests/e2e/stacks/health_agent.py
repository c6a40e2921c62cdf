"""What Health agent lists, item by item."""

from __future__ import annotations

from tests.e2e.stacks.items import Stack, correlated, echoed, metric, requests, span, told
from tests.e2e.stacks.rig import CALLER, Evidence


def drive_health_agent(found: Evidence) -> None:
    """Food, questions to two agents, one that fails, the bot and one of its updates that fails."""
    assert found.ask("food", "/food?food=apple", "POST", x_user="1").status == 201
    assert found.ask("nobody", "/food?food=apple", "POST", x_user="9").status == 404
    for _ in range(2):
        assert found.ask("chat", "/chat?question=hi", "POST", x_user="1").status == 200
    assert found.ask("gpt4", "/chat?question=what&agent=gpt4", "POST", x_user="2").status == 200
    assert found.ask("unhandled", "/chat?question=broken", "POST", x_user="3").status == 500
    for text in ("hello", "broken update"):
        update = {"from": 2, "chat": "c-1", "text": text}
        assert found.ask(text, "/telegram", "POST", update).status == 202
    found.sentry.wait_for(lambda sentry: len(sentry.events) >= 2, what="both events")


def bot_error(found: Evidence) -> None:
    """The update that failed is one event, with the bot's user, beside the request's."""
    events = [event for event in found.sentry.events if "HTTPStatusError" in str(event.get("exception"))]
    assert sorted(event["user"]["id"] for event in events) == ["2", "3"]
    bot = next(event for event in events if event["user"]["id"] == "2")
    assert told(bot, "chat") == "c-1"
    assert "claude-opus-4-5" in str(found.span("agent call", agent="claude", model="claude-opus-4-5").attributes)
    assert bot["contexts"]["trace"]["trace_id"]


def unhandled(found: Evidence) -> None:
    """The exception nobody handled is one event with user, request id and operation."""
    event = next(e for e in found.sentry.events if (e.get("user") or {}).get("id") == "3")
    assert CALLER["request"] in str(event)
    assert event["transaction"] == "POST /chat"


HEALTH_AGENT = Stack(
    "health_agent",
    drive_health_agent,
    {
        "sentry: unhandled exceptions with user, request id and operation": unhandled,
        "sentry: bot errors": bot_error,
        "sentry: transactions of API endpoints": span("POST /food", http__route="/food"),
        "http_requests_total, http_request_duration_seconds": requests("/food", "201", "POST"),
        "http_errors_total": metric(
            "http_server_request_duration_seconds_count", 1, http_route="/chat", error_type="httpx.HTTPStatusError"
        ),
        "db_queries_total, db_query_duration_seconds by type and table": metric(
            "db_client_operation_duration_seconds_count",
            1,
            db_operation_name="INSERT",
            db_collection_name="food_entries",
        ),
        "db_connection_pool_size": metric("db_client_connection_max", 5),
        "db_connection_pool_available": metric("db_client_connection_count", 1, db_client_connection_state="idle"),
        "agent_calls_total, agent_call_duration_seconds (claude)": metric(
            "gen_ai_client_operation_duration_seconds_count", 1, gen_ai_provider_name="anthropic"
        ),
        "agent_calls_total (gpt4)": metric(
            "gen_ai_client_operation_duration_seconds_count", 1, gen_ai_provider_name="openai"
        ),
        "agent_tokens_used_total": metric("gen_ai_client_token_usage_sum", 500, gen_ai_token_type="input"),
        "cache_operations_total (hit)": metric("cache_lookups_total", 1, cache_name="answers", cache_result="hit"),
        "cache_hit_rate: both sides of the division": metric("cache_lookups_total", 2, cache_name="answers"),
        "/metrics on the service's own port": lambda found: found.samples(),
        "request_id of each request": echoed("chat"),
        "logs with the request's ids": correlated("food entry saved"),
        "query tracking without a decorator": span("INSERT food_entries"),
    },
    environ={
        "ENABLE_SENTRY": "true",
        "SENTRY_ENVIRONMENT": "production",
        "SENTRY_TRACES_SAMPLE_RATE": "1.0",
        "ENABLE_PROMETHEUS": "true",
        "AGENT_URL": "{outside}",
    },
)
