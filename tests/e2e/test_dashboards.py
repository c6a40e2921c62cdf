"""Dashboards of services: a real Prometheus answers every query, for a service that it scrapes and one that pushes."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from tests import promql
from tests.dashboards import BOARDS, DEPLOYED, VARIABLE, filled, panels, queries, variables
from tests.e2e.monitored import COLLECTOR, PUSHED, SCRAPED, Monitored
from tests.servers import http_json, wait_until
from tests.servers.binaries import promtool_binary

OURS = ("services", "service")
EVERY = sorted(BOARDS)
JOBS = [SCRAPED, PUSHED]
_FULL = "no queue runs over: exporters take what waits sooner than one request can fill it"
_TAKEN = "Prometheus takes every data point"
#: Panel and letter of what stays empty here, and why.
EMPTY = {
    ("Lost since the start, by reason", "A"): _FULL,
    ("Lost since the start, by reason", "C"): _FULL,
    ("Lost since the start, by reason", "E"): _TAKEN,
    ("Spans lost by service", "A"): _FULL,
    ("Log records and data points lost", "A"): _FULL,
    ("Log records and data points lost", "C"): _TAKEN,
}
#: Labels that come with what EMPTY speaks of (docs/metrics.md lists them).
UNSEEN = {
    "otel_sdk_processor_span_processed_total": {"error_type"},
    "otel_sdk_processor_log_processed_total": {"error_type"},
    "otel_sdk_exporter_metric_data_point_exported_total": {"error_type"},
}
_MADE = re.compile(r'"(\w+)", "\$1"')
_BUILT_IN = {"__rate_interval", "__range", "__data", "__field", "__url_time_range", "__all"}


def labels_of(watched: Monitored) -> dict[str, set[str]]:
    """Every metric of both jobs with the names of its labels."""
    labels: dict[str, set[str]] = {name: set(found) for name, found in UNSEEN.items()}
    for job in JOBS:
        for name, found in watched.metrics(job).items():
            labels.setdefault(name, set()).update(found)
    return labels


def missing(watched: Monitored, job: str) -> list[tuple[str, str, str]]:
    """Queries of both dashboards that have no number for this job, but for those that may have none."""
    found = []
    for query in (query for board in OURS for query in queries(board)):
        values = [sample.value for sample in watched.query(filled(query.expression, job=job))]
        if all(math.isnan(value) for value in values):
            found.append((query.board, query.panel, query.place))
    return [one for one in found if one[1:] not in EMPTY]


@pytest.mark.parametrize("job", JOBS)
def test_every_query_has_an_answer(watched: Monitored, job: str) -> None:
    """Whether a service is scraped or pushes, each query of each panel finds numbers of it."""
    left: list[tuple[str, str, str]] = []

    def answered() -> bool:
        left[:] = missing(watched, job)
        return not left

    try:
        wait_until(answered, seconds=30, what="all queries to have an answer")
    except TimeoutError:
        pytest.fail(f"nothing of {job} in {left}")


def test_what_may_stay_empty_is_there() -> None:
    """A panel that is renamed does not leave an exception behind."""
    known = {(query.panel, query.place) for board in OURS for query in queries(board)}
    assert [one for one in EMPTY if one not in known] == []


@pytest.mark.parametrize("board", OURS)
def test_every_query_names_its_metrics_with_braces(board: str) -> None:
    """A metric without braces would pass the test below unseen."""
    assert [(query.panel, query.place) for query in queries(board) if promql.bare(query.expression)] == []


@pytest.mark.parametrize("board", OURS)
def test_every_metric_and_label_is_there(watched: Monitored, board: str) -> None:
    """A name or a label that does not exist makes a panel that is empty for ever, or one that selects too much."""
    labels = labels_of(watched)
    texts = [query.expression for query in queries(board)] + [selector for selector, _ in variables(board).values()]
    used = [found for text in texts for found in promql.selected(text)]
    assert len(used) > 20
    assert [name for name, _ in used if name not in labels] == []
    unknown = [(name, promql.labels(chosen) - labels[name]) for name, chosen in used]
    assert [one for one in unknown if one[1]] == []


@pytest.mark.parametrize("board", OURS)
def test_every_label_of_a_group_or_legend_is_there(watched: Monitored, board: str) -> None:
    """What series are grouped by is a label of their metrics, and a legend names what they are grouped by."""
    labels = labels_of(watched)
    wrong = []
    for query in queries(board):
        known = {label for name, _ in promql.selected(query.expression) for label in labels.get(name, ())}
        known |= set(_MADE.findall(query.expression))
        grouped = promql.grouped(query.expression)
        if promql.selected(query.expression) and not grouped <= known:
            wrong.append((query.panel, grouped - known))
        named = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
        if grouped and not named <= grouped:
            wrong.append((query.panel, named - grouped))
    assert wrong == []


def test_event_streams_are_no_latency(watched: Monitored) -> None:
    """The life of a stream of events is in no quantile, while its requests are counted."""
    for job in JOBS:
        by_title = {(query.panel, query.place): filled(query.expression, job=job) for query in queries("service")}
        counted = watched.query(by_title["By route", "A"])
        timed = watched.query(by_title["Latency p95 by route", "A"])
        assert "/events" in {sample.labels.get("http_route") for sample in counted}
        routes = {sample.labels.get("http_route") for sample in timed}
        assert "/items/{item_id}" in routes
        assert "/events" not in routes


def test_what_always_fires_is_no_alert(watched: Monitored) -> None:
    """The heartbeat, which is there to be missed, is neither listed nor counted."""
    listed = next(query.expression for query in queries("services") if query.panel == "What fires")

    def fires() -> set[str]:
        return {sample.labels["alertname"] for sample in watched.query(listed)}

    wait_until(lambda: fires() == {"Noticed"}, seconds=20, what="what fires, and nothing else, to be listed")


def test_a_collector_is_no_service(watched: Monitored) -> None:
    """A collector's HTTP server measures what a service does, and is in no panel and in no list."""
    assert watched.query(f'http_server_request_duration_seconds_count{{job="{COLLECTOR}"}}')
    for query in queries("services"):
        jobs = {sample.labels.get("job") for sample in watched.query(filled(query.expression))}
        assert COLLECTOR not in jobs, query
    for board in OURS:
        assert {SCRAPED, PUSHED} <= offered(watched, board, "job") <= {SCRAPED, PUSHED}


