"""The dashboards of deploy/grafana, read as Grafana reads them: panels within rows, queries, variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEPLOYED = Path(__file__).resolve().parents[1] / "deploy" / "grafana"
BOARDS: Mapping[str, Any] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((DEPLOYED / "dashboards").glob("*.json"))
}
"""Each dashboard by its file's name."""
VARIABLE = re.compile(r"\$\{?([a-zA-Z_]\w*)")
"""A use of a variable; `$1` is a group of label_replace."""
_VALUES = re.compile(r"label_values\((.+), (\w+)\)")


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    Attributes:
        board: the dashboard's file.
        panel: title of the panel.
        place: its letter there.
        expression: PromQL with Grafana's variables.
        legend: what a series is called.
    """

    board: str
    panel: str
    place: str
    expression: str
    legend: str


def panels(board: str) -> Iterator[dict[str, Any]]:
    """Every panel that asks, those of collapsed rows with them."""
    for panel in BOARDS[board]["panels"]:
        yield from panel.get("panels", ())
        if panel["type"] != "row":
            yield panel


def queries(board: str) -> Iterator[Query]:
    """Every query."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield Query(board, panel["title"], target["refId"], target["expr"], target["legendFormat"])


def variables(board: str) -> Mapping[str, tuple[str, str]]:
    """Each variable's selector and the label whose values it offers."""
    found = {}
    for variable in BOARDS[board]["templating"]["list"]:
        matched = _VALUES.fullmatch(variable["query"]["query"])
        assert matched, variable["query"]
        found[variable["name"]] = (matched[1], matched[2])
    return found


def filled(text: str, **values: str) -> str:
    """An expression with the values of variables; all that is not given stands for everything."""
    known = {"__rate_interval": "30s", "__range": "1m", **values}
    return VARIABLE.sub(lambda found: known.get(found[1], ".*"), text)
