"""What an agent says of the place that a sender runs in. Its own build has these processors, the gateway's has not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.collectorgen.parts import Settings


def pod() -> Settings:
    """Pod, workload and node of a sender, from the API server."""
    return {
        "#auth_type": "kubeConfig for an agent outside of a pod.",
        "auth_type": "${env:OTELCOL_KUBERNETES_AUTH:-serviceAccount}",
        "filter": {
            "#node": "The pods of this node, and no other: one watch of a few objects an agent.",
            "node": "${env:OTELCOL_NODE_NAME:-unknown}",
        },
        "extract": {
            "#metadata": "All of it is in the pod itself: the agent may read pods, and nothing else.",
            "metadata": [
                *("k8s.namespace.name", "k8s.pod.name", "k8s.pod.uid", "k8s.pod.start_time", "k8s.node.name"),
                *(
                    "k8s.deployment.name",
                    "k8s.statefulset.name",
                    "k8s.daemonset.name",
                    "k8s.cronjob.name",
                    "k8s.job.name",
                ),
                *("k8s.container.name", "container.image.name", "container.image.tags"),
            ],
        },
        "#pod_association": "What a sender says of itself, then where its connection comes from.",
        "pod_association": [
            {"sources": [{"from": "resource_attribute", "name": "k8s.pod.uid"}]},
            {"sources": [{"from": "resource_attribute", "name": "k8s.pod.ip"}]},
            {"sources": [{"from": "connection"}]},
        ],
        "#wait_for_metadata": "An API server that is away costs attributes, never spans: waiting for it would stop the start.",
        "wait_for_metadata": False,
        "#watch_sync_period": "Changes are watched; looking at everything again every 5 minutes finds nothing.",
        "watch_sync_period": "0s",
    }


def host(*, detectors: str) -> Settings:
    """Attributes of the host, for those that a sender has not set itself."""
    return {
        "#detectors": "env: OTEL_RESOURCE_ATTRIBUTES of the agent. Those of a cloud (ec2, eks, gcp, aks...) ask its metadata server.",
        "detectors": f"${{env:OTELCOL_DETECTORS:-{detectors}}}",
        "#override": "What a sender says of itself stays.",
        "override": False,
        "timeout": "5s",
        "system": {"#hostname_sources": "No question to a name server.", "hostname_sources": ["os"]},
    }
