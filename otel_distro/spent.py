"""What one request spent: calls and seconds of each kind, and statements that it ran again and again."""

from __future__ import annotations


class Spent:
    """Calls that have ended, by kind; plain numbers, written by whoever makes the call, without a lock.

    Attributes:
        sql_calls: statements.
        sql_seconds: how long they took, together.
        redis_calls: commands, a pipeline counting as one.
        redis_seconds: likewise.
        http_calls: requests to others.
        http_seconds: likewise, to the last byte of their answers.
    """

    __slots__ = ("http_calls", "http_seconds", "redis_calls", "redis_seconds", "sql_calls", "sql_seconds")

    def __init__(self) -> None:
        self.sql_calls = self.redis_calls = self.http_calls = 0
        self.sql_seconds = self.redis_seconds = self.http_seconds = 0.0


__all__ = ["Spent"]
