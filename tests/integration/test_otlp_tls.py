"""TLS and mutual TLS: the right certificates work, everything else sends nothing and says why."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from otel_distro.otlp._batch import PROTOBUF
from otel_distro.otlp._tls import Tls
from otel_distro.otlp.answer import Result
from otel_distro.otlp.client import OtlpClient
from otel_distro.otlp.endpoint import Proxies, parse_endpoint
from tests.otlp_servers import OK, Certificates, RawServer, Speaking, batch, keep_answering, read_request
from tests.servers.waiting import wait_until


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Authorities and certificates of this run."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


def test_a_private_authority_is_trusted_when_named(certificates: Certificates) -> None:
    """With OTEL_EXPORTER_OTLP_CERTIFICATE the server's certificate is checked against that authority and accepted."""
    context = certificates.server_context(certificates.server)
    with (
        RawServer(keep_answering(OK), context) as server,
        Speaking(server.url, certificate=str(certificates.authority)) as speaking,
    ):
        assert speaking.send(1)
        assert speaking.send(2)
        assert server.connections == 1
        assert speaking.lines == []


@pytest.mark.parametrize("case", ["unknown authority", "other authority", "expired", "other name"])
def test_an_untrusted_server_gets_nothing(certificates: Certificates, case: str) -> None:
    """A certificate of an unknown authority, an expired one, or one for another name: one line, and no data leaves."""
    seen: list[bytes] = []

    def script(connection: socket.socket, _: int) -> None:
        seen.append(read_request(connection))

    shown = {"expired": certificates.expired, "other name": certificates.elsewhere}.get(case, certificates.server)
    trusted = {"unknown authority": None, "other authority": str(certificates.stranger)}.get(
        case, str(certificates.authority)
    )
    with (
        RawServer(script, certificates.server_context(shown)) as server,
        Speaking(server.url, certificate=trusted) as speaking,
    ):
        assert not speaking.send()
        assert not speaking.send()
        assert speaking.sender.stats().queued == 2
        assert len(speaking.lines) == 1
        assert "its certificate is not trusted" in speaking.lines[0]
    assert seen in ([], [b""])


def test_a_client_shows_its_certificate_when_asked(certificates: Certificates) -> None:
    """Mutual TLS works with certificate and key, and fails, to be tried again, with none or with a stranger's."""
    context = certificates.server_context(certificates.server, clients_of=certificates.authority)
    cases = [(certificates.client, True), (certificates.strange_client, False), (None, False)]
    for pair, fine in cases:
        with RawServer(keep_answering(OK), context) as server:
            files = {"client_certificate": str(pair[0]), "client_key": str(pair[1])} if pair else {}
            with Speaking(server.url, certificate=str(certificates.authority), **files) as speaking:
                assert speaking.send() is fine
                assert speaking.sender.stats().queued == (0 if fine else 1)
                if not fine:  # a connection that is not made is said with the second failure
                    wait_until(lambda s=speaking: s.lines, seconds=10, what="a line")
                assert len(speaking.lines) == (0 if fine else 1)


def test_unusable_files_switch_the_exporter_off_with_one_line(certificates: Certificates, tmp_path: Path) -> None:
    """A missing or broken file sends nothing, not even in plain text: one line that names it, everything counted."""
    broken = tmp_path / "broken.pem"
    broken.write_text("not a certificate")
    authority, client = str(certificates.authority), [str(path) for path in certificates.client]
    cases: list[dict[str, str]] = [
        {"certificate": str(tmp_path / "missing.pem")},
        {"certificate": str(broken)},
        {"certificate": str(tmp_path)},
        {"certificate": authority, "client_certificate": str(broken), "client_key": client[1]},
        {"certificate": authority, "client_certificate": client[0], "client_key": str(tmp_path / "missing.key")},
        {"certificate": authority, "client_certificate": client[0], "client_key": str(certificates.server[1])},
        {"certificate": authority, "client_certificate": client[0], "client_key": str(certificates.locked_key)},
        {"certificate": authority, "client_key": client[1]},
    ]
    for files in cases:
        with RawServer(keep_answering(OK)) as server:
            with Speaking(server.url.replace("http:", "https:"), **files) as speaking:
                speaking.send(1)
                speaking.send(2)
                stats = speaking.sender.stats()
                assert stats.off, files
                assert dict(stats.dropped) == {"exporter off": 2}
                assert stats.queued == 0
            assert server.connections == 0
            assert len(speaking.lines) == 1, speaking.lines
            assert "stays off" in speaking.lines[0]
            assert any(path in speaking.lines[0] for path in files.values()) or "client key" in speaking.lines[0]


def test_a_tunnel_keeps_tls_between_client_and_collector(certificates: Certificates) -> None:
    """Through a proxy only CONNECT is readable; the collector's certificate is checked inside, against its own name."""
    inner: list[bytes] = []
    outer: list[bytes] = []
    context = certificates.server_context(certificates.elsewhere)

    def script(connection: socket.socket, _: int) -> None:
        outer.append(read_request(connection))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(connection, server_side=True) as secure:
            inner.append(read_request(secure))
            secure.sendall(OK)

    with RawServer(script) as proxy:
        for host, result in (("collector.test", Result.ACCEPTED), ("other.test", Result.RETRY)):
            client = OtlpClient(
                parse_endpoint(f"https://{host}:4318/v1/traces"),
                content_type=PROTOBUF,
                tls=Tls(str(certificates.authority)),
                proxies=Proxies(https=f"http://me:pw@127.0.0.1:{proxy.port}"),
            )
            assert client.send(batch(1).body).result is result
            client.close()
    assert outer[0].startswith(b"CONNECT collector.test:4318 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6cHc=" in outer[0]
    assert len(inner) == 1
    assert inner[0].startswith(b"POST /v1/traces HTTP/1.1\r\nHost: collector.test:4318\r\n")
    assert b"bWU6cHc=" not in inner[0]
