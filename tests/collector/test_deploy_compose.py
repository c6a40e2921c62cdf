"""deploy/compose, images and grafana: what an engine would read is valid, starts, and shows what it promises."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.collector.container import run
from tests.collector.deployments import (
    DEPLOY,
    ROOT,
    compose,
    secrets,
    service_container,
    unread,
)
from tests.collector.traffic import send_traces
from tests.servers.binaries import agent_binary, collector_binary, promtool_binary

if TYPE_CHECKING:
    from tests.otlp_servers import Certificates
    from tests.servers import Stack

BACKENDS = {
    "TEMPO_OTLP_ENDPOINT": "tempo.example:4317",
    "JAEGER_OTLP_ENDPOINT": "jaeger.example:4317",
    "PROMETHEUS_OTLP_ENDPOINT": "https://prometheus.example:9090/api/v1/otlp",
    "LOGS_OTLP_ENDPOINT": "logs.example:4317",
}
DATASOURCES = DEPLOY / "grafana" / "provisioning" / "datasources" / "datasources.yaml"


def production(folder: Path) -> dict[str, Any]:
    """The production file with its required variables."""
    return compose("production.yaml", BACKENDS | {"OTELCOL_SECRETS": str(folder)})


def put_secrets(folder: Path, certificates: Certificates) -> None:
    """The files that docs/deployment.md asks for."""
    held = secrets(certificates)
    places = {
        "agent/tls": held["otelcol-agent-tls"],
        "agent/backend": held["otelcol-agent-client-tls"],
        "agent/tokens": held["otelcol-agent-tokens"],
        "gateway/tls": held["otelcol-gateway-tls"],
        "gateway/backend": held["otelcol-backend-ca"],
        "gateway/tokens": held["otelcol-gateway-tokens"],
    }
    for place, files in places.items():
        (folder / place).mkdir(parents=True)
        for name, text in files.items():
            (folder / place / name).write_text(text)


def test_every_collector_starts(tmp_path: Path, certificates: Certificates) -> None:
    """As the engine would start it: read-only, no shell, its own health check, and the files that are mounted."""
    put_secrets(tmp_path, certificates)
    services = production(tmp_path)["services"] | {"laptop": compose("dev.yaml", {})["services"]["otelcol"]}
    containers = {name: service_container(service) for name, service in services.items()}
    assert set(containers) == {"agent", "gateway", "laptop"}
    for name, container in containers.items():
        assert unread(container) == set(), name
    with ThreadPoolExecutor(3) as starts:
        problems = dict(zip(containers, starts.map(run, containers.values()), strict=True))
    assert {name: problem for name, problem in problems.items() if problem} == {}


def test_a_missing_certificate_stops_the_start(tmp_path: Path, certificates: Certificates) -> None:
    """One line names the file; nothing falls back to plain text."""
    put_secrets(tmp_path, certificates)
    (tmp_path / "gateway" / "tls" / "tls.key").unlink()
    problem = run(service_container(production(tmp_path)["services"]["gateway"]))
    assert "open /etc/otelcol/tls/tls.key: no such file" in problem
    assert "ended with status 1" in problem


@pytest.mark.parametrize("missing", BACKENDS)
def test_a_missing_variable_is_named(missing: str) -> None:
    """Compose itself refuses, and says what the variable should hold."""
    with pytest.raises(subprocess.CalledProcessError) as refused:
        compose("production.yaml", {name: value for name, value in BACKENDS.items() if name != missing})
    assert f"required variable {missing} is missing" in refused.value.stderr


def test_production_is_hardened(tmp_path: Path) -> None:
    """Limits, no root, no capabilities, read-only roots, ports on loopback, health checks, volumes, bounded logs."""
    for name, service in production(tmp_path)["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["user"] == "10001:10001", name
        assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"]), name
        assert {port["host_ip"] for port in service["ports"]} == {"127.0.0.1"}, name
        assert service["healthcheck"]["test"][0] == "CMD", "there is no shell for CMD-SHELL"
        assert service["logging"]["options"]["max-size"] == "10m", name
        assert [mount["target"] for mount in service["volumes"] if mount["type"] == "volume"] == ["/var/lib/otelcol"]


def test_files_that_are_mounted_or_built_are_there() -> None:
    """No bind mount makes an empty directory of a misspelt name; every Dockerfile is in the tree."""
    for service in compose("dev.yaml", {})["services"].values():
        for mount in service.get("volumes", ()):
            assert mount["type"] != "bind" or (ROOT / mount["source"]).exists(), mount
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_prometheus_of_the_laptop_scrapes_what_runs(tmp_path: Path) -> None:
    """promtool accepts what is mounted; each target is a service, and the applications publish /metrics for it."""
    services = compose("dev.yaml", {})["services"]
    for mount in services["prometheus"]["volumes"]:
        if mount["type"] == "bind":
            place = tmp_path / mount["target"].removeprefix("/etc/prometheus/")
            place.parent.mkdir(exist_ok=True)
            (shutil.copytree if Path(mount["source"]).is_dir() else shutil.copy)(mount["source"], place)
    assert list((tmp_path / "rules").glob("*.yml"))
    command = [promtool_binary(), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = yaml.safe_load((DEPLOY / "compose" / "scrape.yml").read_text())["scrape_configs"]
    targets = {target.split(":")[0] for job in jobs for part in job["static_configs"] for target in part["targets"]}
    assert targets <= set(services)
    (applications,) = (job["static_configs"] for job in jobs if job["job_name"] == "app")
    for part in applications:
        name = part["targets"][0].split(":")[0]
        assert part["labels"]["service_name"] == services[name]["environment"]["OTEL_SERVICE_NAME"]
        assert services[name]["environment"]["OTEL_EXPORTER_PROMETHEUS_HOST"] == "0.0.0.0"
    assert services["otelcol"]["environment"]["OTELCOL_TELEMETRY_HOST"] == "0.0.0.0"


def test_the_customers_program_compiles() -> None:
    """The one program that lies in a compose file is Python, and `$` in it is no variable."""
    (text,) = compose("dev.yaml", {})["services"]["customers"]["command"]
    compile(text, "customers", "exec")


@pytest.mark.parametrize("image", ["collector", "agent", "shop", "injection"])
def test_what_an_image_copies_is_there(image: str) -> None:
    """Every source of COPY exists, no image ends as root, and bases have a version."""
    text = (DEPLOY / "images" / f"{image}.Dockerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE)[-1] == "10001:10001"
    bases = [base for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE) if base != "scratch"]
    assert [base for base in bases if ":" not in base and "$" not in base] == []


def test_the_collectors_image_copies_all_that_its_build_needs(tmp_path: Path) -> None:
    """From the copied files alone the build script makes the key that it makes in the tree, so the same program."""
    for source in ("scripts/go-build", "scripts/build-collector"):
        (tmp_path / "scripts").mkdir(exist_ok=True)
        shutil.copy(ROOT / source, tmp_path / source)
    shutil.copytree(ROOT / "collector", tmp_path / "collector", ignore=shutil.ignore_patterns("configs"))
    for arguments, program in (([], collector_binary()), (["agent"], agent_binary())):
        command = [str(tmp_path / "scripts" / "build-collector"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.strip() == program


def test_grafana_finds_its_data_sources() -> None:
    """Every uid that a link names is provisioned, every URL is in Grafana's environment, and its address a service."""
    services = compose("dev.yaml", {})["services"]
    sources = yaml.safe_load(DATASOURCES.read_text())["datasources"]
    assert {source["type"] for source in sources} == {"prometheus", "tempo", "jaeger"}
    named = set(re.findall(r'"datasourceUid": "(\w+)"', json.dumps(sources)))
    assert named == {source["uid"] for source in sources}
    for source in sources:
        url = services["grafana"]["environment"][source["url"].removeprefix("$")]
        assert url.removeprefix("http://").split(":")[0] == source["type"]


