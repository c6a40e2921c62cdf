"""A run as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.peers import BASE as BASE_PACKAGES
from benchmarks.peers import PEERS
from benchmarks.results import BASE, PAIRED, Incomplete, Results
from benchmarks.rounds import OFTEN
from benchmarks.stats import Series, least, middle, scaled, spread
from benchmarks.targets import TARGETS
from benchmarks.workload.cases import CASES, OFF, SILENT

_TITLES = {case.name: case.title for case in CASES}
_CALLS = {"sql-50": "SQLAlchemy", "redis-50": "Redis", "httpx-20": "httpx", "requests-20": "requests"}
_COUNT = {case.name: case.calls for case in CASES}
_SERVER = ("plain", "routes-1000", "mixed", "sql-50", "body-1k", "body-1m", "error")
_NONE = "–"


def markdown(results: Results) -> str:
    """The whole report; parts that the run did not measure are left out."""
    parts = [
        _head(results),
        _targets(results),
        _server(results),
        _calls(results),
        _calls_inside(results),
        _spans(results),
        _paired(results),
        _lag(results),
        *(_wire(results, case) for case in ("uvicorn", "collector")),
        _starts(results),
        _encode(results),
        _delivery(results),
        _peers(results),
        _failures(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(results: Results) -> str:
    meta = results.meta
    return (
        f"# Benchmark of {meta['date']}\n\n"
        f"{meta['machine']}, Python {meta['python']}; {meta['rounds']} rounds of {meta['seconds']:g} s "
        f"({OFTEN} times as many of the plain request, and of what is compared inside one process of calls and of "
        f"1,000 routes, for the peers of the promises below), spans exported every {meta['interval_ms']} ms; "
        f"load average {meta['load_before']:.2f} before, {meta['load_after']:.2f} after.\n\n"
        "CPU time is that of all threads of the process, the export included, up to the flush that ends a round. "
        "Figures are medians of differences or ratios to bare FastAPI within the same round; in brackets the first "
        "and third quartile."
    )


def _targets(results: Results) -> str:
    rows = []
    for target in TARGETS:
        try:
            value = target.figure(results)
        except Incomplete as reason:
            rows.append((target.title, "≤ " + target.said(target.limit), _NONE, f"**no**: {reason}"))
            continue
        if value is not None:
            verdict = "yes" if value <= target.limit else "**no**"
            floor = None if target.floor is None else target.floor(results)
            beside = "" if floor is None else f" (the launcher alone: {target.said(floor)})"
            rows.append((target.title, "≤ " + target.said(target.limit), target.said(value) + beside, verdict))
    return _table("What it must reach", ("", "limit", "measured", "reached"), rows)


def _server(results: Results) -> str:
    cases = [case for case in _SERVER if results.has(case, BASE)]
    rows = []
    for peer in PEERS:
        cells = [_request_cell(results, case, peer.name) for case in cases]
        if any(cell != _NONE for cell in cells):
            rows.append((peer.title, *cells))
    title = "Added CPU time of a request, µs (bare: its own)"
    return _table(title, ("", *(_TITLES[case] for case in cases)), rows)


def _request_cell(results: Results, case: str, peer: str) -> str:
    if peer == BASE:
        value = middle(results.series(case, peer))
        return _NONE if value is None else f"{value:,.0f}"
    times = results.times_bare(case, peer)
    return _NONE if times is None else f"{_middle_and_spread(results.added(case, peer))}, {times:.2f}×"


def _calls(results: Results) -> str:
    cases = [case for case in _CALLS if results.has(case, BASE) and results.has("plain", BASE)]
    able = [peer for peer in PEERS if peer.name != BASE and any(results.has(case, peer.name) for case in cases)]
    rows = [
        (peer.title, *(_middle_and_spread(results.added_a_call(case, peer.name)) for case in cases)) for peer in able
    ]
    return _table("Added CPU time of one call, µs", ("", *(_CALLS[case] for case in cases)), rows if cases else [])


def _calls_inside(results: Results) -> str:
    rows = []
    for peer in PEERS:
        found = {case: results.series(case, peer.name, PAIRED) for case in _CALLS}
        if any(middle(values) is not None for values in found.values()):
            cells = (_middle_and_spread(scaled(values, 1 / _COUNT[case])) for case, values in found.items())
            rows.append((peer.title, *cells))
    title = "The same, compared inside one process by turns with and without that library's telemetry, µs"
    return _table(title, ("", *_CALLS.values()), rows)


def _spans(results: Results) -> str:
    rows = []
    for peer in PEERS:
        if peer.name != BASE and results.has("spans-1000", peer.name):
            one = results.added_a_call("spans-1", peer.name, without="spans-0")
            many = results.added_a_call("spans-1000", peer.name, without="spans-0")
            rows.append((peer.title, _middle_and_spread(one), _middle_and_spread(many)))
    return _table("Added CPU time of a span by hand, µs", ("", "1 a request", "1,000 a request"), rows)


def _paired(results: Results) -> str:
    series = {case.name: results.series(case.name, "ours", PAIRED) for case in CASES if case.against == OFF}
    series |= {
        case.name: scaled(results.added(case.name, "ours", PAIRED), 1 / case.calls)
        for case in CASES
        if case.against not in ("", OFF, SILENT)
    }
    rows = [
        (_TITLES[case], _middle_and_spread(values)) for case, values in series.items() if middle(values) is not None
    ]
    title = "Added by otel-distro, compared inside one process, µs of the request's own thread"
    return _table(title, ("", "of a request, or of a span by hand"), rows)


def _lag(results: Results) -> str:
    fields = ("p50", "p99", "p99.9", "max")
    rows = [
        (peer.title, *(_number(results.series("lag", peer.name, f"gaps_ms.{field}"), 3) for field in fields))
        for peer in PEERS
        if results.has("lag", peer.name)
    ]
    title = "How long the event loop is held at full load, ms a turn with one plain GET"
    return _table(title, ("", *fields), rows)


def _wire(results: Results, case: str) -> str:
    rows = []
    for peer in PEERS:
        if results.has(case, peer.name):
            rps = _number(results.series(case, peer.name, "rps"), 0)
            times = results.times_bare(case, peer.name)
            cpu = f"{_number(results.series(case, peer.name), 0)} ({times:.2f}×)"
            latency = (_number(results.series(case, peer.name, field), 1) for field in ("p50", "p99", "p99.9"))
            rows.append((peer.title, rps, cpu, *latency))
    behind = "a real collector" if case == "collector" else "the counting sink"
    columns = ("", "requests/s", "CPU µs a request", "p50 ms", "p99 ms", "p99.9 ms")
    return _table(f"A real uvicorn, one worker, 16 connections, behind it {behind}", columns, rows)


def _starts(results: Results) -> str:
    rows = []
    for peer in PEERS:
        cells = [_start_cell(results, f"start-{program}", peer.name, "cpu_ms") for program in ("pass", "import", "use")]
        memory = [_start_cell(results, f"start-{program}", peer.name, "rss_mb") for program in ("import", "use")]
        if any(cell != _NONE for cell in cells):
            rows.append((peer.title, *cells, *memory))
    columns = (
        "",
        "CPU ms, `python -c pass`",
        "CPU ms, four libraries imported",
        "CPU ms, and used",
        "resident MB, imported",
        "resident MB, used",
    )
    return _table(
        "Start, added to bare (bare: its own): the least of all rounds, in brackets the median", columns, rows
    )


def _start_cell(results: Results, case: str, peer: str, field: str) -> str:
    if not results.has(case, peer):
        return _NONE
    if peer == BASE:
        return f"{least(results.series(case, peer, field)):.1f} ({_number(results.series(case, peer, field), 1)})"
    added = middle(results.added(case, peer, field))
    return f"{results.least_added(case, peer, field):+.1f} ({added:+.1f})"


def _encode(results: Results) -> str:
    rows = [
        (
            peer.title,
            _number(results.series("encode", peer.name), 2),
            _number(results.series("encode", peer.name, "bytes"), 0),
        )
        for peer in PEERS
        if results.has("encode", peer.name)
    ]
    return _table("OTLP encoding of a span of ten attributes, batches of 512", ("", "CPU µs", "bytes"), rows)


def _delivery(results: Results) -> str:
    rows = []
    for peer in PEERS:
        found = results.delivery(peer.name)
        if found is not None:
            sent, arrived, metrics = found
            share = f"{100 * arrived / sent:.2f} %"
            rows.append((peer.title, f"{sent:,}", f"{arrived:,}", share, f"{metrics:,}" if metrics else _NONE))
    return _table("Delivery", ("", "spans sent", "spans arrived", "", "metric exports arrived"), rows)


def _peers(results: Results) -> str:
    measured = {row["peer"] for row in results.rows}
    rows = []
    for peer in PEERS:
        if peer.name in measured:
            settings = " ".join(f"`{name}={value}`" for name, value in sorted(peer.environment.items()))
            held = results.meta["versions"].get(peer.name, {})
            packages = ", ".join(f"{name} {version}" for name, version in held.items()) or _NONE
            rows.append((f"{peer.title} (`{peer.name}`)", peer.why, packages, settings or _NONE))
    note = "In every environment: " + ", ".join(item.replace("==", " ") for item in BASE_PACKAGES) + "."
    return _table("Peers and their settings", ("", "why so", "packages", "variables"), rows, "---") + "\n\n" + note


def _failures(results: Results) -> str:
    rows = [(row["peer"], row["case"], f"`{row['failed']}`") for row in results.rows if "failed" in row]
    return _table("Could not be measured", ("peer", "case", "reason"), rows, "---")


def _middle_and_spread(series: Series) -> str:
    value, around = middle(series), spread(series)
    if value is None or around is None:
        return _NONE
    digits = 0 if abs(value) >= 100 else 1
    return f"{value:+,.{digits}f} [{around[0]:,.{digits}f}, {around[1]:,.{digits}f}]"


def _number(series: Series, digits: int) -> str:
    value = middle(series)
    return _NONE if value is None else f"{value:,.{digits}f}"


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], align: str = "---:") -> str:
    """A Markdown table under a heading; nothing where there is no row. `align` is for all but the first column."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    if not lines:
        return ""
    head = "| " + " | ".join(columns) + " |\n|" + "---|" + f"{align}|" * (len(columns) - 1)
    return f"## {title}\n\n{head}\n" + "\n".join(lines)
