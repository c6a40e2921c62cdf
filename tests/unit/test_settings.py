"""Settings: every variable parses, every unusable value is named once and replaced, nothing raises."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_distro.settings import Settings, describe, parse, repair


def problems_of(**environ: str) -> list[str]:
    return [str(problem) for problem in parse(environ)[1]]


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    """Without any variable: OTLP over HTTP to localhost, Prometheus on loopback, no problems."""
    settings, problems = parse({})
    assert problems == []
    assert settings.otlp_traces.endpoint == "http://localhost:4318/v1/traces"
    assert settings.otlp_metrics.endpoint == "http://localhost:4318/v1/metrics"
    assert settings.traces.exporters == ("otlp",)
    assert settings.metrics.exporters == ("prometheus",)
    assert (settings.metrics.prometheus_host, settings.metrics.prometheus_port) == ("127.0.0.1", 9464)
    assert settings.general.propagators == ("tracecontext", "baggage")


def test_empty_values_count_as_unset() -> None:
    """An empty or blank value is the same as none (specification, environment variables)."""
    assert parse({name: " " for name, _ in describe()}) == parse({})


@pytest.mark.parametrize(
    ("name", "text", "read", "value"),
    [
        ("OTEL_SERVICE_NAME", "shop", lambda s: s.general.service_name, "shop"),
        ("OTEL_SDK_DISABLED", "TRUE", lambda s: s.general.disabled, True),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b%20c, d=e", lambda s: s.general.resource_attributes, {"a": "b c", "d": "e"}),
        ("OTEL_PROPAGATORS", "baggage,baggage", lambda s: s.general.propagators, ("baggage",)),
        ("OTEL_PROPAGATORS", "none", lambda s: s.general.propagators, ()),
        ("OTEL_TRACES_SAMPLER", "TraceIdRatio", lambda s: s.traces.sampler, "traceidratio"),
        ("OTEL_BSP_SCHEDULE_DELAY", "200", lambda s: s.traces.batch.schedule_delay, 200),
        ("OTEL_BLRP_SCHEDULE_DELAY", "", lambda s: s.logs.batch.schedule_delay, 1000),
        ("OTEL_EXPORTER_OTLP_HEADERS", "k=v%3Dw", lambda s: s.otlp_logs.headers, {"k": "v=w"}),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500", lambda s: s.otlp_traces.timeout, 2500),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "HTTP/JSON", lambda s: s.otlp_traces.protocol, "http/json"),
        ("OTEL_DISTRO_PIPELINE", "upstream", lambda s: s.distro.pipeline, "upstream"),
    ],
)
def test_a_usable_value_is_read(name: str, text: str, read: Any, value: object) -> None:
    """A usable value arrives in its field, without a problem."""
    settings, problems = parse({name: text})
    assert read(settings) == value
    assert problems == []


@pytest.mark.parametrize(
    ("endpoint", "used"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/otlp/", "https://c/otlp/v1/traces"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
    ],
)
def test_the_general_endpoint_gets_the_path_of_the_signal(endpoint: str, used: str) -> None:
    """`/v1/traces` is added to the general endpoint (OTLP exporter specification)."""
    assert parse({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})[0].otlp_traces.endpoint == used


def test_a_signals_own_endpoint_is_used_as_it_is() -> None:
    """A signal's own endpoint is taken as written and wins over the general one."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b:2/x"}
    settings = parse(environ)[0]
    assert settings.otlp_traces.endpoint == "http://b:2/x"
    assert settings.otlp_metrics.endpoint == "http://a:1/v1/metrics"