def test_every_way_from_a_span_to_metrics_leads_somewhere(stack: Stack) -> None:
    """Each query of trace to metrics finds series of the span's service in a real Prometheus, and exemplars an id."""
    sources = {source["uid"]: source for source in yaml.safe_load(DATASOURCES.read_text())["datasources"]}
    links = sources["tempo"]["jsonData"]["tracesToMetrics"]
    assert links == sources["jaeger"]["jsonData"]["tracesToMetrics"]
    assert links["tags"] == [{"key": "service.name", "value": "service_name"}]
    send_traces(stack.collector.url, "linked", 3)
    series = 'service_name="linked"'
    stack.prometheus.wait_for_value(f"sum(traces_span_metrics_calls_total{{{series}}})", 6)
    of_spans = [link["query"] for link in links["queries"] if "traces_span_metrics" in link["query"]]
    assert len(of_spans) == 3
    for query in of_spans:
        # rate() needs two scrapes of a counter that moves; that the series are there is what can be misspelt
        metric, matchers = re.findall(r"(\w+)\{([^}]*)\}", query)[-1]
        assert stack.prometheus.query(f"{metric}{{{matchers.replace('$$__tags', series)}}}"), query
        stack.prometheus.query(query.replace("$$__tags", series))
    (exemplar,) = {
        name
        for found in stack.prometheus.exemplars("traces_span_metrics_duration_seconds_bucket")
        for name in found["labels"]
        if "trace" in name
    }
    destinations = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert {destination["name"] for destination in destinations} == {exemplar}
