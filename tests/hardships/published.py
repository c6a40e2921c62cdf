"""Published test suites of libraries that the distro patches, with it active and without: the same results.

Their source distributions come from the package index by pip, into a cache outside the tree with environments of its
own. What differs is listed test by test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.hardships.environments import environment

_TOOLS = (
    "pytest", "pytest-timeout", "anyio[trio]", "trio", "dirty-equals", "inline-snapshot", "jinja2", "itsdangerous",
    "python-multipart", "pyyaml", "PyJWT", "pwdlib[argon2]", "sqlmodel", "flask", "orjson", "ujson", "email-validator",
    "pydantic-settings", "trustme", "uvicorn", "brotli", "zstandard", "chardet", "click", "rich", "pygments", "h2",
    "socksio", "httpx", "httpx2", "a2wsgi", "typer", "opentelemetry-test-utils==0.66b1",
)  # fmt: skip
_NATIVE = ("tests.test_telemetry", "tests.test_tutorial.test_opentelemetry", "tests.middleware.test_opentelemetry")
"""FastAPI's and Starlette's tests of their own spans, which are off where the distro makes them."""

_PRINTED = "prints the headers of a request that httpx sends, to which tracing adds traceparent"
_LEVEL = "asks for the root logger's level, which lines of ours put at INFO"
EXPECTED = {
    "tests.test_main::test_verbose": _PRINTED,
    "tests.test_main::test_auth": _PRINTED,
    "tests.test_dump_json_fast_path::test_explicit_response_class_uses_json_dumps": (
        "counts every call of json.dumps in the process, and a new series of our metrics makes one"
    ),
    "tests.test_stdlib.TestExtraAdder::test_add_extra_e2e[None-None]": (
        "adds whatever is on a record, and the trace's ids now are, as with contrib"
    ),
    "tests.test_config::test_config_log_effective_level[0-0]": _LEVEL,
    "tests.test_config::test_config_log_effective_level[0-None]": _LEVEL,
}
"""Tests that differ as they should, with the reason."""


@dataclass(frozen=True)
class Project:
    """A project whose source distribution carries its tests.

    Attributes:
        arguments: of pytest.
        tools: what its tests need, in an environment of its own; where nothing is named, it shares one.
        logs: `OTEL_DISTRO_LOGS`, for projects that log.
    """

    name: str
    version: str
    tests: str = "tests"
    arguments: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    logs: str = ""

    @property
    def pin(self) -> str:
        """As pip knows it."""
        return f"{self.name}=={self.version}"


PROJECTS = (
    Project("starlette", "1.10.0"),
    Project("httpx", "0.28.1"),
    Project("fastapi", "0.165.0", arguments=("--ignore=tests/benchmarks", "--ignore=tests/test_tutorial/test_graphql")),
    Project(
        "structlog",
        "26.1.0",
        tools=("pytest", "pytest-timeout", "pytest-asyncio", "freezegun", "pretend", "simplejson", "twisted", "rich"),
        logs="json,otlp",
    ),
    Project(
        "uvicorn",
        "0.54.0",
        tools=(
            "pytest",
            "pytest-timeout",
            "pytest-mock",
            "anyio",
            "trustme",
            "cryptography",
            "httpx",
            "a2wsgi",
            "wsproto",
            "websockets",
            "httptools",
            "uvloop",
            "python-dotenv",
            "watchfiles",
            "pyyaml",
            "typing-extensions",
        ),
        logs="json,otlp",
    ),
)


def main(cache: Path, only: str = "") -> bool:
    """Run every suite both ways; True when the only differences are tests of the frameworks' own spans and `EXPECTED`.

    Args:
        cache: directory outside the tree.
        only: the name of one project; all of them when empty.
    """
    shared = [project.pin for project in PROJECTS if not project.tools]
    good = True
    for project in PROJECTS:
        if only not in {"", project.name}:
            continue
        if project.tools:
            programs = environment(cache, project.name, (*project.tools, project.pin))
        else:
            programs = environment(cache, "venv", (*_TOOLS, *shared))
        python = str(programs / "python")
        source = fetched(python, cache, project)
        bare = outcomes(python, source, project, cache, active=False)
        ours = outcomes(python, source, project, cache, active=True)
        passed = sum(outcome == "passed" for outcome in ours.values())
        print(f"{project.name} {project.version}: {len(bare)} tests, {passed} pass with the distro", flush=True)
        for name in sorted(bare.keys() | ours.keys()):
            before, after = bare.get(name, "absent"), ours.get(name, "absent")
            if before != after:
                why = "the framework's own spans" if name.startswith(_NATIVE) else EXPECTED.get(name)
                good &= why is not None
                print(f"  {name}: {before} without, {after} with ({why or 'NOT EXPECTED'})", flush=True)
        good &= len(bare) > 100
    return good


def fetched(python: str, cache: Path, project: Project) -> Path:
    """The unpacked source distribution, tests and all; the package itself is the installed one."""
    source = cache / f"{project.name}-{project.version}"
    if not source.exists():
        # what builds it need not be built itself
        command = [python, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", project.name, "-d", str(cache)]
        subprocess.run([*command, project.pin], check=True)
        with tarfile.open(cache / f"{project.name}-{project.version}.tar.gz") as archive:
            archive.extractall(cache, filter="data")
        # the installed package is what is tested, also by tests that look into the working directory
        shutil.rmtree(source / project.name, ignore_errors=True)
    return source


def outcomes(python: str, source: Path, project: Project, cache: Path, *, active: bool) -> Mapping[str, str]:
    """Test -> what became of it."""
    report = cache / f"{project.name}-{'ours' if active else 'bare'}.xml"
    report.unlink(missing_ok=True)
    launcher = [str(Path(python).parent / "otel-distro"), "run"] if active else []
    command = [*launcher, python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "120", "-o", "addopts="]
    command += ["-W", "default", "--continue-on-collection-errors", f"--junitxml={report}", *project.arguments]
    command.append(project.tests)
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("OTEL_", "SENTRY_", "PYTHON"))}
    environ = {
        **kept,
        "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
        "OTEL_LOG_LEVEL": "none",
        # the echo of a request id is a header more in every answer, which is meant and tested elsewhere
        "OTEL_DISTRO_REQUEST_ID": "accept",
        "OTEL_DISTRO_LOGS": project.logs,
    }
    with (cache / f"{report.stem}.log").open("wb") as log:
        subprocess.run(command, cwd=source, env=environ, stdout=log, stderr=log, timeout=3000, check=False)
    return {_name(case): _outcome(case) for case in ET.parse(report).iter("testcase")}  # noqa: S314


def _name(case: ET.Element) -> str:
    return f"{case.get('classname')}::{case.get('name')}"


def _outcome(case: ET.Element) -> str:
    return next((child.tag for child in case if child.tag in {"failure", "error", "skipped"}), "passed")
