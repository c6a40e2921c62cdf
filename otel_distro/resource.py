"""The resource: which service, which process, on which host the telemetry comes from."""

from __future__ import annotations

import os
import socket
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.version import __version__ as sdk_version
from opentelemetry.util.types import AttributeValue

from . import service, settings
from ._version import __version__
from .conventions import SCHEMA_URL
from .guard import Guard
from .process import Deadline

SDK_NAME = "otel_distro"
"""`telemetry.sdk.name` of what our own pipeline makes."""


def build(
    general: settings.General,
    *,
    orig_argv: Sequence[str],
    inherited_name: str | None = None,
    detected: Mapping[str, AttributeValue] | None = None,
    upstream: bool = False,
) -> Resource:
    """The resource of this process.

    What the user says wins: `OTEL_SERVICE_NAME`, then `OTEL_RESOURCE_ATTRIBUTES`, then what is detected, then what is
    derived (specification, resource SDK): a name from the command line, a random UUID as `service.instance.id`.

    Args:
        general: parsed settings.
        orig_argv: `sys.orig_argv`; the command line itself is not recorded, it may hold secrets.
        inherited_name: the service name that a parent process left to this worker.
        detected: what resource detectors found; anything the user said wins over it.
        upstream: the unmodified SDK makes the telemetry. Another one must not use the name `opentelemetry`
            (specification, semantic conventions, `telemetry.sdk.name`).
    """
    attributes: dict[str, AttributeValue] = {
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry" if upstream else SDK_NAME,
        "telemetry.sdk.version": sdk_version if upstream else __version__,
        "telemetry.distro.name": "otel-distro",
        "telemetry.distro.version": __version__,
        **_host(),
        **_process(),
        **(detected or {}),
    }
    attributes.update(general.resource_attributes)
    name = service.said(general) or _detected_name(detected or {})
    attributes["service.name"] = name or service.name(general, orig_argv, inherited_name)
    attributes.setdefault("service.instance.id", str(uuid.uuid4()))
    return Resource(attributes, SCHEMA_URL)


def _detected_name(detected: Mapping[str, AttributeValue]) -> str:
    name = str(detected.get("service.name") or "")
    # a detector that calls `Resource.create` finds this, which says nothing
    return "" if name.startswith("unknown_service") else name


def for_child(parent: Resource, general: settings.General) -> Resource:
    """The resource of a forked child: its own pid and, unless the user named one, its own instance id.

    A detected id (a pod's) is none of several workers': their metrics would be one series with several writers.
    """
    attributes = dict(parent.attributes)
    attributes["process.pid"] = os.getpid()
    if "service.instance.id" not in general.resource_attributes:
        attributes["service.instance.id"] = str(uuid.uuid4())
    return Resource(attributes, parent.schema_url)


def _host() -> dict[str, str]:
    found = {"host.name": socket.gethostname(), "host.arch": _architecture(), "os.type": sys.platform}
    return {key: value for key, value in found.items() if value}


def _architecture() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64", "i686": "x86"}.get(machine, machine)


def _process() -> dict[str, str | int]:
    return {
        "process.pid": os.getpid(),
        "process.executable.name": os.path.basename(sys.executable or "python"),  # noqa: PTH119
        "process.runtime.name": sys.implementation.name,
        "process.runtime.version": ".".join(map(str, sys.version_info[:3])),
    }


def detect(names: Sequence[str], guard: Guard, *, seconds: float = 5.0) -> dict[str, AttributeValue]:
    """Run the resource detectors installed under `names`, each guarded; later ones win.

    Args:
        names: entry-point names of `opentelemetry_resource_detector`.
        guard: gets a detector that is missing, raises or takes too long.
        seconds: all of them together may take; upstream gives each as long.
    """
    running = [_Detection(name, guard) for name in names]
    deadline = Deadline(seconds)
    found: dict[str, AttributeValue] = {}
    for detection in running:
        found.update(detection.result(deadline))
    return found


class _Detection:
    """One detector at work in a daemon thread: cloud detectors ask the network, which may never answer.

    Args:
        name: its entry point's name.
        guard: gets what goes wrong.
    """

    def __init__(self, name: str, guard: Guard) -> None:
        self._part = f"resource detector {name}"
        self._guard = guard
        self._found: dict[str, AttributeValue] = {}
        self._thread = threading.Thread(target=self._run, args=(name,), name="otel-distro-detector", daemon=True)
        self._thread.start()

    def result(self, deadline: Deadline) -> dict[str, AttributeValue]:
        """What it has found until `deadline`."""
        self._thread.join(deadline.left())
        if self._thread.is_alive():
            self._guard.failed(self._part, "it has not answered in time", remedy="the resource does without it")
            return {}
        return self._found

    def _run(self, name: str) -> None:
        points = tuple(entry_points(group="opentelemetry_resource_detector", name=name))
        if points:
            self._found = self._guard.call(self._part, {}, _run_detector, points[0])
        else:
            remedy = "see OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"
            self._guard.failed(self._part, "none of this name is installed", remedy=remedy)


def _run_detector(point: EntryPoint) -> dict[str, AttributeValue]:
    return dict(point.load()().detect().attributes)
