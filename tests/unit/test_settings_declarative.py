"""A declarative configuration gives the settings of the equivalent variables, and names what it cannot give."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_distro.settings import Problem, Settings, Weight, parse, repair

NONE = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}


def declared(text: str, path: str = "otel.yaml", **environ: str) -> tuple[Settings, list[Problem]]:
    return parse({"OTEL_CONFIG_FILE": path, **environ}, lambda group: ("container",), read=lambda asked: text)


def same(text: str, environ: dict[str, str], **beside: str) -> list[Problem]:
    """The problems of a document that must give the settings of `environ`."""
    settings, problems = declared(f"file_format: '1.0'\n{text}", **beside)
    variables = {"OTEL_PROPAGATORS": "none", **NONE, "OTEL_CONFIG_FILE": "", **environ}
    expected, _ = parse(variables, lambda group: ("container",))
    named = expected.general.__class__(**{**fields(expected.general), "config_file": "otel.yaml"})
    assert settings == expected.__class__(**{**fields(expected), "general": named})
    return problems


def fields(thing: Any) -> dict[str, Any]:
    return dict(vars(thing))


PARITY = {
    "nothing": ("", {}),
    "general": (
        """
disabled: true
log_level: warn
attribute_limits: {attribute_value_length_limit: 99, attribute_count_limit: 7}
""",
        {
            "OTEL_SDK_DISABLED": "true",
            "OTEL_LOG_LEVEL": "warn",
            "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "99",
            "OTEL_ATTRIBUTE_COUNT_LIMIT": "7",
        },
    ),
    "resource": (
        """
resource:
  attributes:
    - {name: service.name, value: shop}
    - {name: a b, value: "x,=%y"}
  attributes_list: service.name=other,team=core
  detection/development:
    detectors: [{host: }, {container: }, {service: }]
""",
        {
            "OTEL_RESOURCE_ATTRIBUTES": "service.name=shop,team=core,a%20b=x%2C%3D%25y",
            "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "container",
        },
    ),
    "propagators": (
        "propagator: {composite: [{tracecontext: }, {baggage: null}], composite_list: 'baggage, tracecontext'}",
        {"OTEL_PROPAGATORS": "tracecontext,baggage"},
    ),
    "traces": (
        """
tracer_provider:
  processors:
    - batch:
        schedule_delay: 100
        max_queue_size: 4096
        max_export_batch_size: 256
        exporter:
          otlp_http:
            endpoint: http://collector:4318/custom
            headers: [{name: api-key, value: "a,b"}]
            headers_list: x=1
            compression: gzip
            timeout: 2500
            encoding: json
            tls: {ca_file: /ca.pem, key_file: /key.pem, cert_file: /cert.pem}
    - batch: {exporter: {console: }}
  limits:
    attribute_value_length_limit: 10
    attribute_count_limit: 11
    event_count_limit: 12
    link_count_limit: 13
    event_attribute_count_limit: 14
    link_attribute_count_limit: 15
  sampler: {parent_based: {root: {trace_id_ratio_based: {ratio: 0.25}}, remote_parent_sampled: {always_on: }}}
""",
        {
            "OTEL_TRACES_EXPORTER": "otlp,console",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_BSP_MAX_QUEUE_SIZE": "4096",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "256",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/custom",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x=1,api-key=a%2Cb",
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "gzip",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "2500",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json",
            "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": "/ca.pem",
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": "/key.pem",
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE": "/cert.pem",
            "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "10",
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "11",
            "OTEL_SPAN_EVENT_COUNT_LIMIT": "12",
            "OTEL_SPAN_LINK_COUNT_LIMIT": "13",
            "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "14",
            "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "15",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.25",
        },
    ),
    "grpc and a flat sampler": (
        """
tracer_provider:
  processors: [{batch: {exporter: {otlp_grpc: {endpoint: "http://c:4317", tls: {insecure: true}}}}}]
  sampler: {always_off: }
""",
        {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4317",
            "OTEL_EXPORTER_OTLP_TRACES_INSECURE": "true",
            "OTEL_TRACES_SAMPLER": "always_off",
        },
    ),
    "metrics": (
        """
meter_provider:
  readers:
    - pull: {exporter: {prometheus/development: {host: 0.0.0.0, port: 9999}}}
    - periodic:
        interval: 1000
        timeout: 500
        exporter:
          otlp_http:
            temporality_preference: delta
            default_histogram_aggregation: base2_exponential_bucket_histogram
  exemplar_filter: always_off
""",
        {
            "OTEL_METRICS_EXPORTER": "prometheus,otlp",
            "OTEL_EXPORTER_PROMETHEUS_HOST": "0.0.0.0",
            "OTEL_EXPORTER_PROMETHEUS_PORT": "9999",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_METRIC_EXPORT_TIMEOUT": "500",
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "base2_exponential_bucket_histogram",
            "OTEL_METRICS_EXEMPLAR_FILTER": "always_off",
        },
    ),
    "logs": (
        "logger_provider: {processors: [{batch: {schedule_delay: 9, exporter: {otlp_http: {endpoint: 'http://c:1/l'}}}}]}",
        {
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_BLRP_SCHEDULE_DELAY": "9",
            "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://c:1/l",
        },
    ),
    "instrumentation": (
        """
