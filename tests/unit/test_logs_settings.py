"""The variables of logs: what they conclude together, and that every contradiction is named."""

from __future__ import annotations

import pytest

from otel_distro import settings


def parsed(**environ: str) -> tuple[settings.Logs, list[str]]:
    found, problems = settings.parse(environ)
    return found.logs, [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("environ", "lines", "exporters"),
    [
        ({}, (), ("none",)),
        ({"OTEL_DISTRO_LOGS": "keep"}, (), ("none",)),
        ({"OTEL_DISTRO_LOGS": "json"}, ("json",), ("none",)),
        ({"OTEL_DISTRO_LOGS": "json,console"}, ("json", "console"), ("none",)),
        ({"OTEL_DISTRO_LOGS": "otlp"}, (), ("otlp",)),
        ({"OTEL_DISTRO_LOGS": "json, otlp"}, ("json",), ("otlp",)),
        ({"OTEL_DISTRO_LOGS": "keep,otlp"}, (), ("otlp",)),
        ({"OTEL_LOGS_EXPORTER": "otlp"}, (), ("otlp",)),
        ({"OTEL_LOGS_EXPORTER": "none"}, (), ("none",)),
        ({"OTEL_LOGS_EXPORTER": "console"}, ("console",), ("none",)),
        ({"OTEL_LOGS_EXPORTER": "console", "OTEL_DISTRO_LOGS": "json"}, ("json",), ("none",)),
        ({"OTEL_LOGS_EXPORTER": "mine", "OTEL_DISTRO_LOGS": "otlp"}, (), ("mine", "otlp")),
    ],
)
def test_modes_and_exporters_conclude_what_there_is(
    environ: dict[str, str], lines: tuple[str, ...], exporters: tuple[str, ...]
) -> None:
    """Lines and exporters follow from the two variables, without a word where nothing contradicts."""
    logs, problems = parsed(**environ)
    assert (logs.lines, logs.exporters, problems) == (lines, exporters, [])


def test_contradictions_are_named() -> None:
    """`keep` beside a form of lines, and OTLP that is switched off elsewhere, are one line each."""
    logs, (problem,) = parsed(OTEL_DISTRO_LOGS="keep,json")
    assert (logs.lines, "exclude each other" in problem) == (("json",), True)
    logs, (problem,) = parsed(OTEL_DISTRO_LOGS="otlp", OTEL_LOGS_EXPORTER="none")
    assert (logs.exporters, "OTEL_LOGS_EXPORTER=none" in problem) == (("none",), True)


def test_an_unknown_mode_is_named_with_the_nearest() -> None:
    """A typing error keeps the rest of the list and says what was meant."""
    logs, (problem,) = parsed(OTEL_DISTRO_LOGS="jsn,otlp")
    assert logs.exporters == ("otlp",)
    assert "did you mean 'json'" in problem


def test_levels_are_names_or_numbers_of_loggers() -> None:
    """One without a logger is the root's; what is no level is left out and named."""
    logs, problems = parsed(OTEL_DISTRO_LOG_LEVELS="info, httpx=WARNING,sqlalchemy.engine=15, trace.me=trace")
    assert logs.levels == {"root": 20, "httpx": 30, "sqlalchemy.engine": 15, "trace.me": 5}
    assert problems == []
    logs, (problem,) = parsed(OTEL_DISTRO_LOG_LEVELS="httpx=loud,a=error,=info")
    assert logs.levels == {"a": 40}
    assert "2 of its entries" in problem


def test_upstreams_variables_count() -> None:
    """Names that people know from upstream and contrib mean what they mean there."""
    logs, problems = parsed(
        OTEL_PYTHON_LOG_LEVEL="warning",
        OTEL_PYTHON_LOG_HANDLER_LEVEL="error",
        OTEL_PYTHON_LOG_CODE_ATTRIBUTES="true",
        OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED="false",
        OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT="5",
        OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="99",
        OTEL_BLRP_SCHEDULE_DELAY="7",
    )
    assert problems == []
    assert (logs.levels, logs.least, logs.code_attributes, logs.auto) == ({"root": 30}, 40, True, False)
    assert (logs.attribute_count, logs.attribute_length, logs.batch.schedule_delay) == (5, 99, 7)


def test_the_newer_name_of_a_switch_wins() -> None:
    """Where both names are set the newer one counts."""
    both = {"OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION": "true", "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "false"}
    assert parsed(**both)[0].auto
    assert not parsed(OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION="false")[0].auto
    assert parsed()[0].auto


def test_the_time_of_an_export_is_named_as_without_effect() -> None:
    """OTEL_BLRP_EXPORT_TIMEOUT bounds nothing here, which is said as for spans."""
    _, said = parsed(OTEL_BLRP_EXPORT_TIMEOUT="500")
    assert len(said) == 1
    assert "OTEL_BLRP_EXPORT_TIMEOUT" in said[0]
    assert "OTEL_EXPORTER_OTLP_TIMEOUT" in said[0]
