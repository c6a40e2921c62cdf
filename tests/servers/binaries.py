"""Where the programs of the servers are found, and what to do when one is not."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.servers.base import MissingBinary

_ROOT = Path(__file__).resolve().parents[2]
_PREPARE = "run ./scripts/test prepare"


def debian_binary(name: str, package: str) -> str:
    """Path of a program that the Debian package `package` brings.

    Raises:
        MissingBinary: it is neither on PATH nor where Debian keeps PostgreSQL's programs.
    """
    # Debian keeps PostgreSQL's own programs off PATH, one directory a major version; the newest wins.
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    found = str(versions[-1]) if versions else shutil.which(name)
    if found is None:
        raise MissingBinary(f"{name} not found: {_PREPARE}, or install the Debian package {package}")
    return found


def jaeger_binary() -> str:
    """Path of Jaeger, built by scripts/build-tools if the cache does not hold it."""
    return _built("build-tools", "jaeger")


def prometheus_binary() -> str:
    """Path of Prometheus, built by scripts/build-tools if the cache does not hold it."""
    return _built("build-tools", "prometheus")


def promtool_binary() -> str:
    """Path of promtool, built by scripts/build-tools if the cache does not hold it."""
    return _built("build-tools", "promtool")


def alertmanager_binary() -> str:
    """Path of Alertmanager, built by scripts/build-tools if the cache does not hold it."""
    return _built("build-tools", "alertmanager")


def amtool_binary() -> str:
    """Path of amtool, built by scripts/build-tools if the cache does not hold it."""
    return _built("build-tools", "amtool")


def sink_binary() -> str:
    """Path of the drills' recording receiver, built by scripts/build-tools if the cache does not hold it."""
    return _built("build-tools", "sink")


def load_binary() -> str:
    """Path of the senders of benchmarks/collector/load, built by scripts/build-tools if the cache does not hold it."""
    return _built("build-tools", "load")


def kafka_jars() -> str:
    """Directory of the Kafka broker's jars, fetched by scripts/build-tools if the cache does not hold them."""
    return _built("build-tools", "kafka")


def deploy_tool(name: str) -> str:
    """Path of `kustomize`, `kubeconform` or `composecheck`, or of the `schemas` of Kubernetes; made if need be."""
    return _built("build-tools", name)


def collector_start_binary() -> str:
    """Path of the program that checks a configuration and starts the collector, built if need be."""
    return _built("build-collector", "start")


def collector_binary() -> str:
    """Path of the collector: OTELCOL_BINARY, else that of collector/manifest.yaml, built if need be."""
    return os.environ.get("OTELCOL_BINARY") or _built("build-collector", None)


def agent_binary() -> str:
    """Path of the collector of collector/manifest-agent.yaml, which knows pods and hosts, built if need be."""
    return os.environ.get("OTELCOL_AGENT_BINARY") or _built("build-collector", "agent")


def tempo_binary() -> str | None:
    """Path of Tempo by TEMPO_BINARY or PATH; None where there is none, for no registry has it.

    Raises:
        MissingBinary: TEMPO_BINARY names something that cannot be run.
    """
    named = os.environ.get("TEMPO_BINARY")
    if not named:
        return shutil.which("tempo")
    found = shutil.which(named)
    if found is None:
        raise MissingBinary(f"TEMPO_BINARY={named} is not a program that can be run")
    return found


@cache
def _built(script: str, tool: str | None) -> str:
    """Last line of a build script's output: the path of the program, from the cache or built now."""
    command = [str(_ROOT / "scripts" / script), *([tool] if tool else [])]
    # The script's own lines (what it builds, what it lacks) go where the caller's standard error goes.
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        raise MissingBinary(f"scripts/{script} failed, its last line says why: {_PREPARE}")
    return result.stdout.strip().splitlines()[-1]
