"""The cases: what is requested, of which application, and what it stands for. Imported by both sides."""

from __future__ import annotations

from dataclasses import dataclass

OFF = "off"
SILENT = "silent"
_SENTRY = frozenset({"bare", "ours", "ours-sentry"})
_PAIRED = frozenset({"bare", "ours"})
_PROMISED = frozenset(
    {
        *("bare", "ours", "ours-sentry", "ours-errors", "ours-off", "ours-off-bare"),
        *("upstream", "upstream-off", "upstream-off-bare", "ddtrace", "sentry-0.1", "prometheus"),
    }
)
"""Who is part of a promise about the plain request."""
_OURS = frozenset({"ours"})
_CALLERS = frozenset({"ours", "upstream"})
"""Who is part of a promise about calls."""
_TRACERS = frozenset({"bare", "ours", "upstream", "upstream-tuned", "native", "logfire"})


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of request.

    Attributes:
        name: Short name, unique, as the command line selects it.
        title: Name in tables.
        method: HTTP method.
        path: Path of the request.
        app: Application: "full" (a route a case), "one" (one route), "many" (1,000 routes) or "walk" (one route, before
            which those of "many" are matched in vain).
        size: Bytes of the request's and the response's body.
        fails: Whether the application raises.
        calls: Calls of a library within the request; 0 where none is the point.
        spans: Spans that a request must make at least, or it was not traced as it should be.
        needs: Backend it cannot run without: "" | "redis" | "http".
        peers: Names of the only peers that can do it; None is all.
        lag: Whether the loop's gaps are recorded too.
        quick: Whether the quick mode runs it.
        library: The library that is called, as its instrumentation is named.
        against: What its requests are compared with inside one process as well: `OFF`, the same without telemetry;
            `SILENT`, the same without that of the library; the name of another case; or "" for nothing.
        often: Names of the peers that have more rounds of it than of others: where a promise is a matter of
            microseconds, or of a small part of what is measured. Without "bare", of the comparison `against` alone.
    """

    name: str
    title: str
    path: str
    method: str = "GET"
    app: str = "full"
    size: int = 0
    fails: bool = False
    calls: int = 0
    spans: int = 1
    needs: str = ""
    peers: frozenset[str] | None = None
    lag: bool = False
    quick: bool = False
    library: str = ""
    against: str = ""
    often: frozenset[str] = frozenset()


def _calls(name: str, title: str, count: int, library: str, *, needs: str = "", quick: bool = False) -> Case:
    """So many calls of a library in one request, at the path that is named as the case is."""
    path = f"/{name.partition('-')[0]}/{count}"
    return Case(
        name,
        title,
        path,
        calls=count,
        spans=1 + count,
        needs=needs,
        quick=quick,
        library=library,
        against=SILENT,
        often=_CALLERS,
    )


CASES = (
    Case("plain", "plain GET", "/last/7", app="one", quick=True, against=OFF, often=_PROMISED),
    Case("lag", "plain GET, gaps of the loop", "/last/7", app="one", lag=True),
    Case("routes-1000", "last of 1,000 routes", "/last/7", app="many", against=OFF, often=_OURS),
    Case(
        "walk-1000",
        "one route, 1,000 others matched before",
        "/last/7",
        app="walk",
        peers=_PAIRED,
        against=OFF,
        often=_OURS,
    ),
    Case("mixed", "GET with Redis and SQL", "/mixed/7", spans=4, needs="redis", quick=True),
    _calls("sql-50", "50 SQL statements in a request", 50, "sqlalchemy", quick=True),
    _calls("redis-50", "50 Redis calls in a request", 50, "redis", needs="redis"),
    _calls("httpx-20", "20 httpx calls in a request", 20, "httpx", needs="http"),
    _calls("requests-20", "20 requests calls in a request", 20, "requests", needs="http"),
    Case("body-1k", "POST of 1 KB", "/body", "POST", size=1024),
    Case("body-1m", "POST of 1 MB", "/body", "POST", size=1024 * 1024),
    Case("error", "unhandled exception", "/error", fails=True),
    Case("spans-0", "no span by hand", "/spans/0", peers=_TRACERS),
    Case("spans-1", "1 span by hand", "/spans/1", calls=1, spans=2, peers=_TRACERS, against="spans-0"),
    Case("spans-9", "9 spans by hand", "/spans/9", calls=9, spans=10, peers=_SENTRY),
    Case(
        "spans-1000",
        "1,000 spans by hand",
        "/spans/1000",
        calls=1000,
        spans=1001,
        peers=_TRACERS,
        against="spans-0",
    ),
)