@pytest.mark.parametrize(
    ("environ", "endpoint", "reason"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4318"}, "http://c:4318/v1/traces", "no scheme"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317"}, "http://localhost:4318/v1/traces", "port of OTLP/gRPC"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, "http://c:4318/v1/traces", "port of OTLP/gRPC"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "http://c:4317/v1/traces",
            "used as it stands",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:port"}, "http://localhost:4318/v1/traces", "not a URL"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://c"}, "http://localhost:4318/v1/traces", "not a URL"),
    ],
)
def test_an_endpoint_that_cannot_work_is_corrected_in_one_line(
    environ: dict[str, str], endpoint: str, reason: str
) -> None:
    """An endpoint without scheme or on the gRPC port is corrected, or at least named, once."""
    settings, problems = parse(environ)
    assert settings.otlp_traces.endpoint == endpoint
    assert len(problems) == 1
    assert reason in str(problems[0])


def test_grpc_keeps_its_port_and_path() -> None:
    """With the grpc protocol, 4317 is right and no path is added."""
    environ = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}
    settings, problems = parse(environ)
    assert (settings.otlp_traces.endpoint, problems) == ("http://c:4317", [])


def test_a_health_path_that_two_variables_name_is_one_line() -> None:
    """The order of the table decides; a default that is named elsewhere just gives way."""
    environ = {"OTEL_DISTRO_HEALTH_READY_PATHS": "/up,/ready", "OTEL_DISTRO_HEALTH_LIVE_PATHS": "/up,/health"}
    settings, problems = parse(environ)
    health = settings.health
    assert (health.live_paths, health.basic_paths, health.ready_paths) == (("/up", "/health"), (), ("/ready",))
    (problem,) = problems
    assert str(problem) == (
        "OTEL_DISTRO_HEALTH_READY_PATHS='/up,/ready': /up is named by OTEL_DISTRO_HEALTH_LIVE_PATHS as well; "
        "it answers as that says"
    )


@pytest.mark.parametrize(("text", "meant"), [("on", "on"), ("ON", "on"), ("true", "on"), ("False", "off")])
def test_health_is_switched_by_the_words_of_any_other_switch(text: str, meant: str) -> None:
    """`true` where `on` is meant must not leave a pod without its probes."""
    settings, problems = parse({"OTEL_DISTRO_HEALTH": text})
    assert (settings.health.enabled, problems) == (meant, [])


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("OTEL_SDK_DISABLED", "1", "not true or false"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "abc", "not a whole number"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1", "below the least"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "below the least"),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "99999", "above the greatest"),
        ("OTEL_DISTRO_METRICS_ROUTE", "metrics", "not a path"),
        ("OTEL_DISTRO_METRICS_ROUTE", "/", "not a path"),
        ("OTEL_PROPAGATORS", "tracecontxt", "did you mean 'tracecontext'"),
        ("OTEL_TRACES_SAMPLER", "alwayson", "did you mean 'always_on'"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "sometimes", "not one of"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c", "not key=value"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "thrift", "not one of"),
        ("OTEL_DISTRO_PIPELINE", "fast", "not one of"),
    ],
)
def test_an_unusable_value_is_named_with_its_reason(name: str, text: str, reason: str) -> None:
    """One line names the variable, the value, the reason and what is used instead."""
    (line,) = problems_of(**{name: text})
    assert line.startswith(f"{name}={text!r}: ")
    assert reason in line
    assert ";" in line


def test_a_general_variable_read_for_three_signals_is_named_once() -> None:
    """OTEL_EXPORTER_OTLP_* counts for three signals, and is still one problem."""
    assert len(problems_of(OTEL_EXPORTER_OTLP_TIMEOUT="soon")) == 1


def test_a_batch_greater_than_its_queue_shrinks() -> None:
    """Upstream raises when the batch is greater than the queue; here the batch shrinks to it."""
    settings, problems = parse({"OTEL_BSP_MAX_QUEUE_SIZE": "100"})
    assert settings.traces.batch.max_export_batch_size == 100
    assert [problem.repair for problem in problems] == ["100"]


def test_a_ratio_out_of_range_is_one() -> None:
    """A sampler's ratio outside 0..1 is ignored (specification, SDK environment variables)."""
    environ = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "7"}
    settings, problems = parse(environ)
    assert (settings.traces.sampler_arg, len(problems)) == (None, 1)


