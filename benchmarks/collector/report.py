"""A run as Markdown: the tables of the report, and the page that turns spans a second into machines."""

from __future__ import annotations

import sys
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.collector import plot
from benchmarks.collector.results import FILE, PLANNED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.collector.results import Results

_HERE = Path(__file__).resolve().parent
PAGE = _HERE.parents[1] / "docs" / "sizing.md"

PLAIN = "gateway"
PRODUCTION = "gateway, `--tls=mtls --token --redaction`, senders use gzip"
AGENT = "agent"
AGENT_PRODUCTION = "agent, `--tls=mtls --token --redaction`, senders use gzip"
SAMPLING = "sampling"
_RATES = (1_000, 5_000, 10_000, 20_000, 50_000, 100_000)
_QUEUES = (1.0737, 10, 50, 100, 500)  # GB of OTELCOL_QUEUE_BYTES; the first is the default of 1 GiB
_MB, _GB = 1e6, 1e9


def write(results: Results, directory: Path) -> None:
    """`report.md` and the plot beside the figures; the page when these are the committed ones."""
    (directory / "report.md").write_text(markdown(results))
    try:
        plot.draw(results, directory)
    except ImportError as missing:
        print(f"collector-bench: no plot: {missing}", file=sys.stderr)
    if directory.resolve() == FILE.parent:
        PAGE.write_text(page(results))


def markdown(results: Results) -> str:
    """The report of a run."""
    meta = results.meta
    head = (
        f"# The collector, {meta['date']}\n\n{meta['machine']}; load average {meta['load_before']:.2f} before; "
        f"{meta['rounds']} rounds of {meta['seconds']:g} s, "
        "of which the least CPU time counts. Spans of 15 attributes, "
        f"{results.queued_a_span:.0f} bytes, up to 512 a request from 32 processes."
    )
    parts = (head, "## Asked for", asked(results), "## Cost", costs(results), "## Backlog", backlog(results))
    return "\n\n".join((*parts, _build(results))).rstrip() + "\n"


def page(results: Results) -> str:
    """docs/sizing.md."""
    meta = results.meta
    return (
        (_HERE / "page.md")
        .read_text()
        .format(
            date=meta["date"],
            machine=meta["machine"],
            bytes=f"{results.queued_a_span:.0f}",
            disk=f"{results.disk_a_span:.0f}",
            counted=f"{results.queued_a_span * 1000 * 3600 / _GB:.1f}",
            hour=f"{results.disk_a_span * 1000 * 3600 / _GB:.1f}",
            rate=f"{meta['rate']:,}",
            planned=f"{PLANNED:.0%}",
            rounds=meta["rounds"],
            seconds=f"{meta['seconds']:g}",
            load=f"{meta['load_before']:.1f}",
            machines=machines(results),
            outages=outages(results),
            costs=costs(results),
            backlog=backlog(results),
            asked=asked(results),
            build=_build(results),
            sampling_memory=f"{results.row(SAMPLING).anonymous / meta['rate'] * 1000 / _MB:.0f}",
        )
    )


def machines(results: Results) -> str:
    """Cores and replicas by spans a second."""
    columns = {
        "gateway": PLAIN,
        "gateway, mTLS, token, redaction, gzip": PRODUCTION,
        "sampling": SAMPLING,
        "agent": AGENT,
        "agent, mTLS, token, redaction, gzip": AGENT_PRODUCTION,
    }
    rows = []
    for rate in _RATES:
        cells = []
        for title in columns.values():
            cores = results.row(title).cores * rate / 1000 / PLANNED
            replicas = "" if title.startswith(AGENT) or title == SAMPLING else f", {max(2, ceil(cores / 2))} x 2"
            cells.append(f"{cores:.2f}{replicas}")
        rows.append((f"{rate:,}", *cells))
    return _table(("spans/s", *columns), rows)


