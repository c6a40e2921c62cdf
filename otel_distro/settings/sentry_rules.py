"""One answer where Sentry and OpenTelemetry have a variable each: environment, release, sampling, profiles."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ._problem import Problem
from .catalogue import Sentry, Settings, Traces

ENVIRONMENT = "deployment.environment.name"
_OLD_ENVIRONMENT = "deployment.environment"
VERSION = "service.version"
DEFAULT_ENVIRONMENT = "production"

# what Sentry refuses: a value with any of these is removed by its ingestion
_BAD_IN_ENVIRONMENT = re.compile(r"[\s/]")
_BAD_IN_RELEASE = re.compile(r"[\r\n\t/\\]")
_LONGEST = {"SENTRY_ENVIRONMENT": 64, "SENTRY_RELEASE": 200}


def resolve(settings: Settings, environ: Mapping[str, str], problems: list[Problem]) -> Settings:
    """`settings`, which have a DSN, with one answer to each question that both sides ask."""
    attributes = dict(settings.general.resource_attributes)
    environment = _environment(settings.sentry, attributes, problems)
    release = _release(settings.sentry, attributes, problems)
    profiles = _profiles(settings.sentry, problems)
    sentry = settings.sentry.replace(environment=environment, release=release, profile_session_sample_rate=profiles)
    return settings.replace(
        sentry=sentry,
        general=settings.general.replace(resource_attributes=attributes),
        traces=_sampler(settings.traces, sentry, environ, problems),
    )


def usable_environment(text: str) -> str:
    """`text` without what Sentry refuses in an environment: white space and slashes, more than 64 characters."""
    plain = _BAD_IN_ENVIRONMENT.sub("-", text.strip())[: _LONGEST["SENTRY_ENVIRONMENT"]]
    return DEFAULT_ENVIRONMENT if plain.lower() in {"", "none"} else plain


def usable_release(text: str) -> str | None:
    """`text` without what Sentry refuses in a release: slashes and line ends, more than 200 characters."""
    plain = _BAD_IN_RELEASE.sub("-", text.strip())[: _LONGEST["SENTRY_RELEASE"]]
    return None if plain in {"", ".", ".."} or plain.lower() == "latest" else plain


def _environment(sentry: Sentry, attributes: dict[str, str], problems: list[Problem]) -> str:
    theirs = attributes.get(ENVIRONMENT) or attributes.get(_OLD_ENVIRONMENT)
    given = sentry.environment or theirs
    if given is None:
        return DEFAULT_ENVIRONMENT
    used = usable_environment(given)
    if used != given.strip():
        name = "SENTRY_ENVIRONMENT" if sentry.environment else "OTEL_RESOURCE_ATTRIBUTES"
        _note(problems, name, given, "Sentry takes no white space and no slash in an environment", f"{used} is used")
    elif sentry.environment and theirs and theirs != sentry.environment:
        reason = f"OTEL_RESOURCE_ATTRIBUTES says {theirs[:80]!r}"
        _note(problems, "SENTRY_ENVIRONMENT", given, reason, f"{used} is used for all telemetry")
    attributes[ENVIRONMENT] = used
    if _OLD_ENVIRONMENT in attributes:
        attributes[_OLD_ENVIRONMENT] = used
    return used


def _release(sentry: Sentry, attributes: dict[str, str], problems: list[Problem]) -> str | None:
    if sentry.release is None:
        return None
    used = usable_release(sentry.release)
    if used != sentry.release.strip():
        reason = "Sentry takes no such release (slashes, line ends, `latest`)"
        _note(problems, "SENTRY_RELEASE", sentry.release, reason, f"{used} is used" if used else "it counts as unset")
    if used is None:
        return None
    version, known = used.rpartition("@")[2], attributes.get(VERSION)
    if known is None:
        attributes[VERSION] = version
    elif known not in {version, used}:
        reason = f"OTEL_RESOURCE_ATTRIBUTES says {VERSION}={known[:80]!r}"
        _note(problems, "SENTRY_RELEASE", used, reason, "Sentry gets the release, the collector the version")
    return used


def _profiles(sentry: Sentry, problems: list[Problem]) -> float | None:
    rate, sessions = sentry.profiles_sample_rate, sentry.profile_session_sample_rate
    if rate is None:
        return sessions
    reason = "sentry-sdk profiles nothing by it while its tracing is off"
    if sessions is not None:
        _note(problems, "SENTRY_PROFILES_SAMPLE_RATE", str(rate), reason, "SENTRY_PROFILE_SESSION_SAMPLE_RATE counts")
        return sessions
    used = "that part of the processes is profiled, as by SENTRY_PROFILE_SESSION_SAMPLE_RATE"
    _note(problems, "SENTRY_PROFILES_SAMPLE_RATE", str(rate), reason, used)
    return rate


def _sampler(traces: Traces, sentry: Sentry, environ: Mapping[str, str], problems: list[Problem]) -> Traces:
    rate = sentry.traces_sample_rate
    if rate is None:
        return traces
    chosen = environ.get("OTEL_TRACES_SAMPLER", "").strip()
    if chosen:
        reason = f"OTEL_TRACES_SAMPLER={chosen[:80]!r} is set as well"
        _note(problems, "SENTRY_TRACES_SAMPLE_RATE", str(rate), reason, "OTEL_TRACES_SAMPLER counts")
        return traces
    return traces.replace(sampler="parentbased_traceidratio", sampler_arg=str(rate))


def _note(problems: list[Problem], name: str, text: str, reason: str, used: str) -> None:
    problems.append(Problem(name, text[:80], reason, used, leave=True))
