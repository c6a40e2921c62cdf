"""The injection of the OpenTelemetry operator: an application that knows nothing of it is traced, or left alone."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from tests.collector.deployments import DEPLOY
from tests.servers import OtlpSink

if TYPE_CHECKING:
    from collections.abc import Iterator

#: An application; it says which file of a package that both sides have was loaded, and whether its own start file ran.
APP = """
import asyncio, builtins, sys
import fastapi, httpx, typing_extensions
app = fastapi.FastAPI()

@app.get("/hello/{name}")
async def hello(name: str) -> str:
    return name

async def main():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
        print((await client.get("/hello/ada")).status_code)

asyncio.run(main())
print(typing_extensions.__file__)
print(getattr(builtins, "own_start_file", "hidden"))
"""


def closure(*names: str) -> Iterator[importlib.metadata.Distribution]:
    """Distributions and all that they need, as they are installed here."""
    waiting, seen = list(names), set()
    while waiting:
        name = waiting.pop()
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # not needed on this Python
        if found.name.lower() in seen:
            continue
        seen.add(found.name.lower())
        yield found
        needs = map(Requirement, found.requires or ())
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]


def install(folder: Path, *names: str) -> None:
    """Link what is installed here into a directory, as `pip install --target` would put it there."""
    for found in closure(*names):
        for file in found.files or ():
            source = Path(str(found.locate_file(file)))
            if ".." in file.parts or file.suffix == ".pyc" or "__editable__" in file.name or file.suffix == ".pth":
                continue
            place = folder / file
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                os.link(source, place) if source.stat().st_dev == place.parent.stat().st_dev else shutil.copy(
                    source, place
                )


@dataclass(frozen=True, slots=True)
class Pod:
    """An interpreter with an application's packages, and what the operator has copied beside it."""

    python: Path
    site: Path
    injected: Path

    def run(self, sink: OtlpSink, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program, `APP` for none, with the variables that the operator sets."""
        first = self.injected / "opentelemetry" / "instrumentation" / "auto_instrumentation"
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{first}:{self.injected}",
            "OTEL_SERVICE_NAME": "injected",
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            **dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "otlp"),
        }
        program = [str(self.python), *(command or ("-c", APP))]
        return subprocess.run(program, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Pod:
    """A pod whose application has FastAPI and httpx, and of OpenTelemetry no more than FastAPI brings."""
    folder = tmp_path_factory.mktemp("pod")
    venv.create(folder / "app", symlinks=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "app" / "lib" / f"python{version}" / "site-packages"
    install(site, "fastapi", "httpx")
    (site / "sitecustomize.py").write_text("import builtins\nbuiltins.own_start_file = 'ran'\n")
    injected = folder / "otel-auto-instrumentation-python"
    packages = injected / "packages" / version
    install(packages, "otel-distro")
    if not (packages / "otel_distro").exists():  # installed as editable
        shutil.copytree(DEPLOY.parent / "otel_distro", packages / "otel_distro")
    first = injected / "opentelemetry" / "instrumentation" / "auto_instrumentation"
    first.mkdir(parents=True)
    shutil.copy(DEPLOY / "injection" / "sitecustomize.py", first)
    return Pod(folder / "app" / "bin" / "python", site, injected)


@pytest.fixture
def sink() -> Iterator[OtlpSink]:
    """Where the application's telemetry goes."""
    with OtlpSink() as running:
        yield running


@contextmanager
def pretended(pod: Pod, name: str, version: str) -> Iterator[None]:
    """Let the application's metadata say another version of a distribution, or that it has one."""
    said = pod.site / f"{name}-{version}.dist-info"
    installed = next(pod.site.glob(f"{name}-*.dist-info"), None)
    said.mkdir() if installed is None else installed.rename(said)
    yield
    said.rmdir() if installed is None else said.rename(installed)


def test_an_application_is_traced_with_its_own_packages(pod: Pod, sink: OtlpSink) -> None:
    """Spans arrive, a package that both sides have is the application's, and so is its own sitecustomize."""
    done = pod.run(sink)
    status, file, start_file = done.stdout.split()
    assert (status, start_file) == ("200", "ran"), done.stderr
    assert Path(file).is_relative_to(pod.site)
    assert "GET /hello/{name}" in {span.name for span in sink.spans}


@pytest.mark.parametrize(
    ("name", "version"),
    [("opentelemetry_sdk", "1.20.0"), ("opentelemetry_api", "1.20.0"), ("opentelemetry_api", "2.0")],
)
def test_another_opentelemetry_is_left_alone(name: str, version: str, pod: Pod, sink: OtlpSink) -> None:
    """Two SDKs would break both, and an older API lacks what ours needs: one line, and the application runs."""
    with pretended(pod, name, version):
        done = pod.run(sink)
    assert done.stdout.split()[0] == "200"
    (line,) = done.stderr.splitlines()
    assert f"the application has {name.replace('_', '-')} {version}, and 1.45.1 is injected" in line
    assert sink.spans == []


def test_a_newer_api_is_no_reason(pod: Pod, sink: OtlpSink) -> None:
    """FastAPI's own requirement may have brought the next minor version."""
    with pretended(pod, "opentelemetry_api", "1.46.0"):
        done = pod.run(sink)
    assert "is injected" not in done.stderr
    assert "GET /hello/{name}" in {span.name for span in sink.spans}


def test_a_python_without_packages_is_left_alone(pod: Pod, sink: OtlpSink) -> None:
    """The image holds some Pythons; on any other the application runs, and one line says why it is not traced."""
    hidden = pod.injected / "packages-of-another"
    (pod.injected / "packages").rename(hidden)
    try:
        done = pod.run(sink)
    finally:
        hidden.rename(pod.injected / "packages")
    assert done.stdout.split()[0] == "200"
    (line,) = done.stderr.splitlines()
    assert "nothing is injected for Python" in line
    assert sink.spans == []


@pytest.fixture
def folder(pod: Pod, tmp_path: Path) -> Iterator[Path]:
    """A directory with the application and one package beside it, which the interpreter has in an older version."""
    (tmp_path / "main.py").write_text(APP)
    shutil.copy(pod.site / "typing_extensions.py", tmp_path)
    hidden = pod.site / "typing_extensions.py.whole"
    (pod.site / "typing_extensions.py").rename(hidden)
    (pod.site / "typing_extensions.py").write_text(hidden.read_text() + "\ndel deprecated, Self\n")
    yield tmp_path
    hidden.rename(pod.site / "typing_extensions.py")


def test_packages_beside_the_program_are_the_applications(pod: Pod, sink: OtlpSink, folder: Path) -> None:
    """What `pip install --target .` has put beside the program is found first, by the injected packages too."""
    done = pod.run(sink, str(folder / "main.py"))
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.split()[1]).is_relative_to(folder)
    assert "GET /hello/{name}" in {span.name for span in sink.spans}
    (folder / "opentelemetry_sdk-1.20.0.dist-info").mkdir()
    done = pod.run(sink, str(folder / "main.py"))
    assert done.stdout.split()[0] == "200"
    assert "the application has opentelemetry-sdk 1.20.0" in done.stderr


@pytest.mark.parametrize("mark", ["PEX-INFO", "_bootstrap/environment.py"], ids=["pex", "shiv"])
def test_an_archive_that_unpacks_itself_is_left_alone(mark: str, pod: Pod, sink: OtlpSink, tmp_path: Path) -> None:
    """pex and shiv put their packages on the path later, where ours would hide them: one line, and it runs."""
    program = tmp_path / "app"
    with zipfile.ZipFile(program, "w") as archive:
        archive.writestr("__main__.py", "import sys; print('otel_distro' in sys.modules)")
        archive.writestr(mark, "")
    done = pod.run(sink, str(program))
    assert done.stdout == "False\n"
    (line,) = done.stderr.splitlines()
    assert "an archive with packages of its own" in line


def test_any_other_archive_is_traced(pod: Pod, sink: OtlpSink, tmp_path: Path) -> None:
    """An archive as `python -m zipapp` makes it has all that it brings along at its root."""
    program = tmp_path / "app.pyz"
    with zipfile.ZipFile(program, "w") as archive:
        archive.writestr("__main__.py", APP)
    done = pod.run(sink, str(program))
    assert done.stdout.split()[0] == "200", done.stderr
    assert "GET /hello/{name}" in {span.name for span in sink.spans}
