"""The start program: what `validate` lets through is named in one line, and nothing starts half."""

from __future__ import annotations

import gzip
import os
import secrets
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts.collectorgen.choices import Choice
from tests.collector.generated import GeneratedCollector
from tests.servers import free_port
from tests.servers.binaries import collector_binary, collector_start_binary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.otlp_servers import Certificates

QUEUES = Path(__file__).with_name("drills") / "queues"
SECURED = Choice("gateway", tls="mtls", token=True)


@contextmanager
def prepared(choice: Choice, certificates: Certificates, logs: Path) -> Iterator[GeneratedCollector]:
    """A collector that is not started: its configuration, and an environment in which it could be."""
    collector = GeneratedCollector(logs, choice, certificates)
    try:
        yield collector
    finally:
        collector.close()


def complaints(collector: GeneratedCollector, **env: str) -> list[str]:
    """Lines of `otelcol-start --check`; none when it would start."""
    environment = {**collector.environment(), "OTELCOL_BINARY": collector_binary(), **env}
    command = [collector_start_binary(), "--check", f"--config={collector.config}"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = result.stderr.splitlines()
    assert (result.returncode == 0) == (not lines), lines
    return lines


@pytest.mark.parametrize("choice", [Choice("gateway"), SECURED, Choice("consume")], ids=lambda choice: choice.name)
def test_a_sound_configuration_has_no_complaint(choice: Choice, certificates: Certificates, logs: Path) -> None:
    """What can start is not kept from it."""
    with prepared(choice, certificates, logs) as collector:
        assert complaints(collector) == []


@pytest.mark.parametrize(
    ("env", "line"),
    [
        ({"OTELCOL_OTLP_GRPC_ENDPOINT": "127.0.0.1:99999"}, "receivers::otlp::protocols::grpc"),
        ({"OTELCOL_OTLP_GRPC_ENDPOINT": "127.0.0.1:notaport"}, "receivers::otlp::protocols::grpc"),
        ({"OTELCOL_TELEMETRY_PORT": "70000"}, "service::telemetry::metrics::readers::0"),
        ({"TEMPO_OTLP_ENDPOINT": "tempo"}, "exporters::otlp_grpc/tempo"),
        ({"JAEGER_OTLP_ENDPOINT": ""}, "JAEGER_OTLP_ENDPOINT is set but empty"),
        ({"OTELCOL_STORAGE_DIRECTORY": "/proc/nowhere"}, "extensions::file_storage/jaeger"),
        ({"OTELCOL_MEMORY_LIMIT_PERCENT": "many"}, "limit_percentage"),
        ({"OTELCOL_BACKEND_TIMEOUT": "30"}, "exporters::otlp_grpc/tempo::timeout: is 30ns: give a duration its unit"),
        ({"OTELCOL_BACKEND_COMPRESSION": "lz4"}, 'otlp_grpc/tempo::compression: "lz4" is none of none, gzip'),
        ({"OTELCOL_PARK_MAX_AGE": "86400"}, "extensions::park/tempo::max_age: is 86.4µs: give a duration its unit"),
        ({"OTELCOL_SPAN_METRICS_INTERVAL": "0s"}, "connectors::span_metrics::metrics_flush_interval: is 0"),
        ({"PROMETHEUS_OTLP_ENDPOINT": "http://joe:secret@h:99999/api"}, '"http://***@h:99999/api" is no URL with a'),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_wrong_value_is_named(env: dict[str, str], line: str, certificates: Certificates, logs: Path) -> None:
    """A port, path or variable that `validate` accepts is named with its place in the configuration."""
    with prepared(Choice("gateway"), certificates, logs) as collector:
        lines = complaints(collector, **env)
        assert any(line in found for found in lines), lines


def test_a_broken_pattern_of_a_sampler_is_named(certificates: Certificates, logs: Path) -> None:
    """The sampler compiles its routes when it starts, and ends there."""
    with prepared(Choice("sampling"), certificates, logs) as collector:
        assert complaints(collector, OTELCOL_SAMPLING_ROUTES="^/pay|^/a$") == []
        (line,) = complaints(collector, OTELCOL_SAMPLING_ROUTES="^/pay(")
        assert 'policy "routes": error parsing regexp: missing closing )' in line


@pytest.mark.parametrize(
    "address", ["dns:///tempo.svc:4317", "unix:///run/tempo.sock", "passthrough:///tempo:4317", "[::1]:4317"]
)
def test_an_address_of_grpc_is_taken(address: str, certificates: Certificates, logs: Path) -> None:
    """What the collector dials it also may start with: addresses with a scheme of gRPC's own, and those of IPv6."""
    with prepared(Choice("gateway"), certificates, logs) as collector:
        assert complaints(collector, TEMPO_OTLP_ENDPOINT=address) == []


def test_a_taken_port_is_named(certificates: Certificates, logs: Path) -> None:
    """A port that another program listens on."""
    with prepared(Choice("gateway"), certificates, logs) as collector, socket.socket() as other:
        other.bind(("127.0.0.1", port := free_port()))
        other.listen()
        (line,) = complaints(collector, OTELCOL_OTLP_HTTP_ENDPOINT=f"127.0.0.1:{port}")
        assert "receivers::otlp::protocols::http::endpoint" in line
        assert "in use" in line


def test_certificates_and_tokens_are_looked_into(certificates: Certificates, logs: Path, tmp_path: Path) -> None:
    """Missing, expired, not matching, no certificate at all, an empty token: each is named."""
    empty, text = tmp_path / "empty", tmp_path / "text"
    empty.write_text("\n")
    text.write_text("no certificate")
    expired, its_key = map(str, certificates.expired)
    cases: tuple[tuple[dict[str, str], str], ...] = (
        ({"OTELCOL_TLS_CERT_FILE": "/nowhere/tls.crt"}, "/nowhere/tls.crt"),
        ({"OTELCOL_TLS_CERT_FILE": expired, "OTELCOL_TLS_KEY_FILE": its_key}, "has expired on"),
        ({"OTELCOL_TLS_KEY_FILE": its_key}, "does not match"),
        ({"OTELCOL_BACKEND_CA_FILE": str(text)}, "holds no certificate"),
        ({"OTELCOL_RECEIVER_TOKEN_FILE": str(empty)}, "is empty"),
    )
    with prepared(SECURED, certificates, logs) as collector:
        for env, expected in cases:
            assert any(expected in line for line in complaints(collector, **env)), (
                expected,
                complaints(collector, **env),
            )


def test_an_expired_certificate_stops_no_start(certificates: Certificates, logs: Path) -> None:
    """It is said, and shuts one way until it is renewed; the other branches, and all queues, go on meanwhile."""
    with prepared(SECURED, certificates, logs) as collector:
        certificate, key = map(str, certificates.expired)
        collector.env |= {"OTELCOL_BACKEND_CERT_FILE": certificate, "OTELCOL_BACKEND_KEY_FILE": key}
        collector.through_start = True
        collector.start()
        said = f"otelcol-start: exporters::otlp_grpc/tempo::tls: the certificate {certificate} has expired on"
        assert said in collector.log.read_text()


def test_a_full_disk_is_named(certificates: Certificates, logs: Path) -> None:
    """A queue on it would lose a part of what it sends: it waits for room, and somebody is told that."""
    with prepared(Choice("gateway"), certificates, logs) as collector:
        queues = collector.data / "queues"
        queues.mkdir()
        full = 'mount -t tmpfs -o size=1m tmpfs "$0" && ! cat /dev/zero > "$0/other" 2>/dev/null && exec "$@"'
        check = [collector_start_binary(), "--check", f"--config={collector.config}"]
        command = ["unshare", "-Urm", "sh", "-c", full, str(queues), *check]
        done = subprocess.run(command, env=dict(collector.environment()), capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert f"extensions::file_storage/tempo: the disk of {queues}/tempo is full: make room first" in done.stderr


def test_a_check_makes_no_directory(certificates: Certificates, logs: Path) -> None:
    """Whoever checks is often root, whose directories would be closed to the collector's own user."""
    with prepared(Choice("gateway"), certificates, logs) as collector:
        assert complaints(collector) == []
        assert not (collector.data / "queues").exists()


def test_an_extension_that_is_not_enabled_is_named(certificates: Certificates, logs: Path) -> None:
    """A store that is defined, used, and not in service.extensions fails only at the start: here before it."""
    with prepared(Choice("gateway"), certificates, logs) as collector:
        text = collector.config.read_text()
        before, _, after = text.rpartition("    - file_storage/tempo\n")
        assert before
        collector.config.write_text(before + after)
        lines = complaints(collector)
        assert any(
            "extensions::file_storage/tempo: is defined, but not in service::extensions" in line for line in lines
        )


def test_a_broken_queue_file_is_set_aside(certificates: Certificates, logs: Path) -> None:
    """A queue file that is no database stops a stock start; here it is kept beside, said, and the collector starts."""
    with prepared(Choice("gateway"), certificates, logs) as collector:
        folder = collector.data / "queues" / "tempo"
        folder.mkdir(parents=True)
        broken = secrets.token_bytes(32768)
        (folder / "exporter_otlp_grpc_tempo_traces").write_bytes(broken)
        collector.through_start = True
        collector.start()
        kept = [path for path in folder.iterdir() if ".broken-" in path.name]
        assert [path.read_bytes() for path in kept] == [broken]
        assert "was set aside" in collector.log.read_text()


def test_a_broken_ledger_is_set_aside(certificates: Certificates, logs: Path) -> None:
    """A file that is no ledger ends the collector at every start; here it is kept beside, said, and begun anew."""
    with prepared(Choice("gateway"), certificates, logs) as collector:
        folder = collector.data / "queues" / "ledger"
        folder.mkdir(parents=True)
        broken = b"broken"
        (folder / "ledger.bin").write_bytes(broken)
        collector.through_start = True
        collector.start()
        collector.restart()
        kept = [path for path in folder.iterdir() if ".broken-" in path.name]
        assert [path.read_bytes() for path in kept] == [broken]
        assert collector.log.read_text().count("the ledger is broken and was set aside") == 1


def test_the_queue_of_a_running_collector_stays(certificates: Certificates, logs: Path) -> None:
    """A file that another collector has open is not broken: a check beside it moves nothing, and says so."""
    with prepared(Choice("gateway"), certificates, logs) as collector:
        collector.start()
        folder = collector.data / "queues" / "tempo"
        before = sorted(path.name for path in folder.iterdir())
        assert before == ["exporter_otlp_grpc_tempo_traces"]
        lines = complaints(collector)
        assert any("exporter_otlp_grpc_tempo_traces cannot be looked into: another process has it" in x for x in lines)
        assert sorted(path.name for path in folder.iterdir()) == before


def test_a_queue_that_nobody_reads_is_named(certificates: Certificates, logs: Path) -> None:
    """An exporter that was called otlp/tempo has left its queue behind: the start goes on, and says so once."""
    with prepared(Choice("gateway"), certificates, logs) as collector:
        folder = collector.data / "queues" / "tempo"
        folder.mkdir(parents=True)
        content = gzip.decompress((QUEUES / "otelcol-0.110.0.gz").read_bytes())
        for name in ("exporter_otlp_tempo_traces", "exporter_otlp_grpc_tempo_traces"):
            (folder / name).write_bytes(content)
        command = [collector_start_binary(), "--check", f"--config={collector.config}"]
        result = subprocess.run(command, env=collector.environment(), capture_output=True, text=True, check=False)
    (line,) = result.stderr.splitlines()
    assert result.returncode == 0
    assert "tempo/exporter_otlp_tempo_traces: rename it to what it belongs to (exporter_otlp_grpc_tempo_...)" in line


def test_it_becomes_the_collector_and_asks_its_health(certificates: Certificates, logs: Path) -> None:
    """The process is the collector itself, which gets the signals; `--health` needs no shell and no curl."""
    with prepared(Choice("agent"), certificates, logs) as collector:
        collector.through_start = True
        env = {"PATH": os.environ["PATH"], "OTELCOL_HEALTH_ENDPOINT": f"127.0.0.1:{collector.ports['health']}"}
        command = [collector_start_binary(), "--health"]
        assert subprocess.run(command, env=env, capture_output=True, check=False).returncode == 1
        collector.start()
        assert subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0


def test_without_a_collector_it_says_so(tmp_path: Path) -> None:
    """No binary anywhere: one line."""
    command = [collector_start_binary(), "--config=x.yaml"]
    result = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("otelcol-start: no collector")


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_is_its_own(option: str, tmp_path: Path) -> None:
    """Not the collector's, which knows nothing of what this program can do."""
    command = [collector_start_binary(), option]
    result = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    known = ("--config FILE", "--check", "--health", "--drain", "OTELCOL_BINARY")
    assert all(each in result.stdout for each in known)