instrumentation/development:
  general:
    http:
      client: {request_captured_headers: [accept, x-a]}
      server: {response_captured_headers: [etag], known_methods: [GET, PUT]}
  python: {redis: {enabled: false}}
  java: {whatever: {it: says}}
""",
        {
            "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST": "accept,x-a",
            "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE": "etag",
            "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS": "GET,PUT",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "redis",
        },
    ),
    "ours": (
        "distribution: {otel-distro: {shutdown_timeout: 500, spool_dir: /spool}, other: {a: 1}}",
        {"OTEL_DISTRO_SHUTDOWN_TIMEOUT": "500", "OTEL_DISTRO_SPOOL_DIR": "/spool"},
    ),
    "an installed exporter": (
        "tracer_provider: {processors: [{batch: {exporter: {mine: }}}]}",
        {"OTEL_TRACES_EXPORTER": "mine"},
    ),
}


@pytest.mark.parametrize("name", PARITY)
def test_a_file_gives_what_the_variables_give(name: str) -> None:
    """Equal frozen settings, so an equal pipeline, whichever way they were written; nothing is complained about."""
    text, environ = PARITY[name]
    assert [problem for problem in same(text, environ) if "log" not in str(problem).lower()] == []


def test_references_are_filled_in() -> None:
    """${NAME}, ${env:NAME}, defaults for what is unset or empty, $$ for a dollar; what comes in is not read again."""
    text = """
resource:
  attributes:
    - {name: a, value: "${A}"}
    - {name: b, value: "${env:B:-none}/${C:-d:-e}$$x"}
    - {name: c, value: "${D}"}
    - name: d
      value: pre-${A}-post
"""
    said = "a=%24%7BB%7D,b=none/d%3A-e%24x,c=,d=pre-%24%7BB%7D-post"
    same(text, {"OTEL_RESOURCE_ATTRIBUTES": said}, A="${B}", B="")


def test_a_plain_reference_to_nothing_is_null() -> None:
    """`${UNSET}` leaves the default, as an unset variable does."""
    same("attribute_limits:\n  attribute_count_limit: ${UNSET}", {})


def test_json_needs_no_yaml() -> None:
    """A path that ends in .json is JSON, references included."""
    text = json.dumps({"file_format": "1.0", "log_level": "${L}", "disabled": True})
    settings, problems = declared(text, "otel.json", L="error")
    assert (settings.general.log_level, settings.general.disabled, problems) == ("error", True, [])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("what_is_this: 1", "what_is_this"),
        ("meter_provider: {views: [{selector: {}, stream: {}}]}", "meter_provider.views"),
        ("tracer_provider: {sampler: {parent_based: {remote_parent_not_sampled: {always_on: }}}}",
         "tracer_provider.sampler.parent_based.remote_parent_not_sampled"),
        ("tracer_provider: {processors: [{simple: {exporter: {console: }}}]}", "tracer_provider.processors[0].simple"),
        ("tracer_provider: {processors: [{batch: {exporter: {otlp_file/development: {output_stream: stdout}}}}]}",
         "tracer_provider.processors[0].batch.exporter.otlp_file/development"),
        ("tracer_provider: {processors: [{batch: {exporter: {otlp_http: }}}, {batch: {exporter: {otlp_grpc: }}}]}",
         "tracer_provider.processors[1].batch.exporter.otlp_grpc"),
        ("tracer_provider: {tracer_configurator/development: {}}", "tracer_provider.tracer_configurator/development"),
        ("resource: {schema_url: x}", "resource.schema_url"),
        ("resource: {attributes: [{name: a, value: 1, type: int}]}", "resource.attributes[0].type"),
        ("resource: 7", "resource"),
        ("log_level: [a]", "log_level"),
        ("distribution: {otel-distro: {shutdown_timout: 1}}", "distribution.otel-distro.shutdown_timout"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_named_once_by_its_place(text: str, place: str) -> None:
    """One line with the path in the document; the rest of the document counts."""
    problems = declared(f"file_format: '1.0'\n{text}")[1]
    assert [problem.variable for problem in problems] == [f"OTEL_CONFIG_FILE {place}"]


def test_a_wrong_value_is_named_by_its_place() -> None:
    """The complaint is the variable's own, under the place in the file; the environment is left alone."""
    environ = {"OTEL_CONFIG_FILE": "otel.yaml"}
    text = "file_format: '1.0'\ntracer_provider: {processors: [{batch: {schedule_delay: often}}]}"
    _, problems = parse(environ, read=lambda path: text)
    assert "OTEL_CONFIG_FILE tracer_provider.processors[0].batch.schedule_delay='often': not a whole number" in [
        str(problem).partition(";")[0] for problem in problems
    ]
    repair(environ, problems)
    assert environ == {"OTEL_CONFIG_FILE": "otel.yaml"}


