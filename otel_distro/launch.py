"""`otel-distro run [options] program [arguments]`: starts any program with telemetry, at next to no cost of its own.

Nothing of OpenTelemetry is imported here. The program's own process sets telemetry up from a `sitecustomize` module
that this launcher puts first on `PYTHONPATH`, as do the Python processes that the program starts.
"""

from __future__ import annotations

import os
import sys

_USAGE = """usage: otel-distro run [options] program [arguments]

Runs the program with traces, metrics and logs, configured by environment variables (OTEL_*, SENTRY_*, OTEL_DISTRO_*).

options:
  --NAME VALUE   set OTEL_NAME for the program: --service-name shop sets OTEL_SERVICE_NAME=shop,
                 --traces-exporter console sets OTEL_TRACES_EXPORTER=console
  --help         this text
  --version      the version

examples:
  otel-distro run python app.py
  otel-distro run --service-name shop uvicorn shop.orders:app --workers 4
"""
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
_MISUSED = 2


def main() -> None:
    """Entry point of the command; ends in the program itself."""
    sys.exit(_main(sys.argv[1:]))


def _main(arguments: list[str]) -> int:
    if arguments[:1] == ["run"]:
        return _run(arguments[1:])
    if arguments and arguments[0] in {"-h", "--help"}:
        sys.stdout.write(_USAGE)
        return 0
    if arguments[:1] == ["--version"]:
        return _version()
    return _misused("no command given" if not arguments else f"no such command: {arguments[0]}")


def _run(arguments: list[str]) -> int:
    values: dict[str, str] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in {"-h", "--help"}:
            sys.stdout.write(_USAGE)
            return 0
        if option == "--version":
            return _version()
        if option == "--":
            break
        name, separator, value = option.partition("=")
        if not name.startswith("--") or not name[2:].replace("-", "").isalnum():
            return _misused(f"no such option: {option}")
        if not separator:
            if not rest:
                return _misused(f"{name} needs a value")
            value = rest.pop(0)
        values[_variable(name)] = value
    if not rest:
        return _misused("no program given")
    return _execute(rest, {**os.environ, **values})


def _variable(option: str) -> str:
    name = option[2:].replace("-", "_").upper()
    return name if name.startswith(("OTEL_", "SENTRY_")) else f"OTEL_{name}"


def _execute(command: list[str], environ: dict[str, str]) -> int:
    path = _find(command[0], environ.get("PATH", os.defpath))
    if path is None:
        sys.stderr.write(f"otel-distro: error: no such program: {command[0]}\n")
        return _NOT_FOUND
    environ["PYTHONPATH"] = _python_path(environ.get("PYTHONPATH", ""))
    isolating = _isolating_option(command)
    if isolating:
        sys.stderr.write(
            f"otel-distro: warning: python {isolating} ignores PYTHONPATH; the program runs without telemetry\n"
        )
    sys.stdout.flush()
    try:
        os.execve(path, command, environ)  # noqa: S606 - running the given program is the purpose
    except OSError as error:
        sys.stderr.write(f"otel-distro: error: {command[0]}: {error.strerror}\n")
    return _NOT_EXECUTABLE


def _find(name: str, search: str) -> str | None:
    if os.sep in name:
        return name if os.path.isfile(name) else None  # noqa: PTH113 - pathlib is an import of 5 ms
    for directory in search.split(os.pathsep):
        candidate = os.path.join(directory or os.curdir, name)  # noqa: PTH118
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):  # noqa: PTH113
            return candidate
    return None


def _python_path(present: str) -> str:
    """Our directory first, then what was there, then the working directory, as the stock launcher has it."""
    ours = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_auto")  # noqa: PTH100, PTH118, PTH120
    entries = [entry for entry in present.split(os.pathsep) if entry and entry != ours] if present else []
    here = os.getcwd()  # noqa: PTH109
    if here not in entries:
        entries.insert(0, here)
    return os.pathsep.join([ours, *entries])


def _isolating_option(command: list[str]) -> str | None:
    """The option with which a Python would never look for our `sitecustomize`."""
    if not os.path.basename(command[0]).startswith("python"):  # noqa: PTH119
        return None
    for argument in command[1:]:
        if not argument.startswith("-") or argument in {"-c", "-m", "-"}:
            return None
        if not argument.startswith("--") and any(letter in argument for letter in "ISE") and argument[1] not in "WX":
            return argument
    return None


def _version() -> int:
    from ._version import __version__

    sys.stdout.write(f"otel-distro {__version__}\n")
    return 0


def _misused(reason: str) -> int:
    sys.stderr.write(f"otel-distro: error: {reason}\n\n{_USAGE}")
    return _MISUSED
