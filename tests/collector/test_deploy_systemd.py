"""deploy/systemd: systemd knows every key, little is left open, and what a unit names exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.collector.container import Container, run
from tests.collector.deployments import DEPLOY, ROOT, secrets, variables_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.otlp_servers import Certificates

UNITS = DEPLOY / "systemd"
SECURED = "agent-mtls-token-redaction-logs-otlp"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on PATH")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory with the unit, once as an instance with the drop-in, and a program to start."""
    system = tmp_path / "etc" / "systemd" / "system"
    (system / f"otelcol@{SECURED}.service.d").mkdir(parents=True)
    shutil.copy(UNITS / "otelcol@.service", system)
    shutil.copy(UNITS / "otelcol@.service", system / f"otelcol@{SECURED}.service")
    shutil.copy(UNITS / "production.conf", system / f"otelcol@{SECURED}.service.d")
    program = tmp_path / "usr" / "bin" / "otelcol-start"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    return tmp_path


def analyze(root: Path, verb: str, *options: str) -> subprocess.CompletedProcess[str]:
    """What systemd-analyze says of the instance."""
    command = ["systemd-analyze", verb, f"--root={root}", *options, f"otelcol@{SECURED}.service"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_systemd
def test_systemd_knows_every_key(root: Path) -> None:
    """No key is misspelt, no value ignored, in the unit and in its drop-in; one that is would be said."""
    checks = ("--man=no", "--recursive-errors=no")
    done = analyze(root, "verify", *checks)
    assert (done.returncode, done.stderr) == (0, "")
    drop_in = root / "etc/systemd/system" / f"otelcol@{SECURED}.service.d" / "production.conf"
    drop_in.write_text(drop_in.read_text().replace("LoadCredential=tls", "LoadCredentials=tls"))
    assert "Unknown key 'LoadCredentials'" in analyze(root, "verify", *checks).stderr


def test_a_start_that_fails_for_long_is_tried_again() -> None:
    """A full disk or a taken port may last for hours: without this key systemd gives up for good after five tries."""
    unit = (UNITS / "otelcol@.service").read_text()
    assert "\nStartLimitIntervalSec=0\n" in unit
    assert "\nRestart=on-failure\n" in unit


@needs_systemd
def test_little_is_left_open(root: Path) -> None:
    """systemd's own measure of exposure, from 0 to 10, is below 2."""
    done = analyze(root, "security", "--offline=yes", "--threshold=20", "--no-pager")
    assert done.returncode == 0, done.stdout[-500:]


def environment() -> dict[str, str]:
    """The variables of the unit and its drop-in, with systemd's specifiers resolved."""
    text = "".join((UNITS / name).read_text() for name in ("otelcol@.service", "production.conf"))
    lines = re.findall(r"^Environment=(.+)$", text, re.MULTILINE)
    resolved = " ".join(lines).replace("%i", SECURED).replace("%d", "/run/credentials")
    return dict(entry.split("=", 1) for entry in resolved.split())


def test_an_instance_starts(certificates: Certificates) -> None:
    """With its variables, its state directory and the credentials as systemd lays them out."""
    text = (UNITS / "otelcol@.service").read_text()
    (command,) = re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)
    drop_in = (UNITS / "production.conf").read_text()
    credentials = dict(re.findall(r"^LoadCredential=(\w+):(\S+)$", drop_in, re.MULTILINE))
    held = secrets(certificates)
    folders = {
        "/etc/otelcol/tls": held["otelcol-agent-tls"],
        "/etc/otelcol/backend": held["otelcol-agent-client-tls"],
        "/etc/otelcol/tokens": held["otelcol-agent-tokens"],
    }
    config = (ROOT / "collector" / "configs" / f"{SECURED}.yaml").read_text()
    assert {name for name in environment() if name.startswith("OTELCOL_")} <= variables_of(config)
    problem = run(
        Container(
            command=command.replace("%i", SECURED).split(),
            environment=environment(),
            files={f"/etc/otelcol/configs/{SECURED}.yaml": config}
            | {
                f"/run/credentials/{name}_{file}": content
                for name, source in credentials.items()
                for file, content in folders[source].items()
            },
            writable=[f"/var/lib/otelcol/{SECURED}"],
            health=["/usr/bin/otelcol-start", "--health"],
            ports=[4317, 4318, 8888],
        )
    )
    assert problem == ""
