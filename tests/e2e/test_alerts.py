"""Alert rules beside a real service: names and labels exist, expressions can be evaluated, and which of them fire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests import promql
from tests.e2e.monitored import COLLECTOR, PUSHED, SCRAPED, Monitored
from tests.servers import http_json, wait_until

#: Of Prometheus alone: a service that pushes has no target.
_OF_TARGETS = {"up"}
#: Labels that only some services have: a name in the scrape configuration.
_OPTIONAL = {"service_name"}
#: Of a process that pushes: the page of several says nothing of one of them.
_OF_PROCESSES = {"process_pid"}


def expressions() -> Iterator[tuple[str, str]]:
    """Name and expression of every rule."""
    for rule in promql.rules("service.yml"):
        yield rule.get("alert") or rule["record"], rule["expr"]


def test_every_expression_names_its_metrics_with_braces() -> None:
    """A metric without braces would pass the test below unseen."""
    assert promql.bare("sum by (a_b) (rate(c_d[5m])) > on (a_b) e_f{g_h='1'}") == {"c_d"}
    assert [(name, promql.bare(text)) for name, text in expressions() if promql.bare(text)] == []


@pytest.mark.parametrize("job", [SCRAPED, PUSHED])
def test_every_name_and_label_is_there(alerted: Monitored, job: str) -> None:
    """An alert on a name or a label that does not exist never fires, whether a service is scraped or pushes."""
    labels = alerted.metrics(job)
    optional = _OPTIONAL | (_OF_PROCESSES if job == SCRAPED else set())
    wrong = []
    for rule, text in expressions():
        for name, selector in promql.selected(text):
            if name in _OF_TARGETS and job == PUSHED:
                continue
            if name not in labels:
                wrong.append((rule, name))
            elif unknown := promql.labels(selector) - labels[name] - optional:
                wrong.append((rule, name, *unknown))
    assert wrong == []


def test_every_label_of_a_group_is_there(alerted: Monitored) -> None:
    """What series are grouped or matched by is a label of one of the metrics, else groups melt into one."""
    labels = {name for job in (SCRAPED, PUSHED) for found in alerted.metrics(job).values() for name in found}
    grouped = {label for _, text in expressions() for label in promql.grouped(text)}
    assert grouped - labels - {"__name__"} == {"cache_name"} - labels


def test_every_rule_can_be_evaluated(alerted: Monitored) -> None:
    """Prometheus evaluates all of them over these series without an error, such as two series where one is wanted."""

    def evaluated() -> list[Any]:
        groups = http_json(f"{alerted.prometheus.url}/api/v1/rules")["data"]["groups"]
        rules = [rule for group in groups if group["file"].endswith("service.yml") for rule in group["rules"]]
        return rules if rules and all(rule["health"] != "unknown" for rule in rules) else []

    rules = wait_until(evaluated, seconds=30, what="every rule to be evaluated")
    assert len(rules) == len(list(expressions()))
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] != "ok"] == []


def test_what_is_wrong_here_is_noticed_for_both_ways(alerted: Monitored) -> None:
    """Requests that fail, statements that fail, a pool that runs out, spans that were refused: pending or firing."""
    expected = {"ServiceFailures", "ServiceDatabaseFailures", "ServicePoolTimeouts", "TelemetryLost"}

    def noticed(job: str) -> set[str]:
        return {sample.labels["alertname"] for sample in alerted.query(f'ALERTS{{job="{job}"}}')}

    away = {"ServiceDown", "ServiceReplicaDown", "ServiceGone", "ServiceRestarts", "ServiceNotReady"}
    for job in (SCRAPED, PUSHED):
        wait_until(lambda job=job: expected <= noticed(job), seconds=60, what=f"the alerts of {job}")
        # a scrape or a check that a busy machine is late with makes one of these pending for a moment
        wait_until(lambda job=job: not noticed(job) & away, seconds=20, what=f"no other alert of {job}")
    # the requests of collectors have rules of their own
    assert not noticed(COLLECTOR) & {"ServiceFailures", "ServiceSlow", "ServiceVerySlow"}


def test_event_streams_are_no_latency(alerted: Monitored) -> None:
    """The life of a stream is left out of the histogram that latency alerts look at, and of nothing else."""
    recorded = dict(expressions())["job:http_server_request_duration_seconds_bucket:rate5m"]
    found = alerted.query(recorded.partition("(job, service_name, le)")[2])
    for job in (SCRAPED, PUSHED):
        routes = {sample.labels.get("http_route") for sample in found if sample.labels["job"] == job}
        assert "/items/{item_id}" in routes
        assert "/events" not in routes
        assert alerted.query(f'http_server_request_duration_seconds_count{{job="{job}", http_route="/events"}}')
