"""The configuration as text: what it may use, and what no change may take away."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.servers.binaries import collector_binary, jaeger_binary, promtool_binary
from tests.servers.collector import COLLECTOR_CONFIG

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("receiver", "processor", "connector", "exporter", "extension")
BACKENDS = ("otlp_grpc/tempo", "otlp_grpc/jaeger", "otlp_http/prometheus")


@cache
def effective_config() -> dict[str, Any]:
    """What the collector makes of config.yaml without a single variable set."""
    command = [collector_binary(), "print-config", f"--config={COLLECTOR_CONFIG}", "--format=json", "--mode=unredacted"]
    result = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True)
    config: dict[str, Any] = json.loads(result.stdout)
    return config


def component_types(config: dict[str, Any]) -> set[str]:
    """`kind type` of every component configured, `receiver otlp` for `receivers: {otlp/2: ...}`."""
    return {f"{kind} {name.partition('/')[0]}" for kind in KINDS for name in config.get(f"{kind}s", {})}


def endpoints(node: Any) -> list[str]:
    """Every `endpoint` and `host` that has a value, at any depth."""
    if isinstance(node, list):
        return [found for item in node for found in endpoints(item)]
    if not isinstance(node, dict):
        return []
    own = [value for key, value in node.items() if key in ("endpoint", "host") and isinstance(value, str) and value]
    return own + [found for value in node.values() for found in endpoints(value)]


def test_stock_image_has_every_component_used() -> None:
    """config.yaml uses only component types that otel/opentelemetry-collector-contrib 0.155.0 has."""
    lines = (ROOT / "collector" / "stock-components.txt").read_text().splitlines()
    stock = {line for line in lines if line and not line.startswith("#")}
    assert component_types(effective_config()) - stock == set()


def test_own_build_has_every_stock_component_that_the_manifest_names() -> None:
    """The slim build and the stock list agree on the spelling of every type that both have."""
    result = subprocess.run([collector_binary(), "components"], capture_output=True, text=True, check=True)
    built, kind = set(), ""
    for line in result.stdout.splitlines():
        if heading := re.fullmatch(r"(\w+)s:", line):
            kind = heading[1]
        elif found := re.fullmatch(r" +- name: (\S+)", line):
            built.add(f"{kind} {found[1]}")
    # healthcheckv2 is in no stock image, see stock-components.txt; the others are ours
    only_here = {
        "extension healthcheckv2",
        "connector isolate",
        "extension ledger",
        "extension park",
        "receiver kafka_traces",
    }
    stock = set((ROOT / "collector" / "stock-components.txt").read_text().splitlines())
    ours = {component for component in built if component.split()[0] in KINDS}
    assert len(ours) > 20
    assert ours - stock == only_here


def test_lock_holds_the_versions_of_the_manifest() -> None:
    """Generated sources and go.mod name exactly the components and versions of manifest.yaml."""
    folder = ROOT / "collector"
    wanted = re.findall(r"^ *- gomod: (\S+) (\S+)$", (folder / "manifest.yaml").read_text(), re.MULTILINE)
    lock = (folder / "otelcol" / "go.mod").read_text()
    sources = (folder / "otelcol" / "components.go").read_text() + (folder / "otelcol" / "main.go").read_text()
    assert len(wanted) > 20
    assert [module for module, version in wanted if f"\t{module} {version}\n" not in lock] == []
    assert set(re.findall(r'"(\S+ v[\d.]+)"', sources)) == {f"{module} {version}" for module, version in wanted}


def test_every_endpoint_is_loopback_by_default() -> None:
    """Nothing listens on, or sends to, another machine unless a variable says so."""
    found = endpoints(effective_config())
    assert len(found) >= 7
    assert [value for value in found if "127.0.0.1" not in value] == []


@pytest.mark.parametrize("exporter", BACKENDS)
def test_backend_queue_loses_nothing_and_blocks_nobody(exporter: str) -> None:
    """Each backend has a queue file of its own, retries without end, batches in bytes and never blocks its siblings."""
    config = effective_config()
    settings = config["exporters"][exporter]
    queue = settings["sending_queue"]
    assert settings["retry_on_failure"]["enabled"] is True
    assert settings["retry_on_failure"]["max_elapsed_time"] == 0
    assert queue["block_on_overflow"] is False
    assert queue["batch"]["min_size"] < queue["batch"]["max_size"] < 4 * 1024 * 1024, (
        "gRPC servers refuse more than 4 MiB"
    )
    others = [config["exporters"][other]["sending_queue"]["storage"] for other in BACKENDS if other != exporter]
    assert queue["storage"] in config["service"]["extensions"]
    assert queue["storage"] not in others


def test_every_queue_file_has_a_directory_of_its_own() -> None:
    """No two stores share a directory, for the data or for the compaction."""
    stores = [value for key, value in effective_config()["extensions"].items() if key.startswith("file_storage")]
    directories = [store["directory"] for store in stores]
    assert len(set(directories)) == len(stores) == len(BACKENDS)
    assert [store["compaction"]["directory"] for store in stores] == directories


def test_memory_limiter_stands_first_where_data_comes_in() -> None:
    """Every pipeline that a receiver feeds begins with the memory limiter."""
    pipelines = effective_config()["service"]["pipelines"]
    fed = {name: pipeline for name, pipeline in pipelines.items() if "otlp" in pipeline["receivers"]}
    assert set(fed) == {"traces", "metrics"}
    assert [name for name, pipeline in fed.items() if pipeline["processors"][0] != "memory_limiter"] == []


@pytest.mark.parametrize("files", [["jaeger.yaml"], ["jaeger.yaml", "badger.yaml"]], ids=["memory", "badger"])
def test_jaeger_accepts_its_configuration(files: list[str]) -> None:
    """Jaeger validates each deployed storage variant."""
    command = [jaeger_binary(), "validate", *(f"--config={ROOT / 'deploy' / 'jaeger' / file}" for file in files)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_promtool_accepts_the_prometheus_configuration() -> None:
    """promtool finds no error in deploy/prometheus/prometheus.yml."""
    command = [promtool_binary(), "check", "config", str(ROOT / "deploy" / "prometheus" / "prometheus.yml")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


TOOLS = ("sh", "dirname", "find", "sort", "xargs", "sha256sum", "cut", "mkdir", "mv", "flock", "sleep", "chmod")

# Stands for the compiler: slow enough for two callers to meet, and it counts its runs.
FAKE_GO = """#!/bin/sh
echo run >> "$GO_RUNS"
while [ "$1" != -o ]; do shift; done
sleep 0.5
echo program > "$2"
chmod +x "$2"
"""


@pytest.fixture
def build_environment(tmp_path: Path) -> dict[str, str]:
    """Environment with an empty cache and the usual programs on PATH, but no Go."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool, path="/usr/bin:/bin")
        assert found, f"{tool} belongs to every Debian"
        (tools / tool).symlink_to(found)
    return {"PATH": str(tools), "OTEL_DISTRO_CACHE": str(tmp_path / "cache"), "GO_RUNS": str(tmp_path / "runs")}


@pytest.mark.parametrize("script", ["build-collector", "build-tools"])
def test_build_without_go_says_so_in_one_line(script: str, build_environment: dict[str, str]) -> None:
    """With an empty cache and no Go, a build script fails with one line that names what is missing."""
    command = [str(ROOT / "scripts" / script)]
    result = subprocess.run(command, env=build_environment, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert len(result.stderr.splitlines()) == 1
    assert "needs Go" in result.stderr


def test_callers_at_the_same_time_share_one_build(build_environment: dict[str, str]) -> None:
    """Two callers that meet an empty cache build once, and both get the path of a whole program."""
    go = Path(build_environment["PATH"]) / "go"
    go.write_text(FAKE_GO)
    go.chmod(0o755)
    command = [str(ROOT / "scripts" / "build-collector")]
    callers = [subprocess.Popen(command, env=build_environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {caller.communicate()[0].strip() for caller in callers}
    assert [caller.returncode for caller in callers] == [0, 0]
    (path,) = paths
    assert Path(path).read_text() == "program\n"
    assert Path(build_environment["GO_RUNS"]).read_text() == "run\n"
