"""Log records and where they go."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from otel_distro.settings._values import BOOLEAN, TEXT, Kind, Unusable, choice, integer, names
from otel_distro.settings._variable import CONTRIB, OURS, UPSTREAM, Record, group, variable

from ._traces import Batch

_LEVELS = {
    "notset": 0,
    "trace": 5,
    "debug": 10,
    "info": 20,
    "warn": 30,
    "warning": 30,
    "error": 40,
    "critical": 50,
    "fatal": 50,
}
_COUNT = integer(0, 1_000_000)
_LEVEL_NAME = choice("notset", "debug", "info", "warn", "warning", "error", "critical")


def _levels(text: str) -> Mapping[str, int]:
    """`info,sqlalchemy.engine=debug`: a level without a logger is the root logger's; numbers are levels too."""
    found: dict[str, int] = {}
    bad = 0
    for entry in filter(None, (raw.strip() for raw in text.split(","))):
        name, equals, told = entry.rpartition("=")
        level = _LEVELS.get(told.strip().lower(), int(told) if told.strip().isdecimal() and len(told) < 4 else None)
        if level is None or (equals and not name.strip()):
            bad += 1
        else:
            found[unquote(name.strip()) or "root"] = level
    if bad:
        raise Unusable(
            f"{bad} of its entries {'is' if bad == 1 else 'are'} no level and no logger=level", found or None
        )
    return found


LEVELS = Kind("levels", _levels)


class LogBatch(Batch):
    """The same for log records, which leave sooner."""

    schedule_delay: int = variable("SCHEDULE_DELAY", integer(1, 86_400_000), 1000, "Milliseconds between two exports.")


class Logs(Record):
    """Log lines, and log records by OTLP."""

    modes: tuple[str, ...] = variable(
        "OTEL_DISTRO_LOGS",
        names("json", "console", "otlp", "keep"),
        (),
        "`json` writes the lines of the application's handlers as JSON, `console` in a readable form, both together "
        "the latter on a terminal and JSON elsewhere; `otlp` sends the records; `keep`, as if unset, leaves lines as "
        "they are.",
        source=OURS,
    )
    exporters: tuple[str, ...] = variable(
        "OTEL_LOGS_EXPORTER",
        names(),
        (),
        "`otlp`, `console` (lines in the readable form), `none`, or installed exporters, as a list; `none` if unset.",
    )
    levels: Mapping[str, int] = variable(
        "OTEL_DISTRO_LOG_LEVELS",
        LEVELS,
        {},
        "Levels of loggers, as `info,sqlalchemy.engine=warning`; one without a name is the root logger's. They hold "
        "against the application's own configuration.",
        source=OURS,
    )
    stream: str = variable(
        "OTEL_DISTRO_LOG_STREAM",
        choice("stderr", "stdout"),
        "stderr",
        "Where lines of loggers go that have no handler, with `json` or `console`.",
        source=OURS,
    )
    correlation: bool | None = variable(
        "OTEL_PYTHON_LOG_CORRELATION",
        BOOLEAN,
        None,
        "`true` also calls `logging.basicConfig` with a format that shows the ids; `false` keeps `otelTraceID` and its "
        "like off records whose lines stay as they are.",
        source=CONTRIB,
    )
    format: str | None = variable(
        "OTEL_PYTHON_LOG_FORMAT", TEXT, None, "The format that `OTEL_PYTHON_LOG_CORRELATION=true` sets.", source=CONTRIB
    )
    level: str | None = variable(
        "OTEL_PYTHON_LOG_LEVEL",
        _LEVEL_NAME,
        None,
        "The root logger's level, where `OTEL_DISTRO_LOG_LEVELS` has none for it.",
        source=CONTRIB,
    )
    handler_level: str = variable(
        "OTEL_PYTHON_LOG_HANDLER_LEVEL",
        _LEVEL_NAME,
        "notset",
        "The least level of records that leave by OTLP.",
        source=CONTRIB,
    )
    code_attributes: bool = variable(
        "OTEL_PYTHON_LOG_CODE_ATTRIBUTES",
        BOOLEAN,
        False,
        "Send file, line and function of each record by OTLP.",
        source=CONTRIB,
    )
    auto: bool = variable(
        "OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION",
        BOOLEAN,
        True,
        "`false` exports only what is emitted by the OpenTelemetry API, no records of `logging`.",
        source=CONTRIB,
    )
    sdk_auto: bool | None = variable(
        "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED",
        BOOLEAN,
        None,
        "The older name of the same; `false` counts where the newer one is unset.",
        source=UPSTREAM,
    )
    attribute_count: int | None = variable(
        "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", _COUNT, None, "Most attributes of a log record; else the general limit."
    )
    attribute_length: int | None = variable(
        "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        _COUNT,
        None,
        "Longest value of a log record's attribute; else the general limit.",
    )
    batch: Batch = group(LogBatch, prefix="OTEL_BLRP_")
    least: int = 0
    """The number of `handler_level`."""
    root_level: int | None = None
    """The number of `level`."""
    lines: tuple[str, ...] = ()
    """`json`, `console`, both, or neither: what the lines of handlers become."""
