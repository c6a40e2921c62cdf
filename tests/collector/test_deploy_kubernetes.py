"""deploy/kubernetes: valid, hardened, consistent in itself; its collectors start as the kubelet would start them."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from otel_distro.settings import parse
from tests.collector.container import run
from tests.collector.deployments import (
    DEPLOY,
    OVERLAYS,
    ROOT,
    WORKLOADS,
    Manifest,
    config_of,
    manifests,
    pod_container,
    rendered_text,
    secrets,
    unread,
)
from tests.servers.binaries import deploy_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.otlp_servers import Certificates

CLUSTERS = [overlay for overlay in OVERLAYS if overlay != "demo"]
COLLECTORS = [(overlay, name) for overlay in CLUSTERS for name in ("otelcol-agent", "otelcol-gateway")]
COLLECTORS += [("overlays/kafka", name) for name in ("otelcol-ingest", "otelcol-consume")]
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def bytes_of(quantity: str) -> int:
    """256Mi, or GOMEMLIMIT's 150MiB."""
    number, unit = re.fullmatch(r"(\d+)([KMG]i)B?", quantity).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


def pods(overlay: str) -> Iterator[tuple[Manifest, dict[str, Any]]]:
    """Each workload with the specification of its pods."""
    for workload in manifests(overlay, *WORKLOADS):
        yield workload, workload["spec"]["template"]["spec"]


def workload_of(overlay: str, name: str) -> Manifest:
    """The workload of that name."""
    (found,) = (workload for workload, _ in pods(overlay) if workload["metadata"]["name"] == name)
    return found


def conform(manifest: str) -> subprocess.CompletedProcess[str]:
    """kubeconform against the schemas of one Kubernetes version, with keys that are not in them refused."""
    location = f"{deploy_tool('schemas')}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    command = [deploy_tool("kubeconform"), "-strict", "-schema-location", location, "-"]
    return subprocess.run(command, input=manifest, capture_output=True, text=True, check=False)


def test_kubernetes_knows_every_key() -> None:
    """Each overlay is put together and conforms to the API's schemas; a misspelt key does not."""
    assert conform("\n---\n".join(map(rendered_text, OVERLAYS))).stdout == ""
    (budget,) = manifests("overlays/plain", "PodDisruptionBudget")
    misspelt = budget | {"spec": budget["spec"] | {"maxUnavailables": 1}}
    assert "'maxUnavailables' not allowed" in conform(yaml.safe_dump(misspelt)).stdout


def test_every_collector_starts(certificates: Certificates) -> None:
    """With its own arguments, variables, files and ports, on a read-only root without a shell, and it ends in order."""
    held = secrets(certificates)
    containers = {place: pod_container(place[0], workload_of(*place), held) for place in COLLECTORS}
    for place, container in containers.items():
        assert unread(container) == set(), place
    with ThreadPoolExecutor(4) as starts:
        problems = dict(zip(containers, starts.map(run, containers.values()), strict=True))
    assert {place: problem for place, problem in problems.items() if problem} == {}


def test_configurations_are_the_generated_ones() -> None:
    """No copy: what the ConfigMaps hold is byte by byte in collector/configs."""
    for overlay in OVERLAYS:
        for found in manifests(overlay, "ConfigMap"):
            for name, text in found["data"].items():
                assert not name.endswith(".yaml") or text == (ROOT / "collector" / "configs" / name).read_text()


