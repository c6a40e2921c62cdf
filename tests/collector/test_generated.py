"""The generated configurations: written down, complete, and started with the real binary."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from scripts.collectorgen.__main__ import FOLDER, main
from scripts.collectorgen.choices import COMMITTED, Choice, every_choice
from scripts.collectorgen.roles import configuration, configuration_text
from scripts.collectorgen.text import without_comments
from tests.collector.generated import TOKEN, GeneratedCollector
from tests.collector.traffic import request_body, send_traces
from tests.servers import ServerError, total, wait_until
from tests.servers.binaries import collector_binary

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.otlp_servers import Certificates

NAMES = [choice.name for choice in COMMITTED]
SECURED = Choice("gateway", tls="tls", token=True, redaction=True)


@pytest.mark.parametrize("choice", COMMITTED, ids=NAMES)
def test_committed_file_is_what_is_generated(choice: Choice) -> None:
    """collector/configs/ holds exactly what the description gives: `scripts/collector-config write` renews it."""
    assert (FOLDER / f"{choice.name}.yaml").read_text() == configuration_text(choice)


def test_no_other_file_lies_among_the_generated() -> None:
    """A configuration that is no longer made does not stay behind."""
    assert {path.stem for path in FOLDER.glob("*")} == set(NAMES)


def test_a_second_process_generates_the_same(tmp_path: Path) -> None:
    """The command prints the committed file, so that anyone can make it for another combination."""
    command = [sys.executable, "-m", "scripts.collectorgen", "gateway", "--metrics=scrape", "--logs=file"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=FOLDER.parents[1])
    assert result.stdout == (FOLDER / "gateway-scrape-logs-file.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["gateway", "--token"], "needs TLS"),
        (["agent", "--sentry"], "forwards everything"),
        (["ingest", "--logs=otlp"], "handles traces"),
        (["agent", "--metrics=scrape"], "the gateway's choice"),
        (["agent", "--logs=file"], "files are the gateway's choice"),
        (["consume", "--tls=tls", "--token"], "nobody to show a token"),
        (["gateway", "--detect=host"], "known to the agent"),
    ],
)
def test_a_combination_that_does_not_fit_says_why(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line and status 2, instead of a file that would be wrong to run."""
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line


def test_every_combination_keeps_the_rules() -> None:
    """In all: limiter first, redaction before any queue, extensions enabled, no queue that blocks or is shared."""
    choices = list(every_choice())
    assert len(choices) > 400
    for choice in choices:
        problems = broken_rules(without_comments(configuration(choice)), redacted=choice.redaction)
        assert problems == [], choice.name


@pytest.mark.parametrize("choice", COMMITTED, ids=NAMES)
def test_text_is_what_was_described(choice: Choice) -> None:
    """No comment, quote or indentation changes what a reader of YAML gets."""
    assert yaml.safe_load(configuration_text(choice)) == without_comments(configuration(choice))


def broken_rules(config: dict[str, Any], *, redacted: bool) -> list[str]:
    """What is wrong with a configuration, by the rules that hold for every one."""
    found = []
    service = config["service"]
    if list(config["extensions"]) != service["extensions"]:
        found.append("extensions defined and not enabled")
    for name, pipeline in service["pipelines"].items():
        entrance = not set(pipeline["receivers"]) & set(config["connectors"])
        if entrance and pipeline["processors"][0] != "memory_limiter":
            found.append(f"{name}: the limiter must come first")
        if entrance and redacted != ("redaction" in pipeline["processors"]):
            found.append(f"{name}: redaction must stand before every queue, where it is wanted")
    stores = []
    for name, exporter in config["exporters"].items():
        queue = exporter.get("sending_queue", {})
        if queue.get("block_on_overflow"):
            found.append(f"{name} blocks its siblings")
        stores += [queue["storage"]] if "storage" in queue else []
    if len(set(stores)) != len(stores) or set(stores) - set(service["extensions"]):
        found.append("a store that is shared or not enabled")
    return found + shared_batches(config)


def shared_batches(config: dict[str, Any]) -> list[str]:
    """Branches that share a batch although something in them may change it."""
    found = []
    for connector in config["connectors"].values():
        for name in connector.get("stored", []):
            branch = config["service"]["pipelines"][name]
            queues = [
                config["exporters"].get(exporter, {}).get("sending_queue", {}) for exporter in branch["exporters"]
            ]
            if "processors" in branch or not all("storage" in queue for queue in queues):
                found.append(name)
    return found


def test_representative_combinations_start(certificates: Certificates, logs: Path) -> None:
    """Each committed file starts with the real binary: `validate` accepts what cannot start."""
    assert failures_to_start(COMMITTED, certificates, logs) == {}


def failures_to_start(choices: tuple[Choice, ...], certificates: Certificates, logs: Path) -> dict[str, str]:
    """Name and end of the log of every choice that does not become healthy; four at a time."""

    def started(choice: Choice) -> str:
        try:
            with GeneratedCollector(logs, choice, certificates):
                return ""
        except ServerError as error:
            return str(error)

    with ThreadPoolExecutor(4) as starts:
        results = dict(zip((choice.name for choice in choices), starts.map(started, choices), strict=True))
    return {name: problem for name, problem in results.items() if problem}


