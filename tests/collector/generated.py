"""A collector with a generated configuration, and the files that its overlays need."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from scripts.collectorgen.roles import configuration_text
from tests.servers import CollectorServer
from tests.servers.binaries import agent_binary, collector_binary, collector_start_binary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from scripts.collectorgen.choices import Choice
    from tests.otlp_servers import Certificates

#: What every sender shows where a token is asked for.
TOKEN = "a-token-of-the-tests"
#: A port that nobody listens on: backends that are not part of a test.
NOWHERE = "127.0.0.1:1"


class GeneratedCollector(CollectorServer):
    """A collector of one choice; its backends are nowhere unless `env` says where."""

    port_names = ("grpc", "http", "health", "telemetry", "prometheus")

    def __init__(
        self,
        logs: Path,
        choice: Choice,
        certificates: Certificates,
        env: Mapping[str, str] | None = None,
        name: str = "",
    ) -> None:
        """Prepare the collector; `env` adds to, or changes, what the configuration reads."""
        super().__init__(logs, env=env, name=name or choice.name)
        self.choice = choice
        self.config = self.data / "config.yaml"
        self.certificates = certificates
        #: Start by the program that checks first.
        self.through_start = False
        #: Further arguments, as `--config=yaml:...`.
        self.arguments: tuple[str, ...] = ()
        #: Size of a file system of its own for the queues, as `mount -o size=` takes it; none: the disk.
        self.disk = ""
        self.token_file = self.data / "token"
        self.token_file.write_text(TOKEN)
        self.config.write_text(configuration_text(choice))

    @property
    def url(self) -> str:
        scheme = "http" if self.choice.tls == "none" else "https"
        return f"{scheme}://127.0.0.1:{self.ports['http']}"

    @property
    def binary(self) -> str:
        """The build that has the components of the choice."""
        return collector_binary() if self.choice.detect == "none" else agent_binary()

    def command(self) -> Sequence[str]:
        program = collector_start_binary() if self.through_start else self.binary
        command = [program, f"--config={self.config}", *self.arguments]
        if not self.disk:
            return command
        (self.data / "queues").mkdir(exist_ok=True)
        mount = f'mount -t tmpfs -o size={self.disk} tmpfs "$0" && exec "$@"'
        return ["unshare", "-Urm", "sh", "-c", mount, str(self.data / "queues"), *command]

    def environment(self) -> Mapping[str, str]:
        certificate, key = map(str, self.certificates.server)
        client, client_key = map(str, self.certificates.client)
        authority = str(self.certificates.authority)
        defaults = {
            **dict.fromkeys(("TEMPO_OTLP_ENDPOINT", "JAEGER_OTLP_ENDPOINT", "LOGS_OTLP_ENDPOINT"), NOWHERE),
            **dict.fromkeys(("OTELCOL_GATEWAY_ENDPOINT", "KAFKA_BROKERS"), NOWHERE),
            "PROMETHEUS_OTLP_ENDPOINT": f"http://{NOWHERE}",
            "PROMETHEUS_REMOTE_WRITE_ENDPOINT": f"http://{NOWHERE}",
            "SENTRY_OTLP_TRACES_ENDPOINT": f"http://{NOWHERE}",
            "OTELCOL_TLS_CERT_FILE": certificate,
            "OTELCOL_TLS_KEY_FILE": key,
            "OTELCOL_TLS_CLIENT_CA_FILE": authority,
            "OTELCOL_BACKEND_CA_FILE": authority,
            "OTELCOL_BACKEND_CERT_FILE": client,
            "OTELCOL_BACKEND_KEY_FILE": client_key,
            "OTELCOL_RECEIVER_TOKEN_FILE": str(self.token_file),
            "OTELCOL_EXPORTER_TOKEN_FILE": str(self.token_file),
            "OTELCOL_PROMETHEUS_ENDPOINT": f"127.0.0.1:{self.ports['prometheus']}",
            "OTELCOL_BINARY": self.binary,
            "OTELCOL_KUBERNETES_AUTH": "none",  # without a cluster: an API server that does not answer
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": "1",
            "OTELCOL_QUEUE_BYTES": "67108864",
            "OTELCOL_RETRY_MAX_INTERVAL": "1s",
            "OTELCOL_PARK_RETRY_INTERVAL": "500ms",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL", "OTELCOL"))}
        ours = {name: value for name, value in super().environment().items() if name not in os.environ}
        return kept | defaults | ours
