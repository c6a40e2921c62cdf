"""A Kubernetes API server's list and watch of pods, inside the test's own process: enough for informers."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

Pod = dict[str, Any]
_VERSION = {"resourceVersion": "1"}


def running_pod(name: str, *, namespace: str, node: str, address: str, uid: str) -> Pod:
    """A pod of the Deployment that its name begins with (`orders-6c45f8d6f6-x7k2p`), as the API server gives it."""
    replica_set = name.rpartition("-")[0]
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": replica_set, "uid": f"{uid}-rs", "controller": True}
    labels = {"pod-template-hash": replica_set.rpartition("-")[2]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "labels": labels,
            "creationTimestamp": "2026-11-21T12:00:00Z",
            "ownerReferences": [owner],
            **_VERSION,
        },
        "spec": {"nodeName": node, "containers": [{"name": "app", "image": "registry.example/orders:1.2.3"}]},
        "status": {
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": "2026-11-21T12:00:01Z",
            "phase": "Running",
        },
    }


class KubernetesApi:
    """Answers `/api/v1/pods`, and keeps what was asked for; a context manager."""

    def __init__(self, *pods: Pod) -> None:
        self.pods = pods
        self.asked: list[str] = []
        self._ending = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def kubeconfig(self, folder: Path) -> str:
        """Path of a file that leads a client here."""
        server = {"name": "here", "cluster": {"server": f"http://127.0.0.1:{self._server.server_port}"}}
        context = {"name": "here", "context": {"cluster": "here", "user": "here"}}
        user = {"name": "here", "user": {}}
        parts = {"clusters": [server], "contexts": [context], "users": [user], "current-context": "here"}
        path = folder / "kubeconfig"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **parts}))
        return str(path)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """One list, or one watch until the end."""
        self.asked.append(request.path)
        asked = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        if asked.path != "/api/v1/pods":
            request.send_error(403)
            return
        node = query.get("fieldSelector", "").removeprefix("spec.nodeName=")
        pods = [pod for pod in self.pods if node in ("", pod["spec"]["nodeName"])]
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.end_headers()
        if query.get("watch") not in ("1", "true"):
            _write(request, {"apiVersion": "v1", "kind": "PodList", "metadata": _VERSION, "items": pods})
            return
        if query.get("sendInitialEvents") == "true":
            for pod in pods:
                _write(request, {"type": "ADDED", "object": pod})
            marked = {**_VERSION, "annotations": {"k8s.io/initial-events-end": "true"}}
            _write(request, {"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": "Pod", "metadata": marked}})
        self._ending.wait(60)


def _write(request: BaseHTTPRequestHandler, document: dict[str, Any]) -> None:
    request.wfile.write(json.dumps(document).encode() + b"\n")
    request.wfile.flush()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, api: KubernetesApi) -> None:
        self.api = api
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        self.server.api.answer(self)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """What was asked is kept, not printed."""
