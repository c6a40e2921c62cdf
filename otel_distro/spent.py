"""What one request or operation spent: calls and seconds of each kind, and statements it ran again and again (N+1).

Filled by the instrumentations whenever a call of theirs ends, also where the request is not sampled: the access log
and the warning of a slow request want the numbers of every request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .callers import Line, application_line

if TYPE_CHECKING:
    # nothing of OpenTelemetry is needed to count
    from opentelemetry.trace import Span

REPEATS = 10
"""How often a statement may run before it is named, where no setting says otherwise."""

EVENT = "request.repeated_statement"
"""The event on a span that names a statement which ran too often."""

_MOST_STATEMENTS = 256
_MOST_FINDINGS = 8
_LONGEST_STATEMENT = 1_000
_TOLD = ("db.system.name", "db.query.summary", "db.query.text")


if TYPE_CHECKING:
    from typing import Protocol

    class Statement(Protocol):
        """What is known of a statement from its text alone; the same object each time it runs."""

        @property
        def name(self) -> str:
            """The span's."""
            ...

        @property
        def attributes(self) -> Mapping[str, Any]:
            """The span's, without anything of a single call."""
            ...


class Repeated(NamedTuple):
    """A statement that ran too often.

    Attributes:
        statement: which.
        line: of the application that ran it when it became too often; None where only libraries were at work.
    """

    statement: Statement
    line: Line | None

    def __str__(self) -> str:
        return self.statement.name if self.line is None else f"{self.statement.name} from {self.line}"


class Spent:
    """Calls that have ended, by kind; plain numbers without a lock, written by whoever makes a call.

    Seconds are summed up: those of calls side by side are more than the time that passed. A free-threaded build may
    miss a call where two threads of one request end theirs at the same moment.

    Args:
        repeats: how often a statement may run before it is named; 0 for any number.

    Attributes:
        sql_calls: statements.
        sql_seconds: how long they took.
        redis_calls: commands, a pipeline counting as one.
        redis_seconds: likewise.
        http_calls: requests to others.
        http_seconds: likewise, to the last byte of their answers.
        repeated: at most 8 statements that ran too often.
    """

    __slots__ = (
        "_counts",
        "_repeats",
        "http_calls",
        "http_seconds",
        "redis_calls",
        "redis_seconds",
        "repeated",
        "sql_calls",
        "sql_seconds",
    )

    def __init__(self, repeats: int = REPEATS) -> None:
        self.sql_calls = self.redis_calls = self.http_calls = 0
        self.sql_seconds = self.redis_seconds = self.http_seconds = 0.0
        self.repeated: tuple[Repeated, ...] = ()
        self._repeats = repeats
        self._counts: dict[Statement, int] = {}

    def sql(self, statement: Statement, seconds: float) -> None:
        """A statement has ended."""
        self.sql_calls += 1
        self.sql_seconds += seconds
        counts = self._counts
        count = counts.get(statement, 0) + 1
        if count > 1 or len(counts) < _MOST_STATEMENTS:
            counts[statement] = count
        # once: the count goes on
        if count == self._repeats + 1 and count > 1 and len(self.repeated) < _MOST_FINDINGS:
            self.repeated += (Repeated(statement, application_line()),)

    def redis(self, seconds: float) -> None:
        """A command or a pipeline has ended."""
        self.redis_calls += 1
        self.redis_seconds += seconds

    def http(self, seconds: float) -> None:
        """A request to another service has ended."""
        self.http_calls += 1
        self.http_seconds += seconds

    def count(self, statement: Statement) -> int:
        """How often `statement` ran."""
        return self._counts.get(statement, 0)

    @property
    def kinds(self) -> tuple[tuple[str, int, float], ...]:
        """Name, calls and seconds of each kind that was called at all."""
        every = (
            ("sql", self.sql_calls, self.sql_seconds),
            ("redis", self.redis_calls, self.redis_seconds),
            ("http", self.http_calls, self.http_seconds),
        )
        return tuple(kind for kind in every if kind[1])

    @property
    def attributes(self) -> dict[str, int | float]:
        """The same as a span has it: `request.sql.calls`, `request.sql.duration` in seconds, and so on."""
        found: dict[str, int | float] = {}
        for kind, calls, seconds in self.kinds:
            found[f"request.{kind}.calls"] = calls
            found[f"request.{kind}.duration"] = round(seconds, 6)
        return found

    def tell(self, span: Span) -> None:
        """Put the numbers on a recording span, and an event for each statement that ran too often."""
        # a late span of ours takes clean attributes without being put together for them
        getattr(span, "tell", span.set_attributes)(self.attributes)
        for finding in self.repeated:
            span.add_event(EVENT, self._described(finding))

    def _described(self, finding: Repeated) -> dict[str, str | int]:
        known = finding.statement.attributes
        described: dict[str, str | int] = {
            key: str(known[key])[:_LONGEST_STATEMENT] for key in _TOLD if known.get(key) is not None
        }
        described["request.sql.calls"] = self.count(finding.statement)
        if finding.line is not None:
            described["code.file.path"], described["code.line.number"], described["code.function.name"] = finding.line
        return described

    def __str__(self) -> str:
        """One line for people: `12 sql 800 ms, 3 redis 5 ms`."""
        return ", ".join(f"{calls} {kind} {seconds * 1000:.0f} ms" for kind, calls, seconds in self.kinds)


__all__ = ["EVENT", "REPEATS", "Repeated", "Spent"]
