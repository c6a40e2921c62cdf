"""Sentry's settings: the DSN, and one answer where OpenTelemetry has a variable for the same question."""

from __future__ import annotations

import pytest

from otel_distro import settings
from otel_distro.settings.dsn import parse_dsn

DSN = "https://abc123@o1.ingest.example.com/42"


def resolved(**environ: str) -> tuple[settings.Settings, list[str]]:
    """Settings of a process with a DSN and these variables, and the lines about them."""
    parsed, problems = settings.parse({"SENTRY_DSN": DSN, **environ})
    return parsed, [str(problem) for problem in problems]


def test_a_dsn_tells_the_place_and_the_key() -> None:
    """Host, port, path, project and public key come from the DSN; its secret key, long deprecated, does not."""
    dsn = parse_dsn("http://key:oldsecret@127.0.0.1:9000/sub/path/7")
    assert dsn.otlp_traces == "http://127.0.0.1:9000/sub/path/api/7/integration/otlp/v1/traces/"
    assert dsn.auth("me/1") == "sentry sentry_key=key, sentry_version=7, sentry_client=me/1"
    assert (dsn.host, dsn.project) == ("127.0.0.1", "7")


def test_a_dsn_never_shows_its_key() -> None:
    """Neither `str` nor `repr` of a DSN holds a key, so that a log line about it gives nothing away."""
    dsn = parse_dsn("https://topkey@sentry.example.com/1")
    assert "topkey" not in f"{dsn} {dsn!r}"


@pytest.mark.parametrize(
    "text",
    ["nonsense", "https://sentry.example.com/1", "https://key@/1", "ftp://key@host/1", "https://key@host/name",
     "https://key@host:99999/1", "https://key@host", "https://ke y@host/1", "https://key@host/١"],
)  # fmt: skip
def test_a_wrong_dsn_is_one_line_without_it_and_is_taken_away(text: str) -> None:
    """A DSN that cannot be used switches the bridge off in one line that does not repeat it, also for sentry-sdk."""
    environ = {"SENTRY_DSN": text}
    parsed, problems = settings.parse(environ)
    settings.repair(environ, problems)
    assert parsed.sentry.dsn is None
    assert [problem.variable for problem in problems] == ["SENTRY_DSN"]
    assert text not in str(problems[0])
    assert environ == {}


def test_without_a_dsn_nothing_of_sentry_counts() -> None:
    """Sentry's variables change nothing where no DSN is set."""
    parsed, problems = settings.parse({"SENTRY_TRACES_SAMPLE_RATE": "0.1", "SENTRY_ENVIRONMENT": "a b"})
    assert (parsed.traces.sampler, problems) == ("parentbased_always_on", [])
    assert "deployment.environment.name" not in parsed.general.resource_attributes


def test_the_environment_is_the_same_on_both_sides() -> None:
    """Whoever names the environment, Sentry and the resource get it; `production` is Sentry's own default only."""
    ours, lines = resolved(SENTRY_ENVIRONMENT="staging")
    theirs, more = resolved(OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=staging")
    nobody, _ = resolved()
    assert ours.sentry.environment == theirs.sentry.environment == "staging"
    assert ours.general.resource_attributes["deployment.environment.name"] == "staging"
    assert nobody.sentry.environment == "production"
    assert not {**nobody.general.resource_attributes}
    assert lines == more == []


def test_two_environments_are_named_once() -> None:
    """Where both sides name another environment, Sentry's wins for both, in one line that has both values."""
    parsed, (line,) = resolved(
        SENTRY_ENVIRONMENT="staging", OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=prod"
    )
    assert parsed.general.resource_attributes["deployment.environment.name"] == "staging"
    assert "SENTRY_ENVIRONMENT" in line
    assert "prod" in line


def test_what_sentry_refuses_is_replaced() -> None:
    """An environment with a slash and a release with a line end lose what Sentry refuses, in a line each."""
    parsed, lines = resolved(SENTRY_ENVIRONMENT="eu/west 1", SENTRY_RELEASE="shop@1\n2")
    assert (parsed.sentry.environment, parsed.sentry.release) == ("eu-west-1", "shop@1-2")
    assert len(lines) == 2


def test_a_release_tells_the_version() -> None:
    """A release fills in `service.version` where nobody named one, and leaves one that was named."""
    filled, none = resolved(SENTRY_RELEASE="shop@1.2")
    agreed, also_none = resolved(SENTRY_RELEASE="shop@1.2", OTEL_RESOURCE_ATTRIBUTES="service.version=1.2")
    differs, (line,) = resolved(SENTRY_RELEASE="shop@1.2", OTEL_RESOURCE_ATTRIBUTES="service.version=3")
    assert filled.general.resource_attributes["service.version"] == "1.2"
    assert agreed.general.resource_attributes["service.version"] == "1.2"
    assert differs.general.resource_attributes["service.version"] == "3"
    assert none == also_none == []
    assert "service.version" in line


def test_sentrys_rate_samples_where_opentelemetry_says_nothing() -> None:
    """`SENTRY_TRACES_SAMPLE_RATE` becomes the sampler's ratio, unless `OTEL_TRACES_SAMPLER` is set, which is said."""
    alone, none = resolved(SENTRY_TRACES_SAMPLE_RATE="0.25")
    both, (line,) = resolved(SENTRY_TRACES_SAMPLE_RATE="0.25", OTEL_TRACES_SAMPLER="always_off")
    assert (alone.traces.sampler, alone.traces.sampler_arg) == ("parentbased_traceidratio", "0.25")
    assert none == []
    assert both.traces.sampler == "always_off"
    assert "OTEL_TRACES_SAMPLER" in line


def test_the_profiles_rate_stands_in_for_the_sessions_rate() -> None:
    """`SENTRY_PROFILES_SAMPLE_RATE` needs sentry-sdk's tracing: it becomes the other, which is said once."""
    parsed, (line,) = resolved(SENTRY_PROFILES_SAMPLE_RATE="0.5")
    both, (other,) = resolved(SENTRY_PROFILES_SAMPLE_RATE="0.5", SENTRY_PROFILE_SESSION_SAMPLE_RATE="0.1")
    assert parsed.sentry.profile_session_sample_rate == 0.5
    assert both.sentry.profile_session_sample_rate == 0.1
    assert "SENTRY_PROFILE_SESSION_SAMPLE_RATE" in line
    assert "SENTRY_PROFILE_SESSION_SAMPLE_RATE" in other


def test_switches_are_read_as_sentry_sdk_reads_them() -> None:
    """`1`, `yes` and `on` switch on, as in sentry-sdk; anything that is neither true nor false is said."""
    parsed, none = resolved(SENTRY_DEBUG="1", SENTRY_ENABLE_LOGS="on", SENTRY_SEND_DEFAULT_PII="No")
    _, (line,) = resolved(SENTRY_DEBUG="perhaps")
    assert (parsed.sentry.debug, parsed.sentry.enable_logs, parsed.sentry.send_default_pii) == (True, True, False)
    assert none == []
    assert "SENTRY_DEBUG" in line
