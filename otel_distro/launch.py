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
_PYTHON_ONLY = frozenset(
    {"CONFIGURATOR", "CONTEXT", "DISABLED_INSTRUMENTATIONS", "DISTRO", "EXCLUDED_URLS", "ID_GENERATOR"}
)
_STOCK = os.path.join("opentelemetry", "instrumentation", "auto_instrumentation")  # noqa: PTH118 - pathlib is an import of 5 ms
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
        return _tell(_USAGE)
    if arguments[:1] == ["--version"]:
        return _version()
    return _misused("no command given" if not arguments else f"no such command: {arguments[0]}")


def _run(arguments: list[str]) -> int:
    values: dict[str, str] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in {"-h", "--help"}:
            return _tell(_USAGE)
        if option == "--version":
            return _version()
        if option == "--":
            break
        name, separator, value = option.partition("=")
        if not name.startswith("--") or not name[2:].replace("-", "").replace("_", "").isalnum():
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
    if name.startswith(("OTEL_", "SENTRY_")):
        return name
    return f"OTEL_PYTHON_{name}" if name in _PYTHON_ONLY else f"OTEL_{name}"


def _execute(command: list[str], environ: dict[str, str]) -> int:
    path = _find(command[0], environ.get("PATH", os.defpath))
    if path is None:
        _complain(f"error: no such program: {command[0]}")
        return _NOT_FOUND
    environ["PYTHONPATH"] = python_path(environ.get("PYTHONPATH", ""))
    isolating = _isolating_option(command)
    if isolating:
        _complain(f"warning: python {isolating} ignores PYTHONPATH; the program runs without telemetry")
    try:
        os.execve(path, command, environ)  # noqa: S606 - running the given program is the purpose
    except OSError as error:
        _complain(f"error: {command[0]}: {error.strerror}")
    return _NOT_EXECUTABLE


def _find(name: str, search: str) -> str | None:
    if os.sep in name:
        return name if os.path.isfile(name) else None  # noqa: PTH113 - pathlib is an import of 5 ms
    for directory in search.split(os.pathsep):
        candidate = os.path.join(directory or os.curdir, name)  # noqa: PTH118 - as above
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):  # noqa: PTH113 - as above
            return candidate
    return None


def python_path(present: str) -> str:
    """Our directory first, then what was there.

    The working directory is not added, as the stock launcher does: a `random.py` there would shadow Python's own in
    every program and child. The stock launcher's directory goes: it would set everything up a second time.
    """
    ours = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_auto")  # noqa: PTH100, PTH118, PTH120 - as above
    others = [entry for entry in present.split(os.pathsep) if entry != ours and not entry.endswith(_STOCK)]
    return os.pathsep.join([ours, *others] if present else [ours])


def _isolating_option(command: list[str]) -> str | None:
    """The option with which a Python would never look for our `sitecustomize`."""
    if not os.path.basename(command[0]).startswith("python"):  # noqa: PTH119 - as above
        return None
    rest = iter(command[1:])
    for argument in rest:
        if not argument.startswith("-") or argument in {"-c", "-m", "-"}:
            return None
        if argument in {"-W", "-X"}:
            next(rest, None)
        elif argument[1] not in "-WX" and set(argument) & set("ISE"):
            return argument
    return None


def _version() -> int:
    from ._version import __version__

    return _tell(f"otel-distro {__version__}\n")


def _misused(reason: str) -> int:
    _complain(f"error: {reason}\n\n{_USAGE}")
    return _MISUSED


def _tell(text: str) -> int:
    if sys.stdout is not None:  # a shell may have closed it
        sys.stdout.write(text)
    return 0


def _complain(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"otel-distro: {text.rstrip()}\n")
