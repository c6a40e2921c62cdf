"""Real servers for the tests and for `scripts/demo --stack`; nothing here needs pytest."""

from tests.servers.alertmanager import AlertmanagerServer, Message
from tests.servers.backend import TraceBackend
from tests.servers.base import MissingBinary, Server, ServerError, free_port
from tests.servers.collector import CollectorServer
from tests.servers.exposition import Sample, parse_exposition, total
from tests.servers.jaeger import JaegerServer
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer
from tests.servers.prometheus import PrometheusServer
from tests.servers.recorder import RecorderServer
from tests.servers.redis import RedisServer
from tests.servers.signals import LogEntry, MetricPoint, SpanEvent, SpanRecord
from tests.servers.sink import Answer, OtlpSink, Received
from tests.servers.stack import Stack
from tests.servers.tempo import TempoServer, tempo_line, tempo_name, tempo_or_standin
from tests.servers.waiting import http_get, http_json, http_post, wait_until

__all__ = [
    "AlertmanagerServer",
    "Answer",
    "CollectorServer",
    "JaegerServer",
    "KafkaServer",
    "LogEntry",
    "Message",
    "MetricPoint",
    "MissingBinary",
    "OtlpSink",
    "PostgresServer",
    "PrometheusServer",
    "Received",
    "RecorderServer",
    "RedisServer",
    "Sample",
    "Server",
    "ServerError",
    "SpanEvent",
    "SpanRecord",
    "Stack",
    "TempoServer",
    "TraceBackend",
    "free_port",
    "http_get",
    "http_json",
    "http_post",
    "parse_exposition",
    "tempo_line",
    "tempo_name",
    "tempo_or_standin",
    "total",
    "wait_until",
]