def test_installed_names_are_accepted() -> None:
    """A propagator or sampler that is not built in is looked up among what is installed."""
    installed = {"opentelemetry_propagator": ["b3"], "opentelemetry_traces_sampler": ["mine"]}
    environ = {"OTEL_PROPAGATORS": "b3,tracecontext", "OTEL_TRACES_SAMPLER": "mine"}
    settings, problems = parse(environ, lambda group: installed.get(group, ()))
    assert (settings.general.propagators, settings.traces.sampler, problems) == (("b3", "tracecontext"), "mine", [])


def test_secrets_do_not_appear_in_problems() -> None:
    """Neither header values nor credentials in a URL are shown."""
    lines = problems_of(OTEL_EXPORTER_OTLP_HEADERS="authorization", OTEL_EXPORTER_OTLP_ENDPOINT="user:canary@host:4317")
    assert len(lines) == 2
    assert not any("canary" in line or "authorization" in line for line in lines)


def test_repair_makes_the_environment_usable() -> None:
    """After repair the same environment has no problems left, so children name nothing twice."""
    environ = {
        "OTEL_PROPAGATORS": "bogus,baggage",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "abc",
        "OTEL_BSP_MAX_QUEUE_SIZE": "100",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317",
        "OTEL_RESOURCE_ATTRIBUTES": "a=b,c",
    }
    settings, problems = parse(environ)
    repair(environ, problems)
    assert parse(environ) == (settings, [])
    assert environ["OTEL_PROPAGATORS"] == "baggage"
    assert "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT" not in environ


def test_every_variable_is_described_once() -> None:
    """The reference has each name once, with a meaning and a source."""
    described = list(describe())
    names = [name for name, _ in described]
    assert len(names) == len(set(names))
    assert all(variable.meaning.endswith(".") and variable.source for _, variable in described)


@given(st.dictionaries(st.sampled_from([name for name, _ in describe()]), st.text(max_size=60), max_size=12))
def test_any_environment_gives_settings(environ: dict[str, str]) -> None:
    """Whatever the values are: settings come back, problems are lines, repair converges."""
    settings, problems = parse(environ)
    assert isinstance(settings, Settings)
    assert all("\n" not in str(problem) for problem in problems)
    repair(environ, problems)
    assert not [problem for problem in parse(environ)[1] if not problem.leave]


@pytest.mark.parametrize(
    ("text", "used", "lines"), [("10", 10_000, 1), ("99", 99_000, 1), ("100", 100, 0), ("0", 0, 0)]
)
def test_a_timeout_that_can_only_be_seconds_is_read_as_seconds(text: str, used: int, lines: int) -> None:
    """The unit is milliseconds; upstream's Python exporters read seconds, and `10` is what their users have set."""
    settings, problems = parse({"OTEL_EXPORTER_OTLP_TIMEOUT": text})
    assert (settings.otlp_traces.timeout, settings.otlp_logs.timeout, len(problems)) == (used, used, lines)


@pytest.mark.parametrize(
    ("environ", "listens"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_PROMETHEUS_PORT": "9464"}, True),
        ({"OTEL_EXPORTER_PROMETHEUS_HOST": "0.0.0.0"}, True),
    ],
)
def test_a_route_takes_the_place_of_a_port_that_nobody_asked_for(environ: dict[str, str], listens: bool) -> None:
    """With a route the port is bound only when its host or its port was set."""
    settings, problems = parse({"OTEL_DISTRO_METRICS_ROUTE": "/metrics", **environ})
    assert (settings.metrics.route, settings.metrics.listens, problems) == ("/metrics", listens, [])


@pytest.mark.parametrize(
    "other",
    [
        {"OTEL_METRICS_EXPORTER": "otlp"},
        {"OTEL_DISTRO_PIPELINE": "upstream"},
        {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "redis,fastapi"},
    ],
)
def test_a_route_that_has_nothing_to_show_is_one_line(other: dict[str, str]) -> None:
    """Without the Prometheus exporter of ours there is no route, and the line says which other setting is why."""
    settings, problems = parse({"OTEL_DISTRO_METRICS_ROUTE": "/metrics", **other})
    assert (settings.metrics.route, settings.metrics.listens) == (None, True)
    (line,) = map(str, problems)
    assert next(iter(other)) in line


