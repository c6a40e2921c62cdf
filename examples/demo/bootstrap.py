"""`./scripts/demo`: makes an environment of its own under `.demo/`, installs into it, and runs the demo there.

Standard library only; runs under whatever Python 3.11 or newer the machine has, from the project's folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from .errors import DemoError
from .options import parse

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("DEMO_HOME") or ROOT / ".demo").absolute()
ENVIRONMENT = HOME / f"venv-{sys.version_info.major}.{sys.version_info.minor}"
STAMP = ENVIRONMENT / "installed"  # written when an installation has ended well
LOG = HOME / "install.log"

INTERRUPTED = 130  # what a shell gives for SIGINT

_PLAIN = ("examples/shop/requirements.txt", "examples/demo/requirements.txt")
_POSTGRESQL = ("examples/shop/requirements-postgresql.txt",)
_SOURCES = ("pyproject.toml", "otel_distro/**/*.py", "examples/**/requirements*.txt")
_SLOW_SECONDS = 0.2
_ENDS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def main(arguments: Sequence[str]) -> int:
    """Install what is missing and become the demo; gives 1 with one line when that is not possible."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    options = parse(arguments)
    try:
        prepare(with_postgresql=options.stack)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted while installing; the next run starts over", file=sys.stderr)
        return INTERRUPTED
    return _become_demo(arguments)


def prepare(*, with_postgresql: bool) -> None:
    """Make the environment, or bring it up to date; nothing happens when it is.

    Raises:
        DemoError: a tool is missing, or the installation failed.
    """
    wanted = _PLAIN + _POSTGRESQL if with_postgresql else _PLAIN
    installed = STAMP.read_text().split() if STAMP.exists() else []
    if _fingerprint(wanted) in installed:
        return
    try:
        HOME.mkdir(parents=True, exist_ok=True)
        (HOME / ".gitignore").write_text("*\n")
    except OSError as error:
        raise DemoError(f"cannot write to {HOME}: {error.strerror}; DEMO_HOME names another directory") from error
    if not installed:  # nothing there, or an installation that did not end
        _make_environment()
    STAMP.unlink(missing_ok=True)
    _install(wanted)
    STAMP.write_text(f"{_fingerprint(_PLAIN)} {_fingerprint(wanted)}")


def _become_demo(arguments: Sequence[str]) -> NoReturn:
    python = str(ENVIRONMENT / "bin" / "python")
    os.execv(python, [python, "-m", "examples.demo", *arguments])  # noqa: S606 - our own environment


def _make_environment() -> None:
    """An empty environment; with a pip of its own only where this Python has none that can install into another."""
    if importlib.util.find_spec("venv") is None or not (_pip_reaches_out() or importlib.util.find_spec("ensurepip")):
        raise DemoError("this Python has neither pip nor venv; on Debian and Ubuntu: apt install python3-venv")
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    options = ["--without-pip"] if _pip_reaches_out() else []  # copying pip takes longer than all the rest
    _run("making an environment", [sys.executable, "-m", "venv", *options, str(ENVIRONMENT)])


def _install(files: Sequence[str]) -> None:
    python = str(ENVIRONMENT / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python] if _pip_reaches_out() else [python, "-m", "pip"]
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    requirements = [word for file in files for word in ("-r", file)]
    _run("installing otel-distro and the shop", [*pip, "install", *options, ".", *requirements])


def _pip_reaches_out() -> bool:
    """Whether this Python's own pip can install into another environment (since 22.3)."""
    try:
        version = importlib.metadata.version("pip").split(".")
    except importlib.metadata.PackageNotFoundError:
        return False
    return tuple(int(part) for part in version[:2] if part.isdigit()) >= (22, 3)


def _run(what: str, command: Sequence[str]) -> None:
    """Run a command with its output in the log, telling how long it has taken.

    Raises:
        DemoError: it failed; the message holds its own last word.
    """
    started = time.monotonic()
    live = sys.stdout.isatty()
    if not live:
        print(f"{what} ...", flush=True)
    process: subprocess.Popen[bytes] | None = None
    # an interrupt between the start and the knowledge of it would leave the command running
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    with LOG.open("w") as log:
        try:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            while process.poll() is None:
                time.sleep(_SLOW_SECONDS)
                if live:
                    print(f"\r{what}: {time.monotonic() - started:.0f} s{_fetched()}   ", end="", flush=True)
        except BaseException:
            if process is not None:
                # with what it has started, and hard: it inherited the mask
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if live:
        print()
    if process.returncode:
        raise DemoError(f"{what} failed: {_reason()} (all of it: {LOG})")


def _fetched() -> str:
    """How many packages pip has looked at so far."""
    count = LOG.read_text(errors="replace").count("\nCollecting ")
    return f", {count} packages" if count else ""


def _reason() -> str:
    """The line of the log that says why."""
    lines = LOG.read_text(errors="replace").strip().splitlines() or ["no reason given"]
    errors = [line for line in lines if line.startswith(("ERROR:", "Error:"))]
    return (errors or lines)[-1].removeprefix("ERROR:").strip()


def _fingerprint(files: Sequence[str]) -> str:
    """What the installation depends on, as one word: this Python, our sources, the requirements."""
    digest = hashlib.sha256(repr((sys.version_info, sys.prefix, list(files))).encode())
    for pattern in _SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _end(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends the installation in order."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