@pytest.mark.parametrize("overlay", CLUSTERS)
def test_collector_lint_finds_nothing(overlay: str, tmp_path: Path) -> None:
    """Nor does a queue lie on an emptyDir."""
    path = tmp_path / "manifest.yaml"
    path.write_text(rendered_text(overlay))
    command = [sys.executable, "-m", "scripts.collectorlint", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_has_more_than_it_needs(overlay: str) -> None:
    """What the standard `restricted` asks for, a read-only root, limits on memory; the API is the agent's alone."""
    for workload, pod in pods(overlay):
        name = workload["metadata"]["name"]
        assert pod["automountServiceAccountToken"] is (name == "otelcol-agent"), name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"]["drop"] == ["ALL"], name
            assert {"requests", "limits"} <= set(container["resources"]), name
            assert "memory" in container["resources"]["limits"], name
        for container in pod["containers"]:
            assert {"add"} & set(container["securityContext"]["capabilities"]) == set(), name


@pytest.mark.parametrize("overlay", CLUSTERS)
def test_the_agent_may_read_pods_and_nothing_else(overlay: str) -> None:
    """One role, bound to the agent's account; it is told its node, whose pods it asks for."""
    (role,) = manifests(overlay, "ClusterRole")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    (binding,) = manifests(overlay, "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "otelcol-agent", "namespace": "otel"}]
    (container,) = workload_of(overlay, "otelcol-agent")["spec"]["template"]["spec"]["containers"]
    named = {entry["name"]: entry for entry in container["env"]}
    assert named["OTELCOL_NODE_NAME"]["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}
    assert container["image"] == "otel-distro/otelcol-agent:0.155.0"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_select_and_names_are_there(overlay: str) -> None:
    """Services, budgets and policies mean pods that exist, ports that are open, accounts that are made."""
    labels = [workload["spec"]["template"]["metadata"]["labels"] for workload, _ in pods(overlay)]
    open_ports = {port["name"] for _, pod in pods(overlay) for port in pod["containers"][0]["ports"]}
    accounts = {found["metadata"]["name"] for found in manifests(overlay, "ServiceAccount")} | {"default"}
    selectors = [found["spec"]["selector"] for found in manifests(overlay, "Service")]
    selectors += [found["spec"]["selector"]["matchLabels"] for found in manifests(overlay, "PodDisruptionBudget")]
    selectors += [found["spec"]["podSelector"].get("matchLabels", {}) for found in manifests(overlay, "NetworkPolicy")]
    for selector in selectors:
        assert any(selector.items() <= found.items() for found in labels), selector
    for service in manifests(overlay, "Service"):
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= open_ports
    for policy in manifests(overlay, "NetworkPolicy"):
        named = [port["port"] for rule in policy["spec"].get("ingress", ()) for port in rule["ports"]]
        assert set(named) <= open_ports
    for workload, pod in pods(overlay):
        assert pod.get("serviceAccountName", "default") in accounts
        probes = [pod["containers"][0][f"{probe}Probe"] for probe in ("startup", "liveness", "readiness")]
        assert {probe["httpGet"]["port"] for probe in probes} <= open_ports, workload["metadata"]["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_stop_is_shorter_than_its_grace(overlay: str) -> None:
    """What runs before the signal leaves at least 20 seconds for the end itself."""
    for workload, pod in pods(overlay):
        before = pod["containers"][0]["lifecycle"]["preStop"]
        seconds = before["sleep"]["seconds"] if "sleep" in before else int(before["exec"]["command"][-1].rstrip("s"))
        assert seconds + 20 <= pod["terminationGracePeriodSeconds"], workload["metadata"]["name"]


@pytest.mark.parametrize(("overlay", "name"), COLLECTORS)
def test_the_disk_holds_what_the_queues_may(overlay: str, name: str, certificates: Certificates) -> None:
    """A full disk refuses every branch: the volume is larger than all queues and parking places and a tenth."""
    workload = workload_of(overlay, name)
    container = pod_container(overlay, workload, secrets(certificates))
    config = yaml.safe_load(config_of(container))
    queues = [found for found in config["exporters"].values() if "storage" in found.get("sending_queue", {})]
    settings = {name: each for name, each in config["extensions"].items() if name.startswith("park/")}
    parked = [name for name, each in settings.items() if each["max_bytes"] != 0]
    queue = int(container.environment.get("OTELCOL_QUEUE_BYTES", 2**30))
    needed = 1.1 * (len(queues) * queue + len(parked) * 2**28) + 2**26  # OTELCOL_DISK_RESERVE_BYTES
    claims = workload["spec"].get("volumeClaimTemplates")
    if claims:
        assert bytes_of(claims[0]["spec"]["resources"]["requests"]["storage"]) >= needed
    else:
        assert needed <= 2**30, "a node's own disk: no more than a gibibyte of it"


@pytest.mark.parametrize(("overlay", "name"), COLLECTORS)
def test_go_collects_garbage_before_the_limiter_refuses(overlay: str, name: str) -> None:
    """GOMEMLIMIT is below the limiter's soft limit of 60 %, which counts garbage too; and not so low that it hurts."""
    workload = workload_of(overlay, name)
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    (limit,) = (entry["value"] for entry in container["env"] if entry["name"] == "GOMEMLIMIT")
    assert 0.5 < bytes_of(limit) / bytes_of(container["resources"]["limits"]["memory"]) < 0.6


def test_a_sampler_is_alone() -> None:
    """Traces are whole in one replica only; beyond one, Kafka divides them."""
    (sampler,) = manifests("overlays/sampling", "StatefulSet")
    assert sampler["spec"]["replicas"] == 1
    assert "sampling.yaml" in sampler["spec"]["template"]["spec"]["containers"][0]["args"][0]


def test_production_sends_nothing_in_plain_text() -> None:
    """Every receiver has TLS and a login, every exporter TLS; the demo's way is for trusted networks."""
    for workload, _ in pods("overlays/production"):
        name = workload["spec"]["template"]["spec"]["containers"][0]["args"][0].rpartition("/")[2]
        config = yaml.safe_load((ROOT / "collector" / "configs" / name).read_text())
        for protocol in config["receivers"]["otlp"]["protocols"].values():
            assert {"tls", "auth"} <= set(protocol)
        assert [exporter["tls"].get("insecure", False) for exporter in config["exporters"].values()] == [False] * len(
            config["exporters"]
        )


def test_secrets_are_readable_for_the_collector_alone() -> None:
    """Mode 0440 with the collector's group: as a decimal number, for YAML 1.1 and 1.2 read 0440 differently."""
    text = rendered_text("overlays/production")
    assert {int(mode) for mode in re.findall(r"defaultMode: (\d+)", text)} == {0o440}
    assert text.count("secretName:") == text.count("defaultMode:")


def test_the_demo_drains_and_is_scraped() -> None:
    """The recipe of docs/health.md; what ends a container asks no database, at its start neither; /metrics is told."""
    for workload in manifests("demo", "Deployment"):
        template = workload["spec"]["template"]
        (container,) = template["spec"]["containers"]
        paths = [container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("liveness", "readiness", "startup")]
        assert paths == ["/live", "/ready", "/live"]
        assert container["lifecycle"]["preStop"]["sleep"]["seconds"] >= container["readinessProbe"]["periodSeconds"]
        assert template["metadata"]["annotations"]["prometheus.io/port"] == "9464"
        assert {"containerPort": 9464, "name": "metrics"} in container["ports"]


def test_a_stream_that_does_not_end_is_ended_within_the_grace() -> None:
    """preStop, uvicorn's patience and the last export fit into the time before the kubelet kills: else a loss."""
    for _, pod in pods("demo"):
        (container,) = pod["containers"]
        patience = int(container["args"][container["args"].index("--timeout-graceful-shutdown") + 1])
        before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        last = parse({})[0].distro.shutdown_timeout / 1000 + 2  # lifespan and interpreter end, too
        assert before + patience + last <= pod["terminationGracePeriodSeconds"]


def test_every_file_is_part_of_something() -> None:
    """No manifest lies about that nothing applies."""
    for folder in {path.parent for path in (DEPLOY / "kubernetes").rglob("*.yaml")}:
        text = (folder / "kustomization.yaml").read_text()
        others = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
        assert {name for name in others if name not in text} == set()