def offered(watched: Monitored, board: str, variable: str, **values: str) -> set[str]:
    """What the list of a variable holds."""
    selector, label = variables(board)[variable]
    parameters = urlencode({"match[]": filled(selector, **values)})
    answer: Any = http_json(f"{watched.prometheus.url}/api/v1/label/{label}/values?{parameters}")
    return set(answer["data"])


def test_variables_offer_what_there_is(watched: Monitored) -> None:
    """Instances and routes of both kinds of jobs; services where a label tells them."""
    for job, services, least in ((SCRAPED, set[str](), 1), (PUSHED, {"monitored"}, 2)):
        assert offered(watched, "service", "service_name", job=job) == services
        assert len(offered(watched, "service", "instance", job=job)) >= least
        assert "/items/{item_id}" in offered(watched, "service", "route", job=job)


def test_one_instance_and_one_route_are_told_apart(watched: Monitored) -> None:
    """What is chosen is what is shown."""
    expression = next(query.expression for query in queries("service") if query.panel == "By route")
    crashed = f'http_server_request_duration_seconds_count{{job="{PUSHED}", http_route="/crash"}}'
    instances = {sample.labels["instance"] for sample in watched.query(crashed)}
    assert instances < offered(watched, "service", "instance", job=PUSHED)  # the supervisor pushes, too
    found = watched.query(filled(expression, job=PUSHED, instance=min(instances), route="/crash"))
    assert [sample.labels["http_route"] for sample in found] == ["/crash"]
    assert watched.query(filled(expression, job=PUSHED, instance="nobody")) == []


@pytest.mark.parametrize("job", JOBS)
def test_latency_leads_to_traces(watched: Monitored, job: str) -> None:
    """Queries with exemplars have some, each with the id of a trace."""
    asking = [panel for panel in panels("service") if any(target.get("exemplar") for target in panel["targets"])]
    latency = next(panel for panel in asking if panel["title"] == "Latency quantiles")
    expression = filled(latency["targets"][0]["expr"], job=job)
    wait_until(lambda: watched.prometheus.exemplars(expression), seconds=20, what="exemplars")
    found = watched.prometheus.exemplars(expression)
    assert all(re.fullmatch("[0-9a-f]{32}", exemplar["labels"]["trace_id"]) for exemplar in found)


@pytest.mark.parametrize("board", EVERY)
def test_every_query_is_promql(board: str, tmp_path: Path) -> None:
    """Prometheus' own parser reads each of them."""
    rules = [
        {"record": f"query:{place}", "expr": filled(query.expression)} for place, query in enumerate(queries(board))
    ]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run([promtool_binary(), "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("board", EVERY)
def test_every_panel_says_what_it_shows(board: str) -> None:
    """A title of its own, a description, a unit, a legend, and a data source that is provisioned."""
    sources = yaml.safe_load((DEPLOYED / "provisioning" / "datasources" / "datasources.yaml").read_text())
    known = {source["uid"] for source in sources["datasources"]}
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)
    for panel in panels(board):
        assert panel["title"], panel["id"]
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        for target in panel["targets"]:
            assert target["legendFormat"] or panel["type"] == "table", panel["title"]
            assert {panel["datasource"]["uid"], target["datasource"]["uid"]} <= known, panel["title"]


@pytest.mark.parametrize("board", EVERY)
def test_panels_have_a_place_of_their_own(board: str) -> None:
    """Ids are unique; panels of one level lie within the 24 columns and on no other."""
    rows = [panel for panel in BOARDS[board]["panels"] if panel["type"] == "row"]
    numbers = [panel["id"] for panel in [*panels(board), *rows]]
    assert len(set(numbers)) == len(numbers)
    for level in [BOARDS[board]["panels"], *(row["panels"] for row in rows)]:
        for panel in level:
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24, panel["title"]
        for one, other in combinations(level, 2):
            assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def overlap(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    """Whether two panels cover a common field of the grid."""
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


@pytest.mark.parametrize("board", EVERY)
def test_every_variable_is_defined(board: str) -> None:
    """In queries, and in the queries of other variables; and each one that is defined is used."""
    own = {variable["name"] for variable in BOARDS[board]["templating"]["list"]}
    used = set(VARIABLE.findall(json.dumps(BOARDS[board]))) - _BUILT_IN
    assert used == own


@pytest.mark.parametrize("board", EVERY)
def test_links_lead_to_dashboards_that_are_here(board: str) -> None:
    """Each link's dashboard exists and knows the variables that it is given."""
    known = {found["uid"]: {one["name"] for one in found["templating"]["list"]} for found in BOARDS.values()}
    for uid, rest in re.findall(r'"/d/([\w-]+)([^"]*)"', json.dumps(BOARDS[board])):
        assert set(re.findall(r"var-(\w+)=", rest)) <= known[uid], uid
