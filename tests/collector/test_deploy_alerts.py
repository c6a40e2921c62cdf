"""Alerts: rules that fire when they should, a page for each, and the way from a dead service to who is woken."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests import promql
from tests.hardships.processes import Served
from tests.programs import OURS
from tests.servers import AlertmanagerServer, PrometheusServer, free_port, http_json, wait_until
from tests.servers.binaries import amtool_binary, promtool_binary

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
CASES = Path(__file__).parent / "rules"
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
FILES = sorted(path.name for path in promql.RULES.glob("*.yml"))


def alerts(file: str) -> list[dict[str, Any]]:
    """The alerts of a file of rules."""
    return [rule for rule in promql.rules(file) if "alert" in rule]


@pytest.mark.parametrize("file", FILES)
def test_alerts_fire_when_they_should_and_not_before(file: str) -> None:
    """promtool runs tests/collector/rules against the rules, each of which has a case in which it fires."""
    done = subprocess.run(
        [promtool_binary(), "test", "rules", str(CASES / file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = (CASES / file).read_text()
    named = {rule["alert"] for rule in alerts(file)}
    assert {name for name in named if not re.search(rf'alertname(="|: ){name}\b', cases)} == set()


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    """Whoever is woken finds what it means and what to do, under the address that the message names."""
    pages = {
        line.removeprefix("### ")
        for line in (ROOT / "docs" / "runbooks.md").read_text().splitlines()
        if line.startswith("### ")
    }
    wanted = {rule["alert"]: rule for file in FILES for rule in alerts(file)}
    assert pages == set(wanted)
    for name, rule in wanted.items():
        assert rule["annotations"]["runbook"] == f"docs/runbooks.md#{name.lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning", "none"}
        assert rule["annotations"]["summary"]


def test_alertmanager_takes_its_configuration() -> None:
    """amtool accepts file and templates, and sends each severity where it belongs."""
    subprocess.run([amtool_binary(), "check-config", str(ALERTMANAGER)], check=True, capture_output=True)
    for labels, receiver in (
        (["alertname=Watchdog", "severity=none"], "heartbeat"),
        (["alertname=ServiceDown", "severity=critical"], "woken"),
        (["alertname=ServiceSlow", "severity=warning"], "told"),
    ):
        command = [amtool_binary(), "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert done.stdout.strip() == receiver


def test_who_mutes_and_who_is_muted_exists() -> None:
    """An alert that was renamed would not be muted any more, and nobody would see why."""
    known = {rule["alert"] for file in FILES for rule in alerts(file)}
    named: set[str] = set()
    for rule in yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            if matcher.startswith("alertname"):
                named |= set(re.search(r'"(.+)"', matcher)[1].split("|"))  # type: ignore[index]  # all have one
    assert len(named) > 10
    assert named <= known


@pytest.fixture
def alertmanager(logs: Path) -> Iterator[AlertmanagerServer]:
    """Alertmanager with the deployed configuration."""
    with AlertmanagerServer(logs) as running:
        yield running


def send(alertmanager: AlertmanagerServer, found: list[dict[str, Any]]) -> None:
    """Alerts as Prometheus sends them."""
    place, body = f"http://{alertmanager.address}/api/v2/alerts", json.dumps(found).encode()
    request = urllib.request.Request(place, body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request).close()


def test_causes_mute_their_consequences_and_nothing_else(alertmanager: AlertmanagerServer) -> None:
    """What a dead target or collector explains is not told; what happens elsewhere is."""
    collector = {"severity": "critical", "job": "otel-collector"}
    causes = [
        {**collector, "alertname": "CollectorDown", "service_name": "otelcol-agent", "instance": "c"},
        {"alertname": "ServiceDown", "severity": "critical", "job": "app", "instance": "a"},
        {"alertname": "ServiceDependencyDown", "severity": "critical", "job": "app", "instance": "d"},
    ]
    consequences = [
        {"alertname": "TelemetryNotDelivered", "severity": "warning", "job": "app"},
        {"alertname": "ServiceNotReady", "severity": "critical", "job": "app", "instance": "a"},
        {"alertname": "ServiceNotReady", "severity": "critical", "job": "app", "instance": "d"},
    ]
    others = [
        {"alertname": "ServiceGone", "severity": "warning", "job": "shop/cart"},
        {"alertname": "ServiceFailures", "severity": "critical", "job": "app"},
        {"alertname": "ServiceNotReady", "severity": "critical", "job": "app", "instance": "b"},
    ]
    send(alertmanager, [{"labels": labels} for labels in (*causes, *consequences, *others)])

    def muted() -> list[dict[str, str]]:
        found = http_json(f"http://{alertmanager.address}/api/v2/alerts")
        return [alert["labels"] for alert in found if alert["status"]["inhibitedBy"]]

    def expect(labels: list[dict[str, str]]) -> None:
        wait_until(lambda: len(muted()) == len(labels), seconds=10, what="what is muted")
        found = sorted(str(sorted(each.items())) for each in muted())
        assert found == sorted(str(sorted(each.items())) for each in labels)

    expect(consequences)
    # no agent is left: nobody is woken again, and nothing can be heard of services that push
    none_left = {**collector, "alertname": "CollectorGone", "service_name": "otelcol-agent"}
    send(alertmanager, [{"labels": none_left}])
    expect([*consequences, none_left, others[0]])


def test_whoever_is_woken_reads_what_every_alert_says(alertmanager: AlertmanagerServer) -> None:
    """Alertmanager reads PagerDuty's details as YAML; of what becomes a list or a mapping the text is gone."""
    critical = [rule for file in FILES for rule in alerts(file) if rule["labels"]["severity"] == "critical"]
    said = {rule["alert"]: re.sub(r"\{\{.*?\}\}", "x", rule["annotations"]["summary"]) for rule in critical}
    assert len(said) > 10
    send(
        alertmanager,
        [
            {
                # of one job, one would mute another
                "labels": {"alertname": name, "severity": "critical", "job": name},
                "annotations": {"summary": text, "runbook": "page"},
            }
            for name, text in said.items()
        ],
    )
    wait_until(lambda: len(alertmanager.told("pagerduty")) >= len(said), seconds=30, what="a page each")
    read = [page["payload"]["custom_details"]["firing"] for page in alertmanager.told("pagerduty")]
    assert sorted(map(str, read)) == sorted(f"*critical* {text} ({name}, page)\n" for name, text in said.items())


