"""Names nobody reads are named with a guess, names that others read are left alone, and aliases fill in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import otel_distro
from otel_distro.settings import Problem, Weight, describe, parse, repair
from otel_distro.settings._aliases import NAMES
from otel_distro.settings._names import UNSUPPORTED
from otel_distro.settings._parse import INTERNAL


def problems_of(**environ: str) -> list[Problem]:
    return parse(environ)[1]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("OTEL_TRACE_EXPORTER", "OTEL_TRACES_EXPORTER"),
        ("OTEL_METRIC_EXPORTER", "OTEL_METRICS_EXPORTER"),
        ("OTEL_EXPORTER_OTLP_ENDPONT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("OTEL_EXPORTER_OTLP_TRACE_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
        ("OTEL_SERVICENAME", "OTEL_SERVICE_NAME"),
        ("OTEL_RESOURCE_ATTRIBUTE", "OTEL_RESOURCE_ATTRIBUTES"),
        ("OTEL_PROPAGATOR", "OTEL_PROPAGATORS"),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATION", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"),
        ("OTEL_PYTHON_FASTPI_EXCLUDED_URLS", "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS"),
        ("OTEL_DISTRO_SPOOLDIR", "OTEL_DISTRO_SPOOL_DIR"),
        ("OTEL_DISTRO_PIPE", "OTEL_DISTRO_PIPELINE"),
    ],
)
def test_a_misspelt_name_gets_a_guess(name: str, meant: str) -> None:
    """One line asks whether the near name was meant; the value, which may be a secret, is not shown."""
    (problem,) = problems_of(**{name: "canary"})
    assert f"did you mean {meant}?" in str(problem)
    assert "canary" not in str(problem)


def test_a_name_under_our_own_prefix_is_ours_to_know() -> None:
    """OTEL_DISTRO_* that resembles nothing is still named: nobody else reads it."""
    assert "no such variable" in str(problems_of(OTEL_DISTRO_QQQQ="1")[0])


@pytest.mark.parametrize(
    "name",
    [
        "OTEL_POD_IP",
        "OTEL_NODE_IP",
        "OTEL_RESOURCE_ATTRIBUTES_POD_NAME",
        "OTEL_RESOURCE_ATTRIBUTES_NODE_NAME",
        "OTEL_COLLECTOR_SERVICE_HOST",
        "OTEL_COLLECTOR_PORT_4318_TCP_ADDR",
        "OTEL_TRACES_EXPORTER_SERVICE_PORT_HTTP",
        "OTEL_JAVAAGENT_DEBUG",
        "OTEL_NODE_RESOURCE_DETECTORS",
        "OTEL_DOTNET_AUTO_HOME",
        "OTEL_GO_AUTO_GLOBAL",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
        "OTEL_INSTRUMENTATION_KAFKA_ENABLED",
        "OTEL_PYTHON_DJANGO_INSTRUMENT",
        "OTEL_PYTHON_FLASK_EXCLUDED_URLS",
        "OTEL_PYTHON_FALCON_TRACED_REQUEST_ATTRS",
        "OTEL_PYTHON_EXPORTER_OTLP_GRPC_CREDENTIAL_PROVIDER",
        "OTEL_EXPERIMENTAL_SDK_EXTENSION",
        "OTEL_BACKEND_URL",
        "OTEL_MYCOMPANY_FLAG",
        "FASTAPI_OTEL_AUTO_CONFIGURE",
    ],
)
def test_a_name_that_others_read_is_none_of_our_business(name: str) -> None:
    """Kubernetes, the operator, other languages, contrib and the application have names of their own."""
    assert problems_of(**{name: "x"}) == []


@pytest.mark.parametrize("name", [*UNSUPPORTED, "OTEL_EXPORTER_JAEGER_ENDPOINT", "OTEL_EXPORTER_ZIPKIN_ENDPOINT"])
def test_a_variable_that_does_nothing_here_is_named_with_the_reason(name: str) -> None:
    """What other SDKs know and this one does not is said when it is set, and never guessed at."""
    (problem,) = problems_of(**{name: "x"})
    assert problem.variable == name
    assert "did you mean" not in str(problem)


def test_an_exporter_in_use_reads_its_own_variables() -> None:
    """With the Zipkin exporter chosen its endpoint is its business; with upstream's pipeline, credential providers."""
    assert problems_of(OTEL_TRACES_EXPORTER="zipkin", OTEL_EXPORTER_ZIPKIN_ENDPOINT="http://z:9411") == []
    provider = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER"
    assert problems_of(**{provider: "x", "OTEL_DISTRO_PIPELINE": "upstream"}) == []
    assert [problem.variable for problem in problems_of(**{provider: "x"})] == [provider]


def test_every_variable_of_the_specification_is_known() -> None:
    """Each name upstream's SDK declares is either read or refused with a reason."""
    from opentelemetry.sdk import environment_variables as sdk

    declared = {name for name in vars(sdk) if name.startswith("OTEL_")}
    known = {name for name, _ in describe()} | UNSUPPORTED.keys()
    elsewhere = {name for name in declared - known if not problems_of(**{name: "x"})}
    assert len(declared) > 60
    # read by packages of their own, when those are used
    assert all("CREDENTIAL_PROVIDER" in name or "GRPC" in name for name in elsewhere), elsewhere