def test_a_timeout_of_a_file_is_milliseconds_however_few() -> None:
    """The schema names the unit, so nobody has meant seconds, as many do with the variable."""
    text = "file_format: '1.0'\ntracer_provider: {processors: [{batch: {exporter: {otlp_http: {timeout: 50}}}}]}"
    settings, problems = declared(text)
    assert (settings.otlp_traces.timeout, problems) == (50, [])


def test_a_secret_of_the_file_is_not_shown() -> None:
    """Headers are as secret there as in a variable."""
    text = "tracer_provider: {processors: [{batch: {exporter: {otlp_http: {headers_list: canary}}}}]}"
    problems = declared(f"file_format: '1.0'\n{text}")[1]
    assert len(problems) == 1
    assert "canary" not in str(problems)


def test_variables_beside_a_file_are_not_read_and_named_in_one_line() -> None:
    """The specification's are ignored but for those the file refers to; Python's and ours have no other place."""
    beside = {"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "bogus", "OTEL_PROPAGATORS": "bogus"}
    text = "file_format: '1.0'\nresource: {attributes_list: 'a=${OTEL_SERVICE_NAME}'}"
    settings, problems = declared(text, OTEL_DISTRO_PIPELINE="upstream", **beside)
    assert (settings.general.service_name, settings.distro.pipeline) == (None, "upstream")
    said = [str(problem) for problem in problems if problem.weight is not Weight.SILENT]
    assert len(said) == 1
    assert "beside it, OTEL_PROPAGATORS, OTEL_TRACES_SAMPLER are not read" in said[0]
    environ = {"OTEL_CONFIG_FILE": "otel.yaml", **beside}
    repair(environ, problems)
    # upstream raises at its import for such a name, whatever the file says
    assert environ == {
        "OTEL_CONFIG_FILE": "otel.yaml",
        "OTEL_SERVICE_NAME": "x",
        "OTEL_PROPAGATORS": "tracecontext,baggage",
    }


def test_a_bad_value_behind_a_reference_is_repaired_too() -> None:
    """The file refers to a variable that upstream's code reads by itself."""
    environ = {"OTEL_CONFIG_FILE": "f", "OTEL_PROPAGATORS": "bogus"}
    text = "file_format: '1.0'\npropagator: {composite_list: '${OTEL_PROPAGATORS}'}"
    _, problems = parse(environ, read=lambda path: text)
    assert len([problem for problem in problems if problem.weight is not Weight.SILENT]) == 1
    repair(environ, problems)
    assert environ["OTEL_PROPAGATORS"] == "tracecontext,baggage"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "not YAML"),
        ("", "not a mapping"),
        ("- a", "not a mapping"),
        ("a: ${not a name}", "not a reference"),
        ("&a a: *b", "not YAML"),
        ("a: &x [*x]", "nested deeper"),
        ("? [a]\n: b", "a key is no text"),
        ("\x00", "not YAML"),
    ],
)
def test_a_broken_file_is_one_line_and_the_variables_count(text: str, reason: str) -> None:
    """Nothing is raised, children do not say it again, and what the variables say is used."""
    environ = {"OTEL_CONFIG_FILE": "otel.yaml", "OTEL_SERVICE_NAME": "shop"}
    settings, problems = parse(environ, read=lambda path: text)
    assert settings.general.service_name == "shop"
    assert len(problems) == 1
    assert reason in str(problems[0])
    repair(environ, problems)
    assert environ == {"OTEL_SERVICE_NAME": "shop"}


def test_a_file_that_is_not_there_is_one_line() -> None:
    """The reason is the system's, without a traceback."""
    (problem,) = parse({"OTEL_CONFIG_FILE": "/no/such/file.yaml"})[1]
    assert "cannot be read: No such file" in str(problem)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=12,
)
KEYS = st.sampled_from([
    "file_format", "disabled", "log_level", "attribute_limits", "resource", "propagator", "tracer_provider",
    "meter_provider", "logger_provider", "processors", "readers", "batch", "simple", "periodic", "pull",
    "exporter", "otlp_http", "otlp_grpc", "headers", "tls", "sampler", "parent_based", "root", "ratio",
    "attributes", "name", "value", "composite", "limits", "distribution", "otel-distro", "instrumentation",
    "general", "http", "python",
])  # fmt: skip
SCHEMA_LIKE = st.recursive(
    JSON, lambda inner: st.dictionaries(KEYS, inner | st.lists(inner, max_size=2), max_size=5), max_leaves=25
)


@given(SCHEMA_LIKE)
def test_any_document_gives_settings(document: Any) -> None:
    """Whatever a file holds, settings come back and every complaint is one line."""
    settings, problems = declared(json.dumps(document), "otel.json")
    assert isinstance(settings, Settings)
    assert all("\n" not in str(problem) for problem in problems)