def test_whoever_is_woken_reads_which_service_of_a_job_it_is(alertmanager: AlertmanagerServer) -> None:
    """A job may be several services (deploy/compose/scrape.yml); one that is named after its service says so once."""
    labels = {"alertname": "ServiceFailures", "severity": "critical"}
    services = [("app", "orders"), ("app", "inventory"), ("shop/orders", "orders"), ("alone", "")]
    send(
        alertmanager,
        [{"labels": {**labels, "job": job} | ({"service_name": name} if name else {})} for job, name in services],
    )
    wait_until(lambda: len(alertmanager.told("pagerduty")) >= len(services), seconds=30, what="a page each")
    assert sorted(page["payload"]["summary"] for page in alertmanager.told("pagerduty")) == [
        "1 firing: alone, ServiceFailures (critical)",
        "1 firing: app inventory, ServiceFailures (critical)",
        "1 firing: app orders, ServiceFailures (critical)",
        "1 firing: shop/orders, ServiceFailures (critical)",
    ]


def test_a_dead_service_wakes_somebody_and_a_living_one_ends_it(
    alertmanager: AlertmanagerServer, logs: Path, tmp_path: Path
) -> None:
    """From the service's end to PagerDuty, Slack and back, with nothing exchanged but waiting times and secrets."""
    # a busy machine may be late with a scrape or two
    rules = re.sub(r"for: \d+m", "for: 4s", (promql.RULES / "service.yml").read_text())
    port = free_port()
    environ = {
        "OTEL_SERVICE_NAME": "mortal",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
    }
    server = (*OURS, "uvicorn", "tests.hardships.application:app", "--port", "{port}", "--log-level", "warning")
    prometheus = PrometheusServer(
        logs, [f"127.0.0.1:{port}"], rules={"service.yml": rules}, alertmanager=alertmanager.address
    )
    with prometheus:
        with Served(server, environ, tmp_path / "first.log"):
            scraped = 'count(target_info{telemetry_distro_name="otel-distro"} and on (instance) up == 1)'
            prometheus.wait_for_value(scraped, 1)
            wait_until(lambda: alertmanager.told("heartbeat"), seconds=30, what="a heartbeat")
        pages = alertmanager.told("pagerduty")
        assert pages == []
        wait_until(lambda: alertmanager.told("pagerduty"), seconds=30, what="a page")
        (page, *_) = alertmanager.told("pagerduty")
        assert page["event_action"] == "trigger"
        assert page["payload"]["severity"] == "critical"
        assert page["payload"]["summary"] == "1 firing: app, ServiceDown (critical)"
        line = f"app: 127.0.0.1:{port} does not answer Prometheus (ServiceDown, docs/runbooks.md#servicedown)"
        details = page["payload"]["custom_details"]
        assert details["firing"] == f"*critical* {line}\n"
        assert not any(isinstance(text, (dict, list)) for text in details.values()), "text that is taken for YAML"
        wait_until(lambda: alertmanager.told("slack"), seconds=30, what="a line in the channel")
        (said,) = alertmanager.told("slack")[0]["attachments"]
        assert (said["color"], said["title"]) == ("danger", "1 firing: app, ServiceDown (critical)")
        assert line in said["text"]
        with Served(server, environ, tmp_path / "second.log"):
            wait_until(
                lambda: [told for told in alertmanager.told("pagerduty") if told["event_action"] == "resolve"],
                seconds=60,
                what="the end of the alarm",
            )
        ends = [told for told in alertmanager.told("pagerduty") if told["event_action"] == "resolve"]
        assert ends[0]["dedup_key"] == page["dedup_key"]
