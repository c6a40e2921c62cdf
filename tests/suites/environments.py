"""Virtual environments of the suites: one a Python, and one with the oldest libraries that are supported."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(
    os.environ.get("OTEL_DISTRO_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").joinpath("otel-distro")
)
HOME = CACHE / "environments" / hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]
"""Outside the tree, so that a new checkout in its place finds them; each place has its own: the project is in them."""
LINK = ROOT / ".test"
"""Where people find them: `.test/main/bin`."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment of the project.

    Attributes:
        name: also its folder's name.
        python: `major.minor`.
        groups: dependency groups of `pyproject.toml`.
        pins: further requirements, each with the reason beside it.
        unit: the files of `tests/unit` that this environment may decide, without `test_` and `.py`; after a minus, not.
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
    "httpx2==2.0.0",
    "uvicorn==0.30.6",
    "urllib3<2.3",
    "requests<2.33",
    "aiohttp<3.12",
    "sentry-sdk==2.55.0",
    "gevent==24.10.1",  # looks names up at the end of a process
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
# rules on texts and numbers alone, which neither a Python nor a library decides
PURE = (
    *("readme", "robustness_page", "known_cases", "metrics_doc", "bench_*", "suites", "console_tree"),
    "prometheus_text",
    *("metrics_exponential", "propagation", "instr_redaction", "instr_sql_summary", "otlp_values", "sentry_words"),
)
ANY_PYTHON = ("*", *(f"-{stem}" for stem in PURE))
# threads, forks and the end of the interpreter are what Pythons do differently; libraries decide what is patched
OF_PYTHON = (
    *("exits", "gevent", "launch", "stock_launcher", "context_processes", "otlp_queue", "runtime_group", "instr_*"),
)
OF_LIBRARIES = ("instr_*", "health_service")
PATCHED = ("asgi*", "instr*", "health*", "request_ids", "spent", "-asgi_settings", "-instr_redaction")
TOLD = ("context", "operations", "logs_others", "sentry*", "-sentry_settings", "-sentry_words")
OTHERS = (
    Environment("python3.12", "3.12", pins=GRPC, unit=ANY_PYTHON, integration=(*OF_PYTHON, "grpc")),
    Environment(
        "python3.13", "3.13", pins=SENTRY_3, unit=ANY_PYTHON, integration=(*OF_PYTHON, "metrics_group", "sentry_*")
    ),
    Environment(
        "oldest",
        "3.11",
        pins=OLDEST,
        unit=(*PATCHED, *TOLD),
        integration=(*OF_LIBRARIES, "gevent", "launch", "logs_servers", "sentry_*"),
    ),
    Environment("middle", "3.11", pins=MIDDLE, unit=PATCHED, integration=OF_LIBRARIES),
)


def files_of(suite: str, stems: Iterable[str]) -> list[str]:
    """The files of a suite that `stems` name, those after a minus left out."""
    named = {False: set[Path](), True: set[Path]()}
    for stem in stems:
        named[stem.startswith("-")].update(ROOT.glob(f"tests/{suite}/test_{stem.removeprefix('-')}.py"))
    return sorted(str(path.relative_to(ROOT)) for path in named[False] - named[True])


def python_of(environment: Environment) -> str:
    """The interpreter of an environment; ends the program where there is none."""
    python = find_python(environment.python)
    if python is None:
        sys.exit(f"scripts/test: Python {environment.python} is needed and not found")
    return python


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
        # of a virtual environment, which may be the one that is made anew, the interpreter that it was made from
        tell = "import sys; print('%d.%d' % sys.version_info[:2], sys._base_executable)"
        probe = subprocess.run([candidate, "-c", tell], capture_output=True, text=True, check=False)
        found_version, _, base = probe.stdout.strip().partition(" ")
        if found_version == version:
            return base
    return None


def make(environment: Environment, python: str) -> None:
    """Make the environment with the project in it, or leave it as it is when nothing that it depends on has changed."""
    _link()
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


def _link() -> None:
    """Let the tree's `.test` lead to the environments."""
    HOME.mkdir(parents=True, exist_ok=True)
    if LINK.is_symlink() and LINK.resolve() == HOME.resolve():
        return
    if LINK.is_symlink():
        LINK.unlink()
    else:
        shutil.rmtree(LINK, ignore_errors=True)
    LINK.symlink_to(HOME)


def _fingerprint(environment: Environment, python: str) -> str:
    """Changes with what is installed and nothing else."""
    described = tomllib.loads((ROOT / "pyproject.toml").read_text())
    parts = [described[name] for name in ("build-system", "project", "dependency-groups")]
    text = repr((parts, environment.groups, environment.pins, python, str(ROOT)))
    return hashlib.sha256(text.encode()).hexdigest()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(f"scripts/test: failed: {' '.join(command)}")
