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


def test_unusable_files_send_nothing_with_one_line(certificates: Certificates, tmp_path: Path) -> None:
    """A missing or broken file sends nothing, not even in plain text: it waits, and a line names file and variables."""
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
                assert not speaking.send(1)
                assert not speaking.send(2)
                stats = speaking.sender.stats()
                assert (stats.off, stats.queued, dict(stats.dropped)) == ("", 2, {}), files
            assert server.connections == 0
            assert len(speaking.lines) == 2, speaking.lines  # and one at the end, of what was lost
            assert "check OTEL_EXPORTER_OTLP_CERTIFICATE" in speaking.lines[0]
            assert any(path in speaking.lines[0] for path in files.values()) or "client key" in speaking.lines[0]


def renew(pair: tuple[Path, Path], source: tuple[Path, Path]) -> None:
    """Replace a certificate and its key as a secret's mount does: by other files under the same names."""
    for old, new in zip(pair, source, strict=True):
        fresh = old.with_suffix(".new")
        fresh.write_bytes(new.read_bytes())
        fresh.replace(old)


def test_renewed_files_are_used_without_a_restart(certificates: Certificates, tmp_path: Path) -> None:
    """An authority and a client's certificate that are replaced are those of the next connection; nothing is lost."""
    trusted, pair = tmp_path / "ca.pem", (tmp_path / "tls.crt", tmp_path / "tls.key")
    context = certificates.server_context(certificates.server, clients_of=certificates.authority)
    with (
        RawServer(keep_answering(OK), context) as server,
        Speaking(
            server.url, certificate=str(trusted), client_certificate=str(pair[0]), client_key=str(pair[1])
        ) as speaking,
    ):
        assert not speaking.send(1)  # the secret is not there yet
        trusted.write_bytes(certificates.stranger.read_bytes())
        renew(pair, certificates.strange_client)
        assert not speaking.send(2)  # this side does not trust the other
        renew((trusted, pair[1]), (certificates.authority, certificates.client[1]))
        assert not speaking.send(3)  # the key alone is new: what was before goes on, and is not trusted
        renew(pair, certificates.client)
        assert speaking.send(4)
        stats = speaking.sender.stats()
        assert (stats.sent, stats.queued, dict(stats.dropped)) == (4, 0, {})
        away, back = speaking.lines
        assert str(trusted) in away
        assert "a renewed file is read by itself" in away
        assert "4 spans waited and are sent now, 0 were dropped" in back


def test_files_in_the_middle_of_a_renewal_keep_what_works(certificates: Certificates, tmp_path: Path) -> None:
    """A new connection beside a certificate whose key is still to come shows the pair of before."""
    pair = (tmp_path / "tls.crt", tmp_path / "tls.key")
    renew(pair, certificates.client)
    context = certificates.server_context(certificates.server, clients_of=certificates.authority)

    def once(connection: socket.socket, _: int) -> None:
        read_request(connection)
        connection.sendall(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    with (
        RawServer(once, context) as server,
        Speaking(
            server.url,
            certificate=str(certificates.authority),
            client_certificate=str(pair[0]),
            client_key=str(pair[1]),
        ) as speaking,
    ):
        assert speaking.send(1)
        renew(pair[:1], certificates.strange_client[:1])
        assert speaking.send(2)
        pair[1].unlink()
        assert speaking.send(3)
        assert server.connections == 3
        assert speaking.lines == []


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
