"""What Kubernetes manifests say of the collectors that read a ConfigMap of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_GATE = "-connector.spanmetrics.includeCollectorInstanceID"


def ephemeral_mounts(node: Any) -> Iterator[str]:
    """Mount paths of emptyDir volumes, wherever a pod's template stands."""
    for pod in _pods(node):
        empty = {volume["name"] for volume in _volumes(pod) if "emptyDir" in volume}
        for container in pod["containers"]:
            for mount in container.get("volumeMounts") or []:
                if mount.get("name") in empty:
                    yield str(mount["mountPath"])


def copies(manifests: list[Any], config_map: str) -> int | None:
    """How many collectors read a ConfigMap at once, at most; None when no workload here does. A DaemonSet counts as two."""
    found: list[int] = []
    for workload in manifests:
        if not isinstance(workload, dict) or not any(_mounts(pod, config_map) for pod in _pods(workload)):
            continue
        if workload.get("kind") == "DaemonSet":
            found.append(2)
            continue
        found.append(int((workload.get("spec") or {}).get("replicas") or 1))
        found += _scaled_to(manifests, (workload.get("metadata") or {}).get("name"))
    return max(found, default=None)


def nameless_metrics(manifests: list[Any], config_map: str) -> bool:
    """Whether a collector that reads the ConfigMap is told to leave its own id out of span metrics."""
    pods = [pod for workload in manifests for pod in _pods(workload) if _mounts(pod, config_map)]
    words = [str(word) for pod in pods for each in pod["containers"] for word in each.get("args") or []]
    return any("feature-gates" in word and _GATE in word for word in words)


def _scaled_to(manifests: list[Any], name: object) -> Iterator[int]:
    for scaler in manifests:
        if isinstance(scaler, dict) and scaler.get("kind") == "HorizontalPodAutoscaler":
            spec = scaler.get("spec") or {}
            if (spec.get("scaleTargetRef") or {}).get("name") == name:
                yield int(spec.get("maxReplicas") or 1)


def _mounts(pod: dict[str, Any], config_map: str) -> bool:
    return any((volume.get("configMap") or {}).get("name") == config_map for volume in _volumes(pod))


def _volumes(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [volume for volume in pod.get("volumes") or [] if isinstance(volume, dict)]


def _pods(node: Any) -> Iterator[dict[str, Any]]:
    """Specifications of pods, at any depth."""
    if isinstance(node, list):
        for item in node:
            yield from _pods(item)
    if not isinstance(node, dict):
        return
    if isinstance(node.get("containers"), list):
        yield node
    for value in node.values():
        yield from _pods(value)
