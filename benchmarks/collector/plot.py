"""The plot of a run: CPU of each role and overlay, and a backlog over time (needs matplotlib)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.collector.results import Results

_OURS, _OTHER, _INK = "#0b7285", "#e8590c", "#343a40"
_PHASES = {"fill": "backends away,\nflat out", "drain": "backends back,\n10,000 spans/s"}


def draw(results: Results, directory: Path) -> None:
    """Write `plot.svg` into the directory.

    Raises:
        ImportError: there is no matplotlib.
    """
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"font.family": "DejaVu Sans", "font.size": 9, "svg.hashsalt": "collector", "text.color": _INK})
    figure, (cost, time) = plt.subplots(2, 1, figsize=(10, 8.5), height_ratios=(3, 2))
    _cost(cost, results)
    _backlog(time, results)
    meta = results.meta
    figure.text(0.01, 0.005, f"{meta['machine']}, {meta['date']}", fontsize=7)
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(directory / "plot.svg", metadata={"Date": None})


def _cost(axis: Any, results: Results) -> None:
    rows = results.steady()
    names = [row.title.replace("`", "") for row in rows]
    bars = axis.barh(names, [row.cpu_us for row in rows], color=_OURS, height=0.7)
    axis.bar_label(
        bars, [f"{row.cpu_us:.0f} µs, {row.a_core:,.0f} spans/s a core" for row in rows], padding=3, fontsize=8
    )
    axis.invert_yaxis()
    axis.set_title(
        f"CPU of the collector for a span at {results.meta['rate']:,} spans/s", loc="left", fontweight="bold"
    )
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.xaxis.set_visible(False)
    axis.set_xlim(0, 1.5 * max(row.cpu_us for row in rows))


def _backlog(axis: Any, results: Results) -> None:
    moments = results.moments()
    seconds = [moment["seconds"] for moment in moments]
    axis.fill_between(seconds, [moment["waiting"] / 1e9 for moment in moments], color=_OURS, alpha=0.25, lw=0)
    axis.plot(seconds, [moment["disk"] / 1e9 for moment in moments], color=_OURS, label="queue files on the disk")
    axis.plot(
        seconds, [moment["anonymous"] / 1e9 for moment in moments], color=_OTHER, label="memory without mapped files"
    )
    top = max(moment["disk"] for moment in moments) / 1e9
    for phase, words in _PHASES.items():
        axis.text(results.moments(phase)[0]["seconds"], top * 1.02, words, fontsize=8, va="bottom")
        axis.axvline(results.moments(phase)[0]["seconds"], color=_INK, lw=0.5, ls=":")
    axis.set_title("A backlog written and drained, GB (shaded: what waits)", loc="left", fontweight="bold", pad=22)
    axis.set_xlabel("seconds", loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, -0.1), ncols=2, fontsize=8)