def outages(results: Results) -> str:
    """How long a queue lasts."""
    rows = []
    for size in _QUEUES:
        spans = size * _GB / results.queued_a_span
        name = "1 GiB, the default" if size == _QUEUES[0] else f"{size:g} GB"
        disk = f"{spans * results.disk_a_span / _GB:.1f} GB"
        rows.append((name, disk, f"{spans / 1e6:.1f} million", *(_duration(spans / rate) for rate in _RATES)))
    heads = (f"{rate:,}/s" for rate in _RATES)
    return _table(("`OTELCOL_QUEUE_BYTES`", "on the disk", "spans", *heads), rows)


def costs(results: Results) -> str:
    """Every setup at the fixed rate."""
    rows = [
        (
            row.title,
            f"{row.cpu_us:.1f}",
            f"{row.cores:.3f}",
            f"{row.anonymous / _MB:.0f}",
            f"{row.p99_ms:.0f}" if row.p99_ms else "",
            f"{row.missing}, {row.duplicates}",
        )
        for row in results.steady()
    ]
    heads = ("", "CPU µs a span", "cores for 1,000 spans/s", "memory MB", "p99 of answers ms")
    return _table((*heads, "missing, twice"), rows)


def backlog(results: Results) -> str:
    """How memory, disk and CPU went while a backlog was filled and drained."""
    names = {
        "steady": "10,000 spans/s, both backends well",
        "fill": "both refuse, senders as fast as they can",
        "full": "both refuse, 10,000 spans/s",
        "drain": "both back, 10,000 spans/s arriving",
        "after": "10,000 spans/s, nothing waits",
    }
    rows = []
    for phase, title in names.items():
        moments = results.moments(phase)
        seconds = moments[-1]["seconds"] - moments[0]["seconds"]
        rows.append(
            (
                title,
                f"{seconds:.0f}",
                f"{results.most('anonymous', phase) / _MB:.0f}",
                f"{results.most('waiting', phase) / _GB:.2f}",
                f"{results.most('disk', phase) / _GB:.2f}",
                f"{results.backlog['cpu'][phase]:.2f}",
            )
        )
    table = _table(("phase", "seconds", "memory MB, most", "waiting GB", "disk GB, most", "cores"), rows)
    found, times = results.backlog, results.backlog["drained_a_second"] / results.meta["rate"]
    return (
        f"{table}\n\n{found['sent']:,} spans were acknowledged, {found['refused']:,} refused; "
        f"{found['missing']} missing and {found['duplicates']} twice in the backends. {found['backlog_spans']:,} spans "
        f"waited for each backend; they drained in {found['drain_seconds']:.0f} s at {found['drained_a_second']:,.0f} "
        f"spans/s to each, those that kept arriving included: {times:.1f} x arrival."
    )


def asked(results: Results) -> str:
    """What the project asks of itself."""
    rows = [
        (f"{row.title}: one core, flat out", f">= {row.wanted:,}", f"{row.a_core:,.0f}", f"{row.spans_a_second:,.0f}")
        for row in results.flat_out()
    ]
    halves = [f"{results.held(phase, half) / _MB:.0f} MB" for phase in ("fill", "drain") for half in (0, 1)]
    rows.append(
        (
            f"memory while {results.most('waiting') / _GB:.1f} GB of backlog is written and drained, the most",
            "flat",
            "",
            f"first half written {halves[0]}, second {halves[1]}; first half drained {halves[2]}, second {halves[3]}",
        )
    )
    drained = f"{results.backlog['drained_a_second']:,.0f}"
    rows.append(("drain on two cores, spans/s", f">= {2 * results.meta['rate']:,}", "", drained))
    return _table(("", "asked", "by CPU time", "by the clock"), rows)


def _build(results: Results) -> str:
    build = results.raw.get("build")
    if not build:
        return ""
    programs = ", ".join(f"{name} {size / _MB:.1f} MB" for name, size in build["bytes"].items())
    return (
        f"Cold build of all with empty caches, downloads included, on {build['cores']} cores: "
        f"{build['seconds'] / 60:.1f} minutes, {build['cpu_seconds'] / 60:.1f} of CPU time; {programs}."
    )


def _duration(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
