"""Alertmanager with deploy/alertmanager, and the places its messages go to: a pager, a channel, a heartbeat."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers.base import Server, ServerError
from tests.servers.binaries import alertmanager_binary
from tests.servers.waiting import http_ok

if TYPE_CHECKING:
    from collections.abc import Sequence

_DEPLOYED = Path(__file__).resolve().parents[2] / "deploy" / "alertmanager"
_SECRETS = "/etc/alertmanager/secrets"


@dataclass(frozen=True, slots=True)
class Message:
    """What Alertmanager told somebody: `to` is pagerduty, slack or heartbeat, `body` what it sent as JSON."""

    to: str
    body: Any


class AlertmanagerServer(Server):
    """Alertmanager with the deployed configuration: its secrets lead to this process, and its waiting times are 1 s.

    Everything that it sends is in `messages`, in order.
    """

    def __init__(self, logs: Path, name: str = "alertmanager") -> None:
        """Prepare it; the places its messages go to listen from now on, until `close`."""
        super().__init__(name, logs)
        self._receiver = _Receiver()
        self._thread = threading.Thread(target=self._receiver.serve_forever, args=(0.05,), name=f"{name}-receiver")
        self._thread.start()

    @property
    def address(self) -> str:
        """`host:port`, as Prometheus takes it."""
        return f"127.0.0.1:{self.ports['main']}"

    @property
    def messages(self) -> list[Message]:
        """Everything sent so far."""
        return list(self._receiver.messages)

    def told(self, to: str) -> list[Any]:
        """Bodies of what `to` has got so far."""
        return [message.body for message in self.messages if message.to == to]

    def prepare(self) -> None:
        place = f"http://127.0.0.1:{self._receiver.server_port}"
        secrets = self.data / "secrets"
        secrets.mkdir(exist_ok=True)
        for file, text in {
            "pagerduty": "routing-key",
            "slack": f"{place}/slack",
            "heartbeat": f"{place}/heartbeat",
        }.items():
            (secrets / file).write_text(text)
        text = (_DEPLOYED / "alertmanager.yml").read_text()
        for deployed, wanted in (
            (_SECRETS, str(secrets)),
            ("global:\n", f"global:\n  pagerduty_url: {place}/pagerduty\n"),
            ("group_wait: 30s", "group_wait: 1s"),
            ("group_interval: 5m", "group_interval: 1s"),
        ):
            if deployed not in text:
                raise ServerError(f"{_DEPLOYED / 'alertmanager.yml'} no longer holds {deployed!r}")
            text = text.replace(deployed, wanted)
        (self.data / "alertmanager.yml").write_text(text)
        templates = self.data / "templates"
        templates.mkdir(exist_ok=True)
        for template in (_DEPLOYED / "templates").glob("*.tmpl"):
            (templates / template.name).write_text(template.read_text())

    def command(self) -> Sequence[str]:
        return [
            alertmanager_binary(),
            f"--config.file={self.data / 'alertmanager.yml'}",
            f"--storage.path={self.data / 'storage'}",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
        ]

    def healthy(self) -> bool:
        return http_ok(f"http://{self.address}/-/ready")

    def close(self) -> None:
        super().close()
        self._receiver.shutdown()
        self._thread.join()
        self._receiver.server_close()


class _Receiver(ThreadingHTTPServer):
    """PagerDuty, Slack and the heartbeat, by path."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Keep the message and take it, as each of the three does."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        receiver = self.server
        assert isinstance(receiver, _Receiver)
        to = self.path.strip("/")
        receiver.messages.append(Message(to, body))
        # PagerDuty answers 202 and JSON, Slack 200 and `ok`
        answer = b'{"status": "success"}' if to == "pagerduty" else b"ok"
        self.send_response(202 if to == "pagerduty" else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """No access log on the test's standard error."""