def post(url: str, certificates: Certificates, headers: Mapping[str, str] | None = None) -> int:
    """Status of an export over TLS whose server is checked."""
    context = ssl.create_default_context(cafile=str(certificates.authority))
    headers = {"Content-Type": "application/x-protobuf"} | dict(headers or {})
    request = urllib.request.Request(f"{url}/v1/traces", data=request_body("secured"), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_only_a_sender_with_the_token_is_let_in_and_the_others_are_counted(
    certificates: Certificates, logs: Path
) -> None:
    """No token and a wrong one get 401, which moves the metric of the rules; a renewed token file needs no restart."""
    with GeneratedCollector(logs, SECURED, certificates) as collector:
        assert post(collector.url, certificates) == 401
        assert post(collector.url, certificates, {"Authorization": "Bearer wrong"}) == 401
        assert post(collector.url, certificates, {"Authorization": f"Bearer {TOKEN}"}) == 200
        collector.wait_for_metric("http_server_request_duration_seconds_count", 2, http_response_status_code="401")
        refused = total(collector.metrics(), "otelcol_receiver_refused_spans_total")
        assert not refused, "refusals of senders without a login are not counted here"
        collector.token_file.write_text("renewed")
        renewed = {"Authorization": "Bearer renewed"}
        wait_until(lambda: post(collector.url, certificates, renewed) == 200, seconds=10, what="the renewed token")
        assert post(collector.url, certificates, {"Authorization": f"Bearer {TOKEN}"}) == 401


def test_a_renewed_certificate_is_served_without_a_restart(
    certificates: Certificates, logs: Path, tmp_path: Path
) -> None:
    """Both files exchanged: new connections get the new certificate, and the process is the same."""
    files = tmp_path / "tls.crt", tmp_path / "tls.key"

    def put(pair: tuple[Path, Path]) -> str:
        for source, target in zip(pair, files, strict=True):
            target.write_bytes(source.read_bytes())
        return pair[0].read_text()

    first = put(certificates.server)
    env = dict(zip(("OTELCOL_TLS_CERT_FILE", "OTELCOL_TLS_KEY_FILE"), map(str, files), strict=True))
    env["OTELCOL_TLS_RELOAD_INTERVAL"] = "1s"
    with GeneratedCollector(logs, Choice("gateway", tls="tls"), certificates, env=env) as collector:
        address = ("127.0.0.1", collector.ports["http"])
        pid = collector.pid
        assert ssl.get_server_certificate(address).split() == first.split()
        second = put(certificates.elsewhere)
        served = lambda: ssl.get_server_certificate(address).split() == second.split()  # noqa: E731
        wait_until(served, seconds=10, what="the new certificate to be served")
        assert collector.pid == pid


def test_plain_text_and_strangers_are_refused(certificates: Certificates, logs: Path) -> None:
    """Plain HTTP never gets through TLS; with mTLS, neither does a client without a certificate of the authority."""
    with GeneratedCollector(logs, Choice("gateway", tls="mtls"), certificates) as collector:
        with pytest.raises((OSError, AssertionError)):
            send_traces(collector.url.replace("https", "http"), "plain", 1)
        with pytest.raises(OSError, match=r"certificate required|reset|alert|EOF"):
            post(collector.url, certificates)


@pytest.mark.parametrize(
    "variable", ["OTELCOL_TLS_CERT_FILE", "OTELCOL_BACKEND_CA_FILE", "OTELCOL_RECEIVER_TOKEN_FILE"]
)
def test_a_missing_file_stops_the_start(variable: str, certificates: Certificates, logs: Path) -> None:
    """A certificate or token that is not there never falls back to plain text or to no login."""
    collector = GeneratedCollector(logs, SECURED, certificates, env={variable: "/nowhere/file"})
    with pytest.raises(ServerError, match="/nowhere/file"):
        collector.start()
    collector.close()


def test_personal_data_never_reaches_the_disk(certificates: Certificates, logs: Path) -> None:
    """With the overlay, a queue that waits for a dead backend holds neither the address nor the token that was sent."""
    private = {"customer": "jane.roe@example.com", "http.request.header.authorization": "Bearer abcdefgh12345678"}
    for choice, expected in ((Choice("gateway"), True), (Choice("gateway", redaction=True), False)):
        with GeneratedCollector(logs, choice, certificates) as collector:
            send_traces(collector.url, "private", 1, **private)
            collector.wait_for_metric("otelcol_exporter_queue_size", 1, exporter="otlp_grpc/tempo")
            stored = b"".join(path.read_bytes() for path in collector.data.rglob("*") if path.is_file())
            assert [value.encode() in stored for value in private.values()] == [expected, expected]


def test_print_config_reads_what_was_written() -> None:
    """Patterns and defaults reach the collector as they were meant: no `$` of a regular expression is eaten."""
    path = FOLDER / "gateway-tls-token-redaction-logs-otlp.yaml"
    command = [collector_binary(), "print-config", f"--config={path}", "--format=json", "--mode=unredacted"]
    result = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True)
    seen = json.loads(result.stdout)["processors"]["redaction"]
    written = yaml.safe_load(path.read_text())["processors"]["redaction"]
    assert {key: seen[key] for key in written} == written