def test_a_boolean_that_is_neither_is_false() -> None:
    """Any text but `true` is false, whatever the default is (specification, environment variables: boolean)."""
    settings, problems = parse({"OTEL_DISTRO_SQLCOMMENTER": "yes"})
    assert settings.instrumentation.sqlcommenter is False
    assert [problem.repair for problem in problems] == ["false"]


def test_an_id_generator_or_context_that_is_not_installed_is_named() -> None:
    """The part's default takes its place; one that is installed is used."""
    environ = {"OTEL_PYTHON_ID_GENERATOR": "xray", "OTEL_PYTHON_CONTEXT": "mine"}
    settings, problems = parse(environ)
    assert (settings.python.id_generator, settings.python.context) == ("random", "contextvars_context")
    assert [problem.variable for problem in problems] == ["OTEL_PYTHON_CONTEXT", "OTEL_PYTHON_ID_GENERATOR"]
    installed = {"opentelemetry_id_generator": ["xray"], "opentelemetry_context": ["mine"]}
    assert parse(environ, lambda group: installed[group])[1] == []


_BAD = {"boolean": "perhaps", "integer": "many", "number": "much", "URL": "no url at all", "key=value": "no pair"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (name, bad)
        for name, variable in describe()
        if (bad := _BAD.get(variable.kind.name.split()[0], "nonsense" if variable.kind.name.startswith("`") else ""))
    ],
)
def test_every_variable_of_a_kind_names_what_is_not_of_it(name: str, text: str) -> None:
    """One line for each variable alone, and after the repair none."""
    environ = {name: text}
    _, problems = parse(environ)
    assert [problem.variable for problem in problems] == [name]
    repair(environ, problems)
    assert parse(environ)[1] == []


def test_a_signals_own_value_that_is_none_leaves_the_general_one() -> None:
    """What cannot be used counts as unset, so the variable behind it counts."""
    settings, problems = parse({"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "soon", "OTEL_EXPORTER_OTLP_TIMEOUT": "700"})
    assert (settings.otlp_traces.timeout, settings.otlp_logs.timeout, len(problems)) == (700, 700, 1)
    assert problems[0].used == "OTEL_EXPORTER_OTLP_TIMEOUT counts"


def test_seconds_are_said_of_the_variable_that_holds_them() -> None:
    """No variable is shown with another one's value, nor left with it in the environment."""
    environ = {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "0.5", "OTEL_EXPORTER_OTLP_TIMEOUT": "10"}
    settings, problems = parse(environ)
    assert (settings.otlp_traces.timeout, settings.otlp_logs.timeout) == (10_000, 10_000)
    assert {problem.variable: problem.value for problem in problems} == environ
    assert len(problems) == len(environ)
    repair(environ, problems)
    assert environ == {"OTEL_EXPORTER_OTLP_TIMEOUT": "10000"}
    _, (own,) = parse({"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "5", "OTEL_EXPORTER_OTLP_TIMEOUT": "700"})
    assert own.variable == "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"


def test_a_pattern_that_is_none_is_left_out() -> None:
    """Contrib raises at the first request for it; here the others of the list count."""
    settings, problems = parse({"OTEL_PYTHON_EXCLUDED_URLS": "health,(,ready"})
    assert settings.instrumentation.http.excluded_urls == ("health", "ready")
    assert [problem.repair for problem in problems] == ["health,ready"]


def test_a_problem_shows_no_value_whose_name_is_a_secret() -> None:
    """Of a list of pairs that is partly wrong, what is called like a secret is not repeated."""
    _, problems = parse({"OTEL_RESOURCE_ATTRIBUTES": "db.password=canary,team=shop,broken"})
    assert [problem.value for problem in problems] == ["db.password=REDACTED,team=shop,broken"]
