"""Names that hand-written monitoring stacks use for what OpenTelemetry has a word for: read last, named when used.

Each fills in for a variable of OpenTelemetry's that is unset, so everything behind works as if that had been set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import quote, unquote

from ._problem import Problem, Weight

_RESOURCE = "OTEL_RESOURCE_ATTRIBUTES"
_EXPORTER = "OTEL_METRICS_EXPORTER"
_PORT = "OTEL_EXPORTER_PROMETHEUS_PORT"

ATTRIBUTES: Mapping[str, str] = {
    "ENVIRONMENT": "deployment.environment.name",
    "APP_ENV": "deployment.environment.name",
    "APP_VERSION": "service.version",
    "RELEASE_VERSION": "service.version",
}
"""Alias -> the resource attribute it stands for; of two with the same one the first that is set counts."""

_OLD_NAMES: Mapping[str, str] = {"deployment.environment.name": "deployment.environment"}
SWITCHES = ("ENABLE_METRICS", "ENABLE_PROMETHEUS")
RENAMED: Mapping[str, str] = {"OTEL_PYTHON_STARLETTE_EXCLUDED_URLS": "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS"}
"""Contrib has a variable for each of two packages where ours is one server path."""

NAMES: frozenset[str] = frozenset({*ATTRIBUTES, *SWITCHES, *RENAMED, "PROMETHEUS_PORT", "ENABLE_SENTRY"})
_MAX_VALUE = 255


def fill(environ: Mapping[str, str], problems: list[Problem]) -> Mapping[str, str]:
    """`environ` with what aliases say about variables that are unset; `environ` itself where they say nothing.

    Args:
        environ: the environment; it is not changed.
        problems: gets a note for each alias that is used, and a warning for each that cannot be.
    """
    present = {name: text for name in NAMES if (text := environ.get(name, "").strip())}
    if not present:
        return environ
    filled = dict(environ)
    for name, target in RENAMED.items():
        if name in present and not _is_set(filled, target):
            filled[target] = present[name]
    _fill_attributes(filled, present, problems)
    _fill_metrics(filled, present, problems)
    _fill_sentry(filled, present, problems)
    return filled


def _fill_attributes(filled: dict[str, str], present: Mapping[str, str], problems: list[Problem]) -> None:
    taken = set(_keys(filled.get(_RESOURCE, "")))
    for name, attribute in ATTRIBUTES.items():
        text = present.get(name, "")
        if not text or attribute in taken or _OLD_NAMES.get(attribute) in taken:
            continue
        if len(text) > _MAX_VALUE or not text.isprintable():
            reason = f"not a name of at most {_MAX_VALUE} printable characters"
            problems.append(Problem(name, text[:40], reason, f"{attribute} stays unset", leave=True))
            continue
        taken.add(attribute)
        said = f"{attribute}={quote(text, errors='surrogateescape')}"
        before = filled.get(_RESOURCE, "").strip().rstrip(",")
        filled[_RESOURCE] = f"{before},{said}" if before else said
        problems.append(_note(name, text, f"read as {attribute}", f"{_RESOURCE}={said} says the same"))


def _fill_metrics(filled: dict[str, str], present: Mapping[str, str], problems: list[Problem]) -> None:
    port = present.get("PROMETHEUS_PORT", "")
    # Kubernetes sets PROMETHEUS_PORT=tcp://... in every pod beside a service named prometheus
    if port and "://" not in port and not _is_set(filled, _PORT):
        if port.isascii() and port.isdigit() and int(port[:6]) <= 65535:
            filled[_PORT] = port
            problems.append(_note("PROMETHEUS_PORT", port, "read as the port of /metrics", f"{_PORT} says the same"))
        else:
            problems.append(Problem("PROMETHEUS_PORT", port[:40], "not a port", f"{_PORT} counts", leave=True))
    for name in SWITCHES:
        text = present.get(name, "").lower()
        if not text or _is_set(filled, _EXPORTER):
            continue
        if text == "false":
            filled[_EXPORTER] = "none"
            problems.append(_note(name, text, "metrics are off", f"{_EXPORTER}=none says the same"))
        elif text != "true":
            used = f"metrics stay on, {_EXPORTER} counts"
            problems.append(Problem(name, text[:40], "not true or false", used, leave=True))


def _fill_sentry(filled: dict[str, str], present: Mapping[str, str], problems: list[Problem]) -> None:
    text = present.get("ENABLE_SENTRY", "").lower()
    dsn = _is_set(filled, "SENTRY_DSN")
    if text == "false" and dsn:
        # whoever says no gets no Sentry, also where a DSN is left in the environment
        filled["SENTRY_DSN"] = ""
        problems.append(_note("ENABLE_SENTRY", text, "SENTRY_DSN is not used", "an empty SENTRY_DSN says the same"))
    elif text == "true" and not dsn:
        reason = "Sentry needs an address, which only SENTRY_DSN names"
        problems.append(Problem("ENABLE_SENTRY", text, reason, "Sentry stays off", leave=True))
    elif text not in {"", "true", "false"}:
        problems.append(
            Problem("ENABLE_SENTRY", text[:40], "not true or false", "SENTRY_DSN alone decides", leave=True)
        )


def _keys(pairs: str) -> Iterator[str]:
    for entry in pairs.split(","):
        yield unquote(entry.partition("=")[0].strip())


def _is_set(environ: Mapping[str, str], name: str) -> bool:
    return bool(environ.get(name, "").strip())


def _note(name: str, text: str, reason: str, used: str) -> Problem:
    return Problem(name, text[:80], reason, used, leave=True, weight=Weight.NOTE)