def test_every_name_in_the_source_is_known() -> None:
    """No module reads an OTEL_DISTRO_* variable that the catalogue does not have."""
    known = {name for name, _ in describe()} | INTERNAL
    root = Path(otel_distro.__file__).parent
    found = {
        name for path in root.rglob("*.py") for name in re.findall(r"\bOTEL_DISTRO_[A-Z_]+[A-Z]", path.read_text())
    }
    assert found - known == set()


@pytest.mark.parametrize(
    ("environ", "attribute", "value"),
    [
        ({"ENVIRONMENT": "production"}, "deployment.environment.name", "production"),
        ({"APP_ENV": "staging"}, "deployment.environment.name", "staging"),
        ({"ENVIRONMENT": "a", "APP_ENV": "b"}, "deployment.environment.name", "a"),
        ({"APP_VERSION": "1.0.0"}, "service.version", "1.0.0"),
        ({"RELEASE_VERSION": "2, 0=x"}, "service.version", "2, 0=x"),
        (
            {"ENVIRONMENT": "a", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=b"},
            "deployment.environment.name",
            "b",
        ),
        ({"ENVIRONMENT": "a", "OTEL_RESOURCE_ATTRIBUTES": "x=y,"}, "x", "y"),
    ],
)
def test_the_stacks_names_fill_the_resource(environ: dict[str, str], attribute: str, value: str) -> None:
    """They are lowest in rank, each that is used is one note, and nothing is written into the environment for them."""
    settings, problems = parse(environ)
    assert settings.general.resource_attributes[attribute] == value
    assert all(problem.weight is Weight.NOTE and problem.leave for problem in problems)
    before = dict(environ)
    repair(environ, problems)
    assert environ == before


def test_an_old_name_of_an_attribute_outranks_an_alias() -> None:
    """Whoever sets `deployment.environment` himself is not told another one."""
    settings, problems = parse({"APP_ENV": "a", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=b"})
    assert (dict(settings.general.resource_attributes), problems) == ({"deployment.environment": "b"}, [])


@pytest.mark.parametrize(
    ("environ", "exporters", "port", "weights"),
    [
        ({"PROMETHEUS_PORT": "9090"}, ("prometheus",), 9090, [Weight.NOTE]),
        ({"PROMETHEUS_PORT": "9090", "OTEL_EXPORTER_PROMETHEUS_PORT": "1"}, ("prometheus",), 1, []),
        ({"PROMETHEUS_PORT": "tcp://10.0.0.1:9090"}, ("prometheus",), 9464, []),
        ({"PROMETHEUS_PORT": "http"}, ("prometheus",), 9464, [Weight.WARNING]),
        ({"PROMETHEUS_PORT": "99999"}, ("prometheus",), 9464, [Weight.WARNING]),
        ({"ENABLE_METRICS": "true", "ENABLE_PROMETHEUS": "True"}, ("prometheus",), 9464, []),
        ({"ENABLE_METRICS": "false"}, ("none",), 9464, [Weight.NOTE]),
        ({"ENABLE_PROMETHEUS": "false"}, ("none",), 9464, [Weight.NOTE]),
        ({"ENABLE_PROMETHEUS": "false", "OTEL_METRICS_EXPORTER": "otlp"}, ("otlp",), 9464, []),
        ({"ENABLE_METRICS": "1"}, ("prometheus",), 9464, [Weight.WARNING]),
    ],
)
def test_the_stacks_names_switch_metrics(
    environ: dict[str, str], exporters: tuple[str, ...], port: int, weights: list[Weight]
) -> None:
    """ENABLE_*, PROMETHEUS_PORT: read where OpenTelemetry's own variable is unset; Kubernetes' links are no ports."""
    settings, problems = parse(environ)
    assert (settings.metrics.exporters, settings.metrics.prometheus_port) == (exporters, port)
    assert [problem.weight for problem in problems] == weights


def test_starlettes_exclusions_are_fastapis() -> None:
    """Contrib has a variable for each of two packages; ours is one server path, whose own variable wins."""
    read = {"OTEL_PYTHON_STARLETTE_EXCLUDED_URLS": "health"}
    assert parse(read)[0].instrumentation.http.fastapi_excluded_urls == ("health",)
    both = {**read, "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "ready"}
    assert parse(both)[0].instrumentation.http.fastapi_excluded_urls == ("ready",)


@given(st.dictionaries(st.sampled_from(sorted(NAMES)), st.text(max_size=300), max_size=6))
def test_any_alias_gives_settings_and_lines(environ: dict[str, str]) -> None:
    """Whatever stands in a name as common as ENVIRONMENT, nothing is raised and each line is one line."""
    assert all("\n" not in str(problem) for problem in parse(environ)[1])


def test_the_page_has_every_alias_and_every_refused_name() -> None:
    """docs/settings.md says which foreign names are read and which are refused."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "settings.md").read_text()
    assert [name for name in sorted(NAMES | UNSUPPORTED.keys()) if name not in page] == []
