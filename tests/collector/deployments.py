"""What deploy/ says, as the tools of those who deploy it read it: containers of manifests and of compose files."""

from __future__ import annotations

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.collector.container import Container
from tests.servers.binaries import deploy_tool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.otlp_servers import Certificates

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = ("overlays/plain", "overlays/sampling", "overlays/kafka", "overlays/production", "demo")
WORKLOADS = ("DaemonSet", "StatefulSet", "Deployment")
Manifest = dict[str, Any]
_TOKEN = "a-token-of-the-tests"
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_FIELDS = {"spec.nodeName": "node-1"}
_REFERENCE = re.compile(r"\$\(([A-Z0-9_]+)\)")
_VARIABLE = re.compile(r"\$\{env:([A-Z0-9_]+)")


def rendered_text(overlay: str) -> str:
    """What `kubectl apply -k` would apply."""
    return _kustomize(DEPLOY / "kubernetes" / overlay)


@cache
def _kustomize(folder: Path) -> str:
    return subprocess.run(
        [deploy_tool("kustomize"), "build", str(folder)], capture_output=True, text=True, check=True
    ).stdout


def manifests(overlay: str, *kinds: str) -> list[Manifest]:
    """The manifests of an overlay, of some kinds or of all."""
    return [document for document in _documents(overlay) if not kinds or document["kind"] in kinds]


@cache
def _documents(overlay: str) -> tuple[Manifest, ...]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where PyYAML was built with it
    return tuple(document for document in yaml.load_all(rendered_text(overlay), loader) if document)


def compose(file: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """A compose file as `docker compose` reads it.

    Raises:
        subprocess.CalledProcessError: it is not valid, or a variable that it needs is not there; `stderr` says which.
    """
    command = [deploy_tool("composecheck"), str(DEPLOY / "compose" / file)]
    env = {"PATH": os.environ["PATH"]} | dict(environment)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    services: dict[str, Any] = json.loads(done.stdout)
    return services


def entry_point(image: str) -> list[str]:
    """The exec form of ENTRYPOINT in one of the Dockerfiles."""
    (line,) = re.findall(
        r"^ENTRYPOINT (\[.*\])$", (DEPLOY / "images" / f"{image}.Dockerfile").read_text(), re.MULTILINE
    )
    return [str(part) for part in json.loads(line)]


def variables_of(config: str) -> set[str]:
    """Names of the variables that a configuration reads."""
    return set(_VARIABLE.findall(config))


def unread(container: Container) -> set[str]:
    """Variables of the collector that a container sets and its configuration does not read."""
    known = variables_of(config_of(container))
    return {name for name in container.environment if name.startswith(("OTELCOL_", "KAFKA_"))} - known


def secrets(certificates: Certificates) -> dict[str, dict[str, str]]:
    """The secrets that docs/deployment.md asks for, by their names and keys."""
    certificate, key = (path.read_text() for path in certificates.server)
    client, client_key = (path.read_text() for path in certificates.client)
    authority = certificates.authority.read_text()
    server = {"tls.crt": certificate, "tls.key": key}
    return {
        "otelcol-agent-tls": server | {"ca.crt": authority},
        "otelcol-agent-client-tls": {"tls.crt": client, "tls.key": client_key, "ca.crt": authority},
        "otelcol-agent-tokens": {"receiver": _TOKEN, "exporter": _TOKEN},
        "otelcol-gateway-tls": server,
        "otelcol-gateway-tokens": {"receiver": _TOKEN},
        "otelcol-backend-ca": {"ca.crt": authority},
    }


def pod_container(overlay: str, workload: Manifest, held: Mapping[str, Mapping[str, str]]) -> Container:
    """The collector of a workload as the kubelet would start it; `held` are the secrets."""
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    maps = {found["metadata"]["name"]: found["data"] for found in manifests(overlay, "ConfigMap")}
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    for source in container.get("envFrom", ()):
        environment |= maps[source["configMapRef"]["name"]]
    for entry in container["env"]:
        value = entry["value"] if "value" in entry else _FIELDS[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        environment[entry["name"]] = _REFERENCE.sub(lambda found: environment[found[1]], value)
    files: dict[str, str] = {}
    if pod["automountServiceAccountToken"]:
        authority = held["otelcol-backend-ca"]["ca.crt"]
        files |= {f"{_ACCOUNT}/token": _TOKEN, f"{_ACCOUNT}/ca.crt": authority, f"{_ACCOUNT}/namespace": "otel"}
    writable = []
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        volume = volumes.get(mount["name"], {})
        if "configMap" in volume or "secret" in volume:
            held_here = (
                maps[volume["configMap"]["name"]] if "configMap" in volume else held[volume["secret"]["secretName"]]
            )
            files |= {f"{mount['mountPath']}/{name}": text for name, text in held_here.items()}
        else:
            writable.append(mount["mountPath"])
    agent = container["image"].partition(":")[0].endswith("otelcol-agent")
    return Container(
        command=entry_point("agent" if agent else "collector") + container["args"],
        environment=environment,
        files=files,
        writable=writable,
        health=["/usr/bin/otelcol-start", "--health"],
        ports=[port["containerPort"] for port in container["ports"]],
        agent=agent,
    )


def service_container(service: Mapping[str, Any]) -> Container:
    """The collector of a compose service as the engine would start it."""
    binds = [mount for mount in service["volumes"] if mount["type"] == "bind"]
    return Container(
        command=entry_point("collector") + service["command"],
        environment=service["environment"],
        files={
            f"{mount['target']}/{path.name}": path.read_text()
            for mount in binds
            for path in _files(Path(mount["source"]))
        },
        writable=[mount["target"] for mount in service["volumes"] if mount["type"] == "volume"],
        health=service["healthcheck"]["test"][1:],
        ports=[port["target"] for port in service["ports"]],
    )


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_file())


def config_of(container: Container) -> str:
    """The configuration that a container starts with."""
    (argument,) = (part for part in container.command if part.startswith("--config="))
    return container.files[argument.removeprefix("--config=")]
