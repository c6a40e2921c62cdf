"""Assembles the logs of a process: reads like a table of contents.

Everything that costs an import is imported where its mode is chosen; where nothing is, `ids` is all there is.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from otel_distro import settings
from otel_distro.guard import LOGGER_NAME, Guard
from otel_distro.import_hooks import ImportHooks
from otel_distro.records import dataclass

from .correlation import Correlation
from .join import Join, Take

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.sdk.resources import Resource

    from .access import Access
    from .lines import Formats, Lines

FORMAT = (
    "%(asctime)s %(levelname)s [%(name)s] [%(filename)s:%(lineno)d] [trace_id=%(otelTraceID)s span_id=%(otelSpanID)s "
    "resource.service.name=%(otelServiceName)s trace_sampled=%(otelTraceSampled)s] - %(message)s"
)
"""What `OTEL_PYTHON_LOG_CORRELATION=true` shows where nothing else is said: every id under contrib's names."""


@dataclass(slots=True)
class LogsOfProcess:
    """What was set up.

    Attributes:
        lines: the lines of handlers; None when they stay the application's.
        access: the lines of servers about requests; None when they stay theirs.
    """

    lines: Lines | None = None
    access: Access | None = None

    def flush(self, seconds: float) -> bool:
        """Wait until every line is written that waits for its stream, at most so long."""
        return self.lines is None or self.lines.flush(seconds)


def set_up(
    chosen: settings.Logs,
    resource: Resource,
    guard: Guard,
    hooks: ImportHooks,
    *,
    environ: Mapping[str, str],
    take: Take | None,
    provider: LoggerProvider | None,
) -> LogsOfProcess:
    """Join the application's logging as the settings have it.

    Args:
        chosen: the settings.
        resource: names service, version and environment on lines.
        guard: gets whatever fails.
        hooks: where `logging.config`, structlog and loguru are waited for.
        environ: `NO_COLOR`, `TERM` decide about colour.
        take: gets every record, to send it; None when records are not sent.
        provider: of the OpenTelemetry logs API, whose records get lines, too, where it is ours.
    """
    made = LogsOfProcess()
    service = str(resource.attributes["service.name"])
    _set_levels(chosen, guard, hooks)
    if not chosen.lines and take is None and chosen.correlation is False:
        return made
    ours = bool(chosen.lines) or take is not None
    correlation = Correlation(service, contextual=ours)
    join = Join(put_on=correlation.put_on, take=take, guard=guard)
    if ours:
        from .access import LOGGERS, Access
        from .json_lines import make_portable

        make_portable()
        made.access = Access(join.release, correlation.put_on)
        join.hold_back(LOGGERS, made.access.hold)
    join.join()
    if chosen.lines:
        formats_for = _formats(chosen, resource, environ)
        made.lines = _take_lines(chosen, formats_for, guard)
        if "json" in chosen.lines:
            from .uncaught import Uncaught

            Uncaught(made.lines, formats_for, correlation.put_on, take, guard).watch()
        _show_api_records(provider, join)
    elif chosen.correlation:
        level = logging.INFO if chosen.root_level is None else chosen.root_level
        logging.basicConfig(format=chosen.format or FORMAT, level=level)
    if ours:
        _join_others(hooks, made, correlation, take, guard)
    return made


def _set_levels(chosen: settings.Logs, guard: Guard, hooks: ImportHooks) -> None:
    if chosen.lines and logging.root.level == logging.WARNING:
        # nobody has said anything yet, and a service's lines begin at INFO; what the application sets counts
        logging.root.setLevel(logging.INFO)
    if chosen.levels:
        from .levels import Levels

        levels = Levels(chosen.levels, guard)
        levels.apply()
        levels.watch_basic()
        hooks.on_import("logging.config", levels.watch)


def _formats(chosen: settings.Logs, resource: Resource, environ: Mapping[str, str]) -> Callable[[Any], Formats | None]:
    """What gives a stream's form of lines: JSON, or the readable one; both: the latter on terminals."""
    from .lines import real_fd

    json_lines = _json_lines(chosen, resource) if "json" in chosen.lines else None

    def formats_for(stream: Any) -> Formats | None:
        if real_fd(stream) is None:
            return None
        terminal = stream.isatty()
        if json_lines is not None and not (terminal and "console" in chosen.lines):
            return json_lines
        if not terminal and stream not in {sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__}:
            return None  # a file keeps its format, unless it is to be JSON
        from otel_distro.console.style import choose_style

        from .console_lines import ConsoleLines

        return ConsoleLines(choose_style(stream, environ))

    return formats_for


def _json_lines(chosen: settings.Logs, resource: Resource) -> Formats:
    from .json_lines import JsonLines

    told = resource.attributes
    environment = told.get("deployment.environment.name") or told.get("deployment.environment")
    version = told.get("service.version")
    return JsonLines(
        service=str(told["service.name"]),
        version=None if version is None else str(version),
        environment=None if environment is None else str(environment),
        sent=chosen.least if chosen.exporters != ("none",) and chosen.auto else None,
    )


def _take_lines(chosen: settings.Logs, formats_for: Callable[[Any], Formats | None], guard: Guard) -> Lines:
    from .last import LastLines, OwnLines
    from .lines import Lines

    lines = Lines(formats_for, guard)
    lines.take_over()
    logging.lastResort = LastLines(chosen.stream)
    # what the distro says of itself is a line like any other
    logging.getLogger(LOGGER_NAME).addHandler(OwnLines(chosen.stream))
    return lines


def _show_api_records(provider: LoggerProvider | None, join: Join) -> None:
    from .provider import LeanLoggerProvider

    if not isinstance(provider, LeanLoggerProvider):
        return
    from .api_lines import ApiLines

    provider.sinks = (*provider.sinks, ApiLines(join).write)


def _join_others(
    hooks: ImportHooks, made: LogsOfProcess, correlation: Correlation, take: Take | None, guard: Guard
) -> None:
    """structlog and loguru do not go through `logging`; they are met when they are imported."""

    def structlog(module: Any) -> None:
        from .structlog_join import StructlogJoin

        StructlogJoin(module, correlation.put_on, take, made.lines, guard).join()

    def loguru(module: Any) -> None:
        from .loguru_join import LoguruJoin

        LoguruJoin(module, correlation.put_on, take, made.lines, guard).join()

    hooks.on_import("structlog", structlog)
    hooks.on_import("loguru", loguru)


__all__ = ["FORMAT", "LogsOfProcess", "set_up"]
