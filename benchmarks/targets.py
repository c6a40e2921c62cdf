"""What the project promises, as figures of one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.results import PAIRED, Results
from benchmarks.stats import Series, middle, middle_ratio, scaled

Figure = Callable[[Results], float | None]


@dataclass(frozen=True, slots=True)
class Target:
    """One promise.

    Attributes:
        title: What is compared with what.
        limit: The most it may be.
        figure: Makes the value of a run; None where the run does not hold it. Raises `Incomplete` where ours left
            out telemetry: what is not done costs nothing.
        unit: "" for a share of the other, else a unit.
        floor: What the launcher alone takes of it, which nothing that it starts can go below.
    """

    title: str
    limit: float
    figure: Figure
    unit: str = ""
    floor: Figure | None = None

    def said(self, value: float) -> str:
        """A value or the limit as a person reads it: `1/27` for a share below a half."""
        if self.unit:
            return f"{value:.2f} {self.unit}"
        return f"1/{1 / value:.1f}" if 0 < value <= 0.5 else f"{value:.2f}"


def _share(case: str, other: str, ours: str = "ours", field: str = "cpu_us") -> Figure:
    def figure(results: Results) -> float | None:
        if not (results.has(case, ours) and results.has(case, other)):
            return None
        results.demand_telemetry(case, ours, sampled="-off" not in ours)
        return middle_ratio(results.added(case, ours, field), results.added(case, other, field))

    return figure


def _call_share(case: str) -> Figure:
    def figure(results: Results) -> float | None:
        results.demand_telemetry(case, "ours")
        return middle_ratio(results.series(case, "ours", PAIRED), results.series(case, "upstream", PAIRED))

    return figure


def _many_routes(results: Results) -> float | None:
    results.demand_telemetry("routes-1000", "ours")
    return _relative(results.series("routes-1000", "ours", PAIRED), results.series("plain", "ours", PAIRED))


def _many_routes_alone(results: Results) -> float | None:
    """The same where the caches hold as little of the telemetry in either case."""
    results.demand_telemetry("routes-1000", "ours")
    return _relative(results.series("routes-1000", "ours", PAIRED), results.series("walk-1000", "ours", PAIRED))


def _many_spans(results: Results) -> float | None:
    results.demand_telemetry("spans-1000", "ours")
    many = scaled(results.added("spans-1000", "ours", PAIRED), 1 / 1000)
    return _relative(many, results.added("spans-1", "ours", PAIRED))


def _relative(many: Series, one: Series) -> float | None:
    """Medians first: the difference of a single round is smaller than the noise of what it is taken from."""
    top, bottom = middle(many), middle(one)
    return top / bottom if top is not None and bottom else None


def _further_sentry(case: str) -> Figure:
    """Both targets against the collector alone."""

    def figure(results: Results) -> float | None:
        if not (results.has(case, "ours-sentry") and results.has(case, "ours")):
            return None
        results.demand_telemetry(case, "ours-sentry")
        return middle_ratio(results.added(case, "ours-sentry"), results.added(case, "ours"))

    return figure


def _errors_alone(results: Results) -> float | None:
    """What errors to Sentry cost beside tracing, against sentry-sdk with a tenth of its traces."""
    if not all(results.has("plain", name) for name in ("ours-errors", "ours", "sentry-0.1")):
        return None
    with_errors, without = middle(results.added("plain", "ours-errors")), middle(results.added("plain", "ours"))
    theirs = middle(results.added("plain", "sentry-0.1"))
    return (with_errors - without) / theirs if with_errors is not None and without is not None and theirs else None


def _start(program: str, ours: str = "ours", field: str = "cpu_ms") -> Figure:
    """What a start adds, of what upstream's adds."""

    def figure(results: Results) -> float | None:
        case = f"start-{program}"
        own, theirs = results.least_added(case, ours, field), results.least_added(case, "upstream", field)
        return own / theirs if own is not None and theirs else None

    return figure


def _lag(results: Results) -> float | None:
    results.demand_telemetry("lag", "ours")
    return middle(results.added("lag", "ours", "gaps_ms.p99.9"))


TARGETS = (
    Target("plain GET, added CPU: of contrib + SDK", 1 / 20, _share("plain", "upstream")),
    Target("plain GET, added CPU: of ddtrace", 1 / 12, _share("plain", "ddtrace")),
    Target("plain GET, added CPU: of prometheus-fastapi-instrumentator", 1 / 2, _share("plain", "prometheus")),
    Target(
        "unsampled, metrics off: of contrib with always_off",
        1 / 20,
        _share("plain", "upstream-off-bare", "ours-off-bare"),
    ),
    Target("unsampled, metrics on: of contrib with always_off", 1 / 12, _share("plain", "upstream-off", "ours-off")),
    Target("plain GET, added CPU with spans to Sentry too: of the collector alone", 1.3, _further_sentry("plain")),
    Target("GET of ten spans, the same", 1.3, _further_sentry("spans-9")),
    Target("plain GET, errors to Sentry and none happens: of sentry-sdk at 0.1", 1 / 10, _errors_alone),
    Target("SQLAlchemy statement, added CPU: of contrib", 1 / 8, _call_share("sql-50")),
    Target("Redis call, added CPU: of contrib", 1 / 8, _call_share("redis-50")),
    Target("httpx call, added CPU: of contrib", 1 / 8, _call_share("httpx-20")),
    Target("requests call, added CPU: of contrib", 1 / 8, _call_share("requests-20")),
    Target("added CPU at 1,000 routes, of that at one", 1.15, _many_routes),
    Target("the same, where 1,000 others are matched before the one", 1.15, _many_routes_alone),
    Target("added CPU a span at 1,000 spans a request, of that at one", 1.15, _many_spans),
    Target("event-loop gap p99.9 added at full load", 1.0, _lag, "ms"),
    Target("start of `pass`, `otel-distro run`: of upstream", 1 / 5, _start("pass")),
    Target(
        "start of `pass`, stock launcher: of upstream",
        1 / 4,
        _start("pass", "ours-stock"),
        floor=_start("pass", "floor"),
    ),
    Target("start of the four libraries, `otel-distro run`: of upstream", 1 / 4, _start("import")),
    Target(
        "start of the four libraries, stock launcher: of upstream",
        1 / 3,
        _start("import", "ours-stock"),
        floor=_start("import", "floor"),
    ),
    Target("resident memory of the four libraries: of upstream", 1 / 3, _start("import", field="rss_mb")),
)
