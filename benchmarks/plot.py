"""`python -m benchmarks.plot RESULTS.json DIRECTORY`: the plot of the README as SVG and PNG (needs matplotlib)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.peers import PEERS
from benchmarks.results import BASE, Results
from benchmarks.stats import Series, middle

_OURS, _OTHER, _LIMIT, _INK = "#0b7285", "#adb5bd", "#dee2e6", "#343a40"
_PANELS = (
    ("plain", "plain GET"),
    ("mixed", "GET with Redis and SQL"),
    ("sql-50", "one SQL statement"),
    ("redis-50", "one Redis call"),
    ("httpx-20", "one httpx call"),
    ("requests-20", "one requests call"),
)
_LEFT_OUT = ("-off", "-off-bare", "-stock", "floor")


def draw(results: Results, directory: Path) -> None:
    """Writes `plot.svg` and `plot.png` into the directory: added CPU time of each peer, a panel a case."""
    mpl.use("agg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"font.family": "DejaVu Sans", "font.size": 9, "svg.hashsalt": "bench", "text.color": _INK})
    panels = [(case, title, found) for case, title in _PANELS if (found := _bars(results, case))]
    if not panels:
        return
    rows = (len(panels) + 1) // 2
    tallest = max(len(found) for _, _, found in panels)
    figure, axes = plt.subplots(rows, 2, figsize=(11, rows * (0.8 + 0.26 * tallest)), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (_, title, found) in zip(axes.flat, panels, strict=False):
        _panel(axis, title, found)
    figure.suptitle("CPU time added to bare FastAPI, µs (less is better; everything exported)", fontsize=12)
    meta = results.meta
    figure.text(0.01, 0.005, f"{meta['machine']}, Python {meta['python']}, {meta['date']}", fontsize=7)
    figure.tight_layout(rect=(0, 0.02, 1, 0.98))
    figure.savefig(directory / "plot.svg", metadata={"Date": None})
    figure.savefig(directory / "plot.png", dpi=150, metadata={"Software": None})


def _bars(results: Results, case: str) -> list[tuple[str, str, float]]:
    """Title, colour and value of each bar, the longest last."""
    found = []
    for peer in PEERS:
        if peer.name == BASE or peer.name.endswith(_LEFT_OUT):
            continue
        series: Series = results.added(case, peer.name)
        if case not in ("plain", "mixed"):
            series = results.added_a_call(case, peer.name)
        value = middle(series)
        if value is not None:
            colour = _OURS if peer.name == "ours" else _LIMIT if peer.wrap else _OTHER
            found.append((peer.title, colour, value))
    return sorted(found, key=lambda bar: bar[2])


def _panel(axis: Any, title: str, bars: list[tuple[str, str, float]]) -> None:
    names, colours, values = zip(*bars, strict=True)
    drawn = axis.barh(names, [max(value, 0) for value in values], color=colours, height=0.72)
    labels = [f"{value:,.0f}" if abs(value) >= 10 else f"{value:.1f}" for value in values]
    axis.bar_label(drawn, labels, padding=3, fontsize=8)
    axis.invert_yaxis()
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.xaxis.set_visible(False)
    axis.margins(x=0.14)
    for label in axis.get_yticklabels():
        if label.get_text() == "otel-distro":
            label.set_fontweight("bold")


if __name__ == "__main__":
    draw(Results.load(Path(sys.argv[1])), Path(sys.argv[2]))
