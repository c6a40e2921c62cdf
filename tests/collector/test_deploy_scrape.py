"""deploy/prometheus/kubernetes.yml: pods are scraped under the names that rules and dashboards ask for."""

from __future__ import annotations

import json
import subprocess
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.collector.deployments import DEPLOY, OVERLAYS, WORKLOADS, Manifest, manifests
from tests.servers.binaries import promtool_binary

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

(JOB,) = yaml.safe_load((DEPLOY / "prometheus" / "kubernetes.yml").read_text())["scrape_configs"]


def discovered(workload: Manifest, address: str = "10.1.2.3") -> dict[str, str]:
    """What Prometheus' discovery of pods says of a running pod of a workload, as far as it is asked here."""
    template, meta = workload["spec"]["template"], "__meta_kubernetes"
    found = {
        f"{meta}_namespace": workload["metadata"]["namespace"],
        f"{meta}_pod_name": f"{workload['metadata']['name']}-0",
        f"{meta}_pod_ip": address,
        f"{meta}_pod_phase": "Running",
    }
    for kind in ("label", "annotation"):
        for name, value in template["metadata"].get(f"{kind}s", {}).items():
            found[f"{meta}_pod_{kind}_{name.translate(str.maketrans('./-', '___'))}"] = value
    return found


def targets(path: Path, *pods: Mapping[str, str]) -> list[dict[str, str]]:
    """The labels of the targets that the job makes of these pods, in any order, without those that are always there."""
    (path / "pods.json").write_text(json.dumps([{"targets": ["10.1.2.3:1"], "labels": pod} for pod in pods]))
    job = {key: value for key, value in JOB.items() if key != "kubernetes_sd_configs"}
    job["file_sd_configs"] = [{"files": [str(path / "pods.json")]}]
    (path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [job]}))
    look = [promtool_binary(), "check", "service-discovery", "--timeout=1s"]
    done = subprocess.run(
        [*look, str(path / "prometheus.yml"), job["job_name"]], capture_output=True, text=True, check=True
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    usual = {"__scheme__", "__scrape_interval__", "__scrape_timeout__"}
    kept = [target["labels"] for target in found if target["labels"]]
    return [{name: value for name, value in labels.items() if name not in usual} for labels in kept]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_scraped_under_its_name(overlay: str, tmp_path: Path) -> None:
    """Collectors are `otel-collector`, for their alerts fire for no other job; a service is `namespace/name`."""
    workloads = manifests(overlay, *WORKLOADS)
    expected = []
    for workload in workloads:
        namespace, name = workload["metadata"]["namespace"], workload["metadata"]["name"]
        port = workload["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"]
        expected.append(
            {
                "__address__": f"10.1.2.3:{port}",
                "__metrics_path__": "/metrics",
                "instance": f"10.1.2.3:{port}",
                "job": "otel-collector" if name.startswith("otelcol-") else f"{namespace}/{name}",
                "pod": f"{name}-0",
                "service_name": name,
                "service_namespace": namespace,
            }
        )
    found = targets(tmp_path, *map(discovered, workloads))
    assert sorted(found, key=itemgetter("pod")) == sorted(expected, key=itemgetter("pod"))


def test_other_pods(tmp_path: Path) -> None:
    """Who does not ask for it, or has ended, is not scraped; without the usual label the job keeps its name."""
    demo = discovered(manifests("demo", "Deployment")[0])
    label = "__meta_kubernetes_pod_label_app_kubernetes_io_name"
    ended = demo | {"__meta_kubernetes_pod_phase": "Succeeded"}
    silent = {name: value for name, value in demo.items() if "prometheus_io_scrape" not in name}
    assert targets(tmp_path, ended, silent) == []
    unnamed = {name: value for name, value in demo.items() if name != label}
    routed = {"__meta_kubernetes_pod_annotation_prometheus_io_path": "/numbers", "__meta_kubernetes_pod_ip": "fd00::7"}
    (target,) = targets(tmp_path, unnamed | routed)
    assert (target["job"], target["__address__"], target["__metrics_path__"]) == (
        JOB["job_name"],
        "[fd00::7]:9464",
        "/numbers",
    )
