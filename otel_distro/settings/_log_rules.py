"""Rules between the variables of logs: which lines, which exporters, which levels."""

from __future__ import annotations

from collections.abc import Mapping

from ._problem import Problem
from .catalogue import Limits, Logs
from .catalogue._logs import LEVELS


def resolve(logs: Logs, limits: Limits, environ: Mapping[str, str], problems: list[Problem]) -> Logs:
    """Conclude what lines and exporters there are; each contradiction becomes a problem.

    Args:
        logs: as parsed.
        limits: the general ones of attributes.
        environ: tells which variables were set.
        problems: gets what contradicts.
    """
    lines = tuple(mode for mode in logs.modes if mode in {"json", "console"})
    if lines and "keep" in logs.modes:
        _note(
            problems,
            "OTEL_DISTRO_LOGS",
            logs.modes,
            "`keep` and a form of lines exclude each other",
            "`keep` is dropped",
        )
    exporters = logs.exporters
    if "console" in exporters:
        exporters = tuple(name for name in exporters if name != "console")
        lines = lines or ("console",)
    if "none" in exporters:
        if "otlp" in logs.modes:
            reason = "OTEL_LOGS_EXPORTER=none contradicts it"
            _note(problems, "OTEL_DISTRO_LOGS", logs.modes, reason, "no records leave by OTLP")
    elif "otlp" in logs.modes:
        exporters = tuple(dict.fromkeys((*exporters, "otlp")))
    named = environ.get("OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION", "").strip()
    return logs.replace(
        lines=lines,
        exporters=exporters or ("none",),
        levels=_levels(logs),
        least=_number(logs.handler_level),
        root_level=None if logs.level is None else _number(logs.level),
        auto=logs.auto if named or logs.sdk_auto is None else logs.sdk_auto,
        attribute_count=limits.attribute_count if logs.attribute_count is None else logs.attribute_count,
        attribute_length=limits.attribute_length if logs.attribute_length is None else logs.attribute_length,
    )


def _levels(logs: Logs) -> Mapping[str, int]:
    # with correlation it is the level of the `basicConfig` call
    if logs.level is None or "root" in logs.levels or logs.correlation:
        return logs.levels
    return {**logs.levels, "root": _number(logs.level)}


def _number(level: str) -> int:
    number: int = LEVELS.parse(level)["root"]
    return number


def _note(problems: list[Problem], name: str, modes: tuple[str, ...], reason: str, used: str) -> None:
    problems.append(Problem(name, ",".join(modes), reason, used, leave=True))
