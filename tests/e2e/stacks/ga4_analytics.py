"""What GA4 analytics lists, item by item."""

from __future__ import annotations

from tests.e2e.stacks.items import Stack, error, metric, requests, resource, span, told
from tests.e2e.stacks.rig import Evidence


def drive_ga4(found: Evidence) -> None:
    """Reports of two tenants, one that GA4 refuses, documents, a search, a stream, and a crash."""
    for _ in range(2):
        assert found.ask("report", "/analytics/p-1", x_tenant="t-1", x_user="u-1").json() == {"rows": 7}
    assert found.ask("refused", "/analytics/broken", x_tenant="t-2", x_user="u-2").status == 502
    assert found.ask("documents", "/documents", "POST", ["a", "b"], x_tenant="t-1", x_user="u-1").status == 201
    assert found.ask("search", "/search", "POST", {"text": "a"}, x_tenant="t-1").json()["results"] == ["a", "b"]
    stream = found.ask("stream", "/analytics/p-1/stream?events=3", x_tenant="t-1")
    assert stream.body.count(b"event: update") == 3
    assert found.ask("crash", "/crash", x_tenant="t-3", x_user="u-3").status == 500
    found.sentry.wait_for(lambda sentry: len(sentry.events) >= 3, what="all events")


def message_with_level(found: Evidence) -> None:
    """A message is an event of its own level, with its values."""
    event = found.event("GA4 quota threshold exceeded")
    assert event["level"] == "warning"
    assert told(event, "quota_usage") == "0.95"


def tenant_of_errors(found: Evidence) -> None:
    """An error has the tenant and the user of its request."""
    event = found.event("OverflowError")
    assert event["user"]["id"] == "u-3"
    assert "t-3" in str(event["tags"]) + str(event["contexts"])


def utilization(found: Evidence) -> None:
    """What is used, and what may be: the ratio is their division."""
    assert found.metric("db_client_connection_count", db_client_connection_state="used") >= 0
    assert found.metric("db_client_connection_max") >= 5


def breadcrumbs_of_calls(found: Evidence) -> None:
    """A breadcrumb before a risky call comes with the error of that call, with its data."""
    crumbs = found.event("HTTPStatusError")["breadcrumbs"]["values"]
    crumb = next(crumb for crumb in crumbs if crumb.get("message") == "fetching a report")
    assert crumb["category"] == "ga4"
    assert crumb["data"]["date_range"] == "last_7_days"


_T1 = {"tenant_id": "t-1"}

GA4 = Stack(
    "ga4_analytics",
    drive_ga4,
    {
        "ga4_api_calls_total": metric(
            "ga4_api_call_duration_seconds_count", 1, outcome="success", endpoint="runReport", **_T1
        ),
        "ga4_api_latency_seconds": metric(
            "ga4_api_call_duration_seconds_bucket", 1, endpoint="runReport", le="+Inf", **_T1
        ),
        "ga4_api_errors_total": metric(
            "ga4_api_call_duration_seconds_count", 1, tenant_id="t-2", error_type="httpx.HTTPStatusError"
        ),
        "ga4_quota_usage_ratio": metric("ga4_quota_used", 950, property_id="p-1", **_T1),
        "ga4_quota_remaining": metric("ga4_quota_remaining", 50, property_id="p-1", **_T1),
        "ga4_cache_hit_rate": metric("cache_lookups_total", 1, cache_name="ga4_reports", cache_result="hit"),
        "vector_search_latency_seconds": metric("vector_search_duration_seconds_count", 1, search_type="hybrid", **_T1),
        "vector_search_results_count": metric("vector_search_results_sum", 2, **_T1),
        "vector_embedding_duration_seconds": metric(
            "vector_embedding_duration_seconds_count", 2, model="text-embedding-3-small"
        ),
        "vector_embedding_batch_size": metric("vector_embedding_batch_size_sum", 3),
        "sse_active_connections": metric("sse_connection_active", 0, endpoint="/analytics/stream", **_T1),
        "sse_connection_duration_seconds": metric("sse_connection_duration_seconds_count", 1, **_T1),
        "sse_events_sent_total": metric("sse_events_sent_total", 3, event_type="update", **_T1),
        "http_requests_total, http_request_duration_seconds": requests("/analytics/{property_id}", "200", at_least=2),
        "http_request_size_bytes": metric("http_server_request_body_size_bytes_sum", 10, http_route="/search"),
        "http_response_size_bytes": metric("http_server_response_body_size_bytes_sum", 10, http_route="/search"),
        "connection_pool_utilization_ratio, connection_pool_active_connections": utilization,
        "database_query_duration_seconds, database_queries_total": metric(
            "db_client_operation_duration_seconds_count",
            1,
            db_operation_name="BATCH INSERT",
            db_collection_name="documents",
        ),
        "system_uptime_seconds": metric("process_uptime_seconds", 0),
        "system_cpu_usage_percent": metric("process_cpu_time_seconds_total", 0),
        "system_memory_usage_bytes": metric("process_memory_usage_bytes", 1_000_000),
        "active_tenants_count": metric("ga4_active_tenants", 3),
        "sentry: unhandled errors with tenant and user": tenant_of_errors,
        "sentry: manual capture": error("HTTPStatusError", user="u-2", operation="fetch_analytics", tenant_id="t-2"),
        "sentry: messages": message_with_level,
        "sentry: breadcrumbs": breadcrumbs_of_calls,
        "sentry: transactions and their spans": span("generate_embeddings"),
        "sentry: a step of a transaction": span("store embeddings"),
        "release and environment": resource(version="v1.2.3", environment="production"),
    },
    environ={
        "ENVIRONMENT": "production",
        "APP_VERSION": "v1.2.3",
        "SENTRY_TRACES_SAMPLE_RATE": "1.0",
        "SENTRY_PROFILES_SAMPLE_RATE": "0.1",
        "GA4_URL": "{outside}",
        "EMBEDDINGS_URL": "{outside}",
    },
)
