"""Kafka between two tiers: partitioned by trace id, a consumer group is what brings whole traces together."""

from __future__ import annotations

from typing import Any

from scripts.collectorgen import parts

_BROKERS = ["${env:KAFKA_BROKERS:-127.0.0.1:9092}"]
_TOPIC = "${env:KAFKA_TRACES_TOPIC:-otlp_spans}"


def exporter(*, tls: str) -> dict[str, Any]:
    """What an ingest tier writes."""
    return {
        "brokers": _BROKERS,
        "protocol_version": "2.1.0",
        **_tls(tls),
        "traces": {"topic": _TOPIC, "encoding": "otlp_proto"},
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
    return {
        "brokers": _BROKERS,
        **_tls(tls),
        "topic": _TOPIC,
        "#group_id": "Replicas of one group share the partitions; a new group begins with what is there.",
        "group_id": "${env:KAFKA_GROUP:-otelcol-consume}",
        "#session_timeout": "So long the partitions of a replica that was killed wait for another.",
        "session_timeout": "${env:KAFKA_SESSION_TIMEOUT:-10s}",
        "#commit_interval": "Offsets are committed behind what is decided and queued; a kill -9 doubles what was queued since the last commit.",
        "commit_interval": "${env:KAFKA_COMMIT_INTERVAL:-100ms}",
        "#drain_timeout": "At a stop, behind the group's last commit: a replica that is scaled away leaves nothing on its disk.",
        "drain_timeout": "${env:KAFKA_DRAIN_TIMEOUT:-5s}",
    }


def _tls(tls: str) -> dict[str, Any]:
    return {"tls": parts.client_tls(tls=tls)} if tls != "none" else {}
