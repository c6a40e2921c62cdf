"""Real servers for the tests and for `scripts/demo --stack`; nothing here needs pytest."""

from tests.servers.base import MissingBinary, Server, ServerError, free_port
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.servers.signals import LogEntry, MetricPoint, SpanEvent, SpanRecord
from tests.servers.sink import Answer, OtlpSink, Received
from tests.servers.waiting import wait_until

__all__ = [
    "Answer",
    "LogEntry",
    "MetricPoint",
    "MissingBinary",
    "OtlpSink",
    "PostgresServer",
    "Received",
    "RedisServer",
    "Server",
    "ServerError",
    "SpanEvent",
    "SpanRecord",
    "free_port",
    "wait_until",
]
