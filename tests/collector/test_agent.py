"""The agent's own build: pods and hosts are known, and an API server that is away costs attributes, never spans."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts.collectorgen.choices import Choice
from tests.collector.generated import GeneratedCollector
from tests.collector.test_config import ROOT
from tests.collector.traffic import send_traces
from tests.servers import JaegerServer, RecorderServer, wait_until
from tests.servers.binaries import agent_binary, collector_binary, collector_start_binary
from tests.servers.kubernetes import KubernetesApi, running_pod

if TYPE_CHECKING:
    from tests.otlp_servers import Certificates

_MEGABYTE = 1_000_000
_OURS = running_pod("orders-6c45f8d6f6-x7k2p", namespace="shop", node="node-1", address="127.0.0.1", uid="uid-1")
_OTHER = running_pod("stock-7d9f5b6c4d-abcde", namespace="shop", node="node-2", address="10.0.0.2", uid="uid-2")


def component_names(binary: str) -> set[str]:
    """What a build has."""
    listed = subprocess.run([binary, "components"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^ +- name: (\S+)", listed, re.MULTILINE))


def test_the_gateway_is_slim_for_only_the_agent_knows_pods_and_hosts() -> None:
    """The gateway's binary has at most 60 MB; client libraries of Kubernetes and of clouds are the agent's."""
    known = {"k8s_attributes", "resource_detection"}
    assert known <= component_names(agent_binary())
    assert not known & component_names(collector_binary())
    assert Path(collector_binary()).stat().st_size <= 60 * _MEGABYTE


def test_lock_of_the_agent_holds_the_versions_of_its_manifest() -> None:
    """go.mod names the versions of manifest-agent.yaml, and those of manifest.yaml where both have a part."""
    folder = ROOT / "collector"
    parts = re.compile(r"^ *- gomod: (\S+) (\S+)$", re.MULTILINE)
    wanted = parts.findall((folder / "manifest-agent.yaml").read_text())
    gateway = dict(parts.findall((folder / "manifest.yaml").read_text()))
    lock = (folder / "otelcol-agent" / "go.mod").read_text()
    assert len(wanted) > 15
    assert [module for module, version in wanted if f"\t{module} {version}\n" not in lock] == []
    assert [module for module, version in wanted if gateway.get(module, version) != version] == []
    assert set(gateway.values()) == {version for _, version in wanted}


def test_a_span_is_given_its_pod_by_its_connection(certificates: Certificates, logs: Path) -> None:
    """Pod, workload and node come from the API server, which is asked for the pods of the agent's own node alone."""
    agent = GeneratedCollector(logs, Choice("agent", detect="kubernetes"), certificates)
    with KubernetesApi(_OURS, _OTHER) as api, JaegerServer(logs) as jaeger:
        agent.env |= {
            "OTELCOL_GATEWAY_ENDPOINT": jaeger.otlp_endpoint,
            "OTELCOL_KUBERNETES_AUTH": "kubeConfig",
            "KUBECONFIG": api.kubeconfig(agent.data),
            "OTELCOL_NODE_NAME": "node-1",
            "OTEL_RESOURCE_ATTRIBUTES": "k8s.cluster.name=blue",
        }
        with agent:
            wait_until(lambda: len(api.asked) > 0, seconds=10, what="the agent to ask for pods")
            resource: dict[str, object] = {}

            def known() -> bool:
                (trace,) = send_traces(agent.url, "orders", 1)
                resource.update(jaeger.wait_for_trace(trace)[0].resource)
                return "k8s.pod.name" in resource

            wait_until(known, seconds=20, what="spans with a pod")  # the first may come before the list of pods
        assert resource["k8s.pod.name"] == "orders-6c45f8d6f6-x7k2p"
        assert resource["k8s.deployment.name"] == "orders"
        assert (resource["k8s.namespace.name"], resource["k8s.node.name"]) == ("shop", "node-1")
        assert resource["k8s.cluster.name"] == "blue"
        assert resource["container.image.name"] == "registry.example/orders"
        assert {"spec.nodeName%3Dnode-1" in path for path in api.asked} == {True}


@pytest.mark.parametrize(
    ("env", "line"),
    [
        ({"OTELCOL_KUBERNETES_AUTH": "serviceAccount", "KUBERNETES_SERVICE_HOST": ""}, "this is no pod"),
        ({"OTELCOL_KUBERNETES_AUTH": "serviceAccount"}, "OTELCOL_NODE_NAME is not set"),
        ({"OTELCOL_KUBERNETES_AUTH": "kubeConfig", "KUBECONFIG": "/nowhere/config"}, "/nowhere/config"),
    ],
)
def test_an_agent_outside_of_a_cluster_says_what_it_lacks(
    env: dict[str, str], line: str, certificates: Certificates, logs: Path
) -> None:
    """The collector itself says it in a stack trace, and takes its time to end."""
    agent = GeneratedCollector(logs, Choice("agent", detect="kubernetes"), certificates, env=env)
    command = [collector_start_binary(), "--check", f"--config={agent.config}"]
    done = subprocess.run(command, env=agent.environment(), capture_output=True, text=True, check=False)
    agent.close()
    assert done.returncode == 1
    assert [
        each for each in done.stderr.splitlines() if line in each and each.startswith("otelcol-start: processors::")
    ]


def test_an_api_server_that_is_away_costs_no_span(certificates: Certificates, logs: Path) -> None:
    """The agent starts, and spans arrive without the attributes that nobody could give."""
    agent = GeneratedCollector(logs, Choice("agent", detect="kubernetes"), certificates)
    with RecorderServer(logs, "gateway") as gateway:
        agent.env["OTELCOL_GATEWAY_ENDPOINT"] = gateway.otlp_endpoint
        with agent:
            send_traces(agent.url, "orders", 2)
            gateway.wait_for_spans(4)


def test_the_host_of_an_agent_without_a_cluster(certificates: Certificates, logs: Path) -> None:
    """`--detect=host` names the host and its system, and leaves what a sender says of itself."""
    agent = GeneratedCollector(logs, Choice("agent", detect="host"), certificates)
    with JaegerServer(logs) as jaeger:
        agent.env["OTELCOL_GATEWAY_ENDPOINT"] = jaeger.otlp_endpoint
        with agent:
            (trace,) = send_traces(agent.url, "orders", 1)
            resource = jaeger.wait_for_trace(trace)[0].resource
    assert (resource["host.name"], resource["os.type"]) == (socket.gethostname(), "linux")
    assert resource["service.name"] == "orders"
