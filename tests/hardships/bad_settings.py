"""Every setting wrong: each alone, all at once, and whole environments at random."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Mapping
from pathlib import Path

from otel_distro.settings import describe
from tests.hardships.processes import Served
from tests.programs import OURS, run
from tests.servers.waiting import http_get

_BY_KIND = {
    "boolean": "perhaps",
    "integer": "many",
    "number": "much",
    "URL": "no url at all",
    "key=value list": "no pair",
    "path": "no path",
}
_MORE = {
    "OTEL_PROPAGATORS": "tracecontxt",
    "OTEL_TRACES_SAMPLER": "sometimes",
    "OTEL_TRACES_EXPORTER": "otlp,otpl",
    "OTEL_METRICS_EXPORTER": "promtheus",
    "OTEL_LOGS_EXPORTER": "stdoutt",
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "moon",
    "OTEL_PYTHON_ID_GENERATOR": "dice",
    "OTEL_PYTHON_CONTEXT": "global",
    "OTEL_CONFIG_FILE": "/no/such/file.yaml",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:port",
    "OTEL_DISTRO_REDACTION_HIDE": "(",
    "OTEL_PYTHON_EXCLUDED_URLS": "(",
    # names that nobody reads
    "OTEL_TRACE_EXPORTER": "otlp",
    "OTEL_SERVICENAME": "shop",
    "OTEL_DISTRO_SPOOLDIR": "/spool",
    "OTEL_EXPORTER_JAEGER_ENDPOINT": "http://jaeger:14268",
    "OTEL_PYTHON_TRACER_CONFIGURATOR": "x",
    "PROMETHEUS_PORT": "http",
}
_OF_A_SIGNAL = re.compile(r"OTEL_EXPORTER_OTLP_(?:TRACES|LOGS|METRICS)_(?!TEMPORALITY|DEFAULT)")

STOCKS_OWN = frozenset({"OTEL_PROPAGATORS", "OTEL_PYTHON_CONTEXT"})
"""Upstream's launcher imports what raises (the first) or prints a traceback (the second) before any distro runs."""


def wrong() -> dict[str, str]:
    """Each variable with a value that cannot be used, and some names that nobody reads.

    Of a signal's own OTLP variables, which stand before the general ones, only the general ones.
    """
    found = {}
    for name, variable in describe():
        if _OF_A_SIGNAL.match(name):
            continue
        kind = variable.kind.name
        bad = _BY_KIND.get(kind.split()[0]) or _BY_KIND.get(kind)
        if bad is None and kind.startswith("`"):
            bad = "nonsense"
        if bad is not None:
            found[name] = bad
    return {**found, **_MORE}


def said(output: str, name: str) -> int:
    """How many lines of the distro's are about a variable; one that only refers to it is not."""
    return len(re.findall(rf"^otel-distro: .*?(?<![A-Z_]){name}='", output, re.MULTILINE))


def served(environ: Mapping[str, str], command: tuple[str, ...], log: Path) -> str:
    """What an application says that starts, serves a request and ends under these settings.

    Raises:
        Exception: it did not.
    """
    with Served(command, environ, log) as running:
        answer = http_get(f"http://127.0.0.1:{running.port}/n/7")
        running.stop()
    if answer != b"7":
        raise AssertionError(f"the application answered {answer!r}")
    return running.log()


def alone(name: str, text: str, launcher: tuple[str, ...] = OURS) -> str | None:
    """What is wrong with how one bad setting is taken: nothing (None) when the program runs and names it once."""
    quiet = {"OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "none", "OTEL_DISTRO_SHUTDOWN_TIMEOUT": "500"}
    code = "import otel_distro, httpx; print('ran')"
    done = run(code, launcher, **{**quiet, name: text})
    if (done.returncode, done.stdout) != (0, "ran\n"):
        return f"the program ended with {done.returncode}: {done.stderr[-300:]}"
    if "Traceback" in done.stderr:
        return f"a traceback: {done.stderr[-300:]}"
    return None


def random_environment(chance: random.Random) -> dict[str, str]:
    """Any of the variables with any text."""
    known = [name for name, _ in describe()]
    letters = string.printable.replace("\x0b", "").replace("\x0c", "") + "éß…\udcff"
    environ = {}
    for name in chance.sample(known, chance.randint(1, 40)):
        kind = chance.random()
        if kind < 0.4:
            environ[name] = "".join(chance.choices(letters, k=chance.randint(0, 40)))
        elif kind < 0.7:
            environ[name] = chance.choice(
                ["", " ", "0", "-1", "1e9", "true", "TRUE", "none", "otlp,none", "a=b,c", ",", "%"]
            )
        else:
            environ[name] = chance.choice(
                ["99999999999999999999", "http://", "://x", "localhost:4317", "console", "grpc"]
            )
    environ.pop("OTEL_PYTHON_DISTRO", None)
    return environ


def fuzzed(seed: int) -> str | None:
    """What a random environment broke, or None."""
    environ = random_environment(random.Random(seed))
    done = run("print('ran')", seconds=90, **{"OTEL_DISTRO_SHUTDOWN_TIMEOUT": "300", **environ})
    if done.returncode or not done.stdout.endswith("ran\n") or "Traceback" in done.stderr:
        return f"seed {seed}: exit {done.returncode}: {done.stderr[-400:]} {environ}"
    return None
