"""Tail sampling: which whole traces are kept."""

from __future__ import annotations

from typing import Any


def tail_sampling() -> dict[str, Any]:
    """Errors, slow traces, listed routes and tenants, and a floor of everything."""
    return {
        "#decision_wait": "A trace is decided this long after its first span, or sooner once its root has ended.",
        "decision_wait": "${env:OTELCOL_SAMPLING_WAIT:-15s}",
        "decision_wait_after_root_received": "${env:OTELCOL_SAMPLING_WAIT_AFTER_ROOT:-3s}",
        "num_traces": "${env:OTELCOL_SAMPLING_TRACES:-100000}",
        "#block_on_overflow": "A full table makes senders wait; forgetting the oldest trace would be a silent loss.",
        "block_on_overflow": True,
        "#decision_cache": "Late spans follow the decision of their trace; far larger than the table, an id is 16 bytes.",
        "decision_cache": {"sampled_cache_size": 500000, "non_sampled_cache_size": 500000},
        "#drop_pending_traces_on_shutdown": "An orderly stop decides what it holds, and kill -9 loses it; behind Kafka it is read again: docs/collector.md.",
        "drop_pending_traces_on_shutdown": False,
        "policies": _policies(),
    }


def _policies() -> list[dict[str, Any]]:
    """A trace is kept when one of them says so."""
    return [
        {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
        {
            "name": "slow",
            "type": "latency",
            "latency": {"threshold_ms": "${env:OTELCOL_SAMPLING_SLOW_MS:-1000}"},
        },
        {
            "#name": "Traces of these routes are all kept: a regular expression on http.route.",
            "name": "routes",
            "type": "string_attribute",
            "string_attribute": {
                "key": "http.route",
                "values": ["${env:OTELCOL_SAMPLING_ROUTES:-^/checkout}"],
                "enabled_regex_matching": True,
            },
        },
        {
            "#name": "Listed tenants only: an attribute that a client may choose must not decide by itself.",
            "name": "tenants",
            "type": "string_attribute",
            "string_attribute": {
                "key": "${env:OTELCOL_SAMPLING_TENANT_KEY:-tenant.id}",
                "values": ["${env:OTELCOL_SAMPLING_TENANTS:-^no-tenant-is-listed}"],
                "enabled_regex_matching": True,
            },
        },
        {
            "#name": "The floor: this share of everything, by trace id, so that every collector decides alike.",
            "name": "floor",
            "type": "probabilistic",
            "probabilistic": {"sampling_percentage": "${env:OTELCOL_SAMPLING_PERCENT:-5}"},
        },
    ]
