"""Virtual environments of the suites: one a Python, and one with the oldest libraries that are supported."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".test"


@dataclass(frozen=True)
class Environment:
    """A virtual environment of the project.

    Attributes:
        name: also its folder's name.
        python: `major.minor`.
        groups: dependency groups of `pyproject.toml`.
        pins: further requirements, each with the reason beside it.
        unit: the files of `tests/unit` that this environment may decide, without `test_` and `.py`.
        integration: likewise of `tests/integration`.
    """

    name: str
    python: str
    groups: tuple[str, ...] = ("test",)
    pins: tuple[str, ...] = field(default=())
    unit: tuple[str, ...] = field(default=("*",))
    integration: tuple[str, ...] = field(default=())

    @property
    def bin(self) -> Path:
        """Where its programs are."""
        return HOME / self.name / "bin"


# the oldest releases that the suites support: FastAPI without native telemetry, Starlette before 1.0, redis-py 5
OLDEST = (
    "fastapi==0.115.14",
    "starlette==0.41.3",
    "sqlalchemy==1.4.54",
    "psycopg2-binary",  # SQLAlchemy 1.4 does not know psycopg 3
    "redis==5.0.8",
    "httpx==0.27.2",
    "uvicorn==0.30.6",
    "urllib3<2.3",
    "requests<2.33",
    "aiohttp<3.12",
    "sentry-sdk==2.55.0",
)
# FastAPI between: after its routing changed, before its own telemetry; the last SQLAlchemy that contrib knows
# with contrib's instrumentations of database drivers, which must stay silent below SQLAlchemy
MIDDLE = (
    "fastapi==0.140.0",
    "sqlalchemy<2.1",
    "redis<6",
    "opentelemetry-instrumentation-asyncpg==0.66b1",
    "opentelemetry-instrumentation-psycopg==0.66b1",
)

# the newest sentry-sdk of the next major version, which pip leaves alone as long as it is a pre-release
SENTRY_3 = ("sentry-sdk==3.0.0b2",)

# the extra, which the other environments do without
GRPC = ("opentelemetry-exporter-otlp-proto-grpc==1.45.1",)

MAIN = Environment("main", "3.11", ("test", "lint"))
# threads, forks and the end of the interpreter are what Pythons do differently; libraries decide what is patched
OF_PYTHON = ("exits", "launch", "stock_launcher", "context_processes", "metrics_group", "otlp_queue", "runtime_group")
OF_LIBRARIES = ("instr_*", "health_service", "logs_servers")
PATCHED = ("asgi*", "instr*", "health*", "context", "request_ids", "spent", "operations", "logs_others", "sentry*")
OTHERS = (
    Environment("python3.12", "3.12", pins=GRPC, integration=(*OF_PYTHON, "instr_*", "grpc")),
    Environment("python3.13", "3.13", pins=SENTRY_3, integration=(*OF_PYTHON, "instr_*", "sentry_*")),
    Environment("oldest", "3.11", pins=OLDEST, unit=PATCHED, integration=(*OF_LIBRARIES, "launch", "sentry_*")),
    Environment("middle", "3.11", pins=MIDDLE, unit=PATCHED, integration=OF_LIBRARIES),
)


def find_python(version: str) -> str | None:
    """The interpreter of `version` on PATH or among pyenv's, newest patch first; None where there is none."""
    found = shutil.which(f"python{version}")
    candidates = [found] if found else []
    versions = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    patches = (path for path in versions.glob(f"{version}.*") if re.fullmatch(rf"{re.escape(version)}\.\d+", path.name))
    newest_first = sorted(patches, key=lambda path: int(path.name.rpartition(".")[2]), reverse=True)
    candidates += [str(path / "bin" / "python") for path in newest_first]
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        candidates.append(sys.executable)
    for candidate in candidates:
        probe = subprocess.run(
            [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if probe.stdout.strip() == version:
            return candidate
    return None


def make(environment: Environment, python: str) -> None:
    """Make the environment with the project in it, or leave it as it is when nothing that it depends on has changed."""
    target = HOME / environment.name
    stamp = target / "stamp"
    wanted = _fingerprint(environment, python)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    uv = _uv()
    shutil.rmtree(target, ignore_errors=True)
    _run([uv, "venv", "--quiet", "--python", python, str(target)])
    groups = [
        argument for group in environment.groups for argument in ("--group", f"{ROOT / 'pyproject.toml'}:{group}")
    ]
    python = str(environment.bin / "python")
    _run([uv, "pip", "install", "--quiet", "--python", python, "--editable", str(ROOT), *groups, *environment.pins])
    stamp.write_text(wanted)


def _uv() -> str:
    """uv, in an environment of its own: it makes an environment in seconds where pip needs half a minute."""
    home = HOME / "uv"
    uv = home / "bin" / "uv"
    if not uv.exists():
        venv.create(home, with_pip=True, clear=True)
        _run([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "uv>=0.9"])
    return str(uv)


def _fingerprint(environment: Environment, python: str) -> str:
    text = (ROOT / "pyproject.toml").read_text() + repr(environment) + python + str(ROOT)
    return hashlib.sha256(text.encode()).hexdigest()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(f"scripts/test: failed: {' '.join(command)}")
