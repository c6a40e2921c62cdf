"""Kafka between two tiers: partitioned by trace id, a consumer group is what brings whole traces together."""

from __future__ import annotations

from typing import Any

from scripts.collectorgen import parts


def _connection(tls: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "brokers": ["${env:KAFKA_BROKERS:-127.0.0.1:9092}"],
        "protocol_version": "2.1.0",
    }
    return settings | ({"tls": parts.client_tls(tls=tls)} if tls != "none" else {})


def exporter(*, tls: str) -> dict[str, Any]:
    """What an ingest tier writes."""
    return _connection(tls) | {
        "traces": {"topic": "${env:KAFKA_TRACES_TOPIC:-otlp_spans}", "encoding": "otlp_proto"},
        "#partition_traces_by_id": "All spans of a trace in one partition, and so at one consumer.",
        "partition_traces_by_id": True,
        "timeout": "10s",
        "producer": {
            "#required_acks": "The default of 1 loses what a leader had when it died.",
            "required_acks": "all",
            "compression": "${env:KAFKA_COMPRESSION:-zstd}",
            "#max_message_bytes": "Above max_span_bytes: the broker's message.max.bytes must allow it.",
            "max_message_bytes": 4000000,
            "#allow_auto_topic_creation": "The number of partitions is a decision; a topic made by accident has one.",
            "allow_auto_topic_creation": "${env:KAFKA_CREATE_TOPIC:-false}",
        },
        "retry_on_failure": parts.retry(),
        "sending_queue": parts.queue("kafka"),
    }


def receiver(*, tls: str) -> dict[str, Any]:
    """What a sampling tier reads."""
    return _connection(tls) | {
        "traces": {"topics": ["${env:KAFKA_TRACES_TOPIC:-otlp_spans}"], "encoding": "otlp_proto"},
        "group_id": "${env:KAFKA_GROUP:-otelcol-consume}",
        "#initial_offset": "A new group begins with what is there, not with what comes next.",
        "initial_offset": "earliest",
        "message_marking": {
            "#after": "An offset is committed behind the pipeline. tail_sampling holds spans in memory: kill -9 loses those.",
            "after": True,
            "on_error": False,
            "#on_permanent_error": "A message that nobody can read must not hold up its partition; it is counted as failed.",
            "on_permanent_error": True,
        },
        "error_backoff": {"enabled": True, "initial_interval": "1s", "max_interval": "30s", "max_elapsed_time": 0},
    }
