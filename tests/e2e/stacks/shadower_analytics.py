"""What Shadower Analytics lists, item by item."""

from __future__ import annotations

from tests.e2e.stacks.items import Stack, checks, echoed, error, metric, requests, resource, span, status_of
from tests.e2e.stacks.rig import CALLER, Evidence


def drive_shadower(found: Evidence) -> None:
    """A query that misses and one that hits the cache, a statement that fails, and a crash."""
    for name in ("miss", "hit"):
        assert found.ask(name, "/api/v1/analytics/ws-1", x_user="u-1").status == 200
    assert found.ask("broken", "/api/v1/broken/ws-2", x_user="u-2").status == 500
    assert found.ask("crash", "/api/v1/crash", x_user="u-3").status == 500
    found.sentry.wait_for(lambda sentry: len(sentry.events) >= 2, what="both events")


def context_lines(found: Evidence) -> None:
    """Every line of a request has its request, user and workspace id."""
    lines = [line for line in found.lines() if line.get("message") == "analytics calculated"]
    assert len(lines) == 2
    for line in lines:
        assert (line["request_id"], line["user"]) == (CALLER["request"], "u-1")
        assert line["workspace"] == "ws-1"
        assert line["trace_id"] == CALLER["trace"]


def one_trace(found: Evidence) -> None:
    """Server, own step, database, Redis and HTTP client are one trace."""
    spans = [s for s in found.spans if s.trace_id == CALLER["trace"]]
    kinds = {str(s.attributes.get("db.system.name") or s.kind) for s in spans}
    assert {"SERVER", "INTERNAL", "sqlite", "redis", "CLIENT"} <= kinds
    ids = {s.span_id for s in spans}
    assert all(s.parent_span_id in ids for s in spans if s.kind != "SERVER")


def breadcrumbs(found: Evidence) -> None:
    """An event comes with the breadcrumbs of its request."""
    crumbs = found.event("ZeroDivisionError")["breadcrumbs"]["values"]
    assert "about to divide" in [crumb.get("message") for crumb in crumbs]
    assert "cache miss" not in [crumb.get("message") for crumb in crumbs]


def third_party_levels(found: Evidence) -> None:
    """One variable sets the levels of libraries."""
    assert not [line for line in found.lines() if line["logger"].startswith("httpx")]


SHADOWER = Stack(
    "shadower_analytics",
    drive_shadower,
    {
        "logs: JSON with timestamp, service, environment and version": resource(
            version="1.0.0", environment="production"
        ),
        "logs: request_id, user_id, workspace_id, trace_id, span_id": context_lines,
        "logs: levels of third-party libraries": third_party_levels,
        "metrics: http_requests_total, http_request_duration_seconds": requests(
            "/api/v1/analytics/{workspace_id}", "200"
        ),
        "metrics: http_requests_in_progress": metric("http_server_active_requests", 0),
        "metrics: analytics_active_users": metric("analytics_active_users", 5, workspace="ws-1"),
        "metrics: analytics_credits_consumed_total": metric("analytics_credits_consumed_total", 10, workspace="ws-1"),
        "metrics: analytics_queries_total": metric("analytics_queries_total", 2, kind="users"),
        "metrics: database_connections": metric("db_client_connection_count", 1, db_client_connection_state="idle"),
        "metrics: database_query_duration_seconds": metric(
            "db_client_operation_duration_seconds_count", 1, db_operation_name="SELECT", db_collection_name="events"
        ),
        "metrics: database_errors_total": metric(
            "db_client_operation_duration_seconds_count",
            1,
            db_collection_name="missing_table",
            error_type="OperationalError",
        ),
        "metrics: cache_operations_total": metric("cache_lookups_total", 1, cache_result="hit"),
        "metrics: cache_operation_duration_seconds": metric(
            "db_client_operation_duration_seconds_count", 2, db_system_name="redis", db_operation_name="GET"
        ),
        "metrics: cache_size_bytes, cache_items_total": metric("analytics_cache_size_bytes"),
        "tracing: FastAPI, SQLAlchemy, Redis and HTTP clients in one trace": one_trace,
        "tracing: spans of own steps with attributes": span("calculate_analytics", workspace_id="ws-1"),
        "tracing: context goes on to called services": echoed("miss"),
        "sentry: unhandled errors": error("ZeroDivisionError"),
        "sentry: capture_exception with context": error("OperationalError", user="u-2", workspace_id="ws-2"),
        "sentry: breadcrumbs": breadcrumbs,
        "health: /health": status_of("/health", "healthy"),
        "health: /live": status_of("/live", "alive"),
        "health: /ready": status_of("/ready", "ready"),
        "health: /health/detailed with all dependencies": checks(
            "/health/detailed",
            down=("celery",),
            database=True,
            redis=False,
            celery=False,
            websocket=False,
            main_app=False,
        ),
    },
    environ={
        "APP_ENV": "production",
        "APP_VERSION": "1.0.0",
        "SENTRY_TRACES_SAMPLE_RATE": "1.0",
        "SENTRY_PROFILES_SAMPLE_RATE": "0.1",
        "MAIN_APP_URL": "{outside}",
        "WEBSOCKET_URL": "{websocket}/ws",
        "OTEL_DISTRO_LOG_LEVELS": "info,httpx=warning,httpcore=warning",
    },
)
