"""Sentry: where errors and spans go, and what of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_distro.settings._values import BOOLEAN, TEXT, Kind, Unusable, choice, decimal, names
from otel_distro.settings._variable import OURS, Record, variable

if TYPE_CHECKING:
    from otel_distro.settings.dsn import Dsn

SDK = "sentry-sdk"

_RATE = decimal(0, 1)
_YES, _NO = frozenset({"1", "true", "t", "y", "yes", "on"}), frozenset({"0", "false", "f", "n", "no", "off"})


def _dsn(text: str) -> Dsn:
    from otel_distro.settings.dsn import parse_dsn  # who has none does not pay for it

    try:
        return parse_dsn(text)
    except ValueError as error:
        raise Unusable(f"not a DSN: {error}; Sentry shows it under Settings, Client Keys") from None


def _switch(text: str) -> bool:
    lowered = text.lower()
    if lowered not in _YES | _NO:
        raise Unusable("neither true nor false")
    return lowered in _YES


_DSN = Kind("DSN", _dsn)
# sentry-sdk takes 1, yes and on for true, and so do the services that set its variables
_SWITCH = Kind("boolean", _switch)


class Sentry(Record):
    """Sentry; everything here counts only where `SENTRY_DSN` is set."""

    dsn: Dsn | None = variable(
        "SENTRY_DSN", _DSN, None, "The project's DSN; switches the bridge on.", source=SDK, secret=True
    )
    environment: str | None = variable(
        "SENTRY_ENVIRONMENT",
        TEXT,
        None,
        "The environment; else `deployment.environment.name` of the resource, else `production`.",
        source=SDK,
    )
    release: str | None = variable(
        "SENTRY_RELEASE",
        TEXT,
        None,
        "The release; else `service.name@service.version` of the resource, else what sentry-sdk finds.",
        source=SDK,
    )
    sample_rate: float = variable("SENTRY_SAMPLE_RATE", _RATE, 1.0, "The part of errors that is sent.", source=SDK)
    traces_sample_rate: float | None = variable(
        "SENTRY_TRACES_SAMPLE_RATE",
        _RATE,
        None,
        "The part of traces that is recorded, for all backends, where `OTEL_TRACES_SAMPLER` is unset.",
        source=SDK,
    )
    profiles_sample_rate: float | None = variable(
        "SENTRY_PROFILES_SAMPLE_RATE",
        _RATE,
        None,
        "Stands in for `SENTRY_PROFILE_SESSION_SAMPLE_RATE`, for its own meaning needs sentry-sdk's tracing.",
        source=SDK,
    )
    profile_session_sample_rate: float | None = variable(
        "SENTRY_PROFILE_SESSION_SAMPLE_RATE", _RATE, None, "The part of processes that is profiled.", source=SDK
    )
    send_default_pii: bool = variable(
        "SENTRY_SEND_DEFAULT_PII",
        _SWITCH,
        False,
        "Send query strings, headers, cookies, names and addresses of users, and whole messages of exceptions.",
        source=SDK,
    )
    enable_logs: bool = variable(
        "SENTRY_ENABLE_LOGS", _SWITCH, False, "Send log records as Sentry logs as well.", source=SDK
    )
    debug: bool = variable("SENTRY_DEBUG", _SWITCH, False, "Have sentry-sdk say what it does.", source=SDK)
    spans: str = variable(
        "OTEL_DISTRO_SENTRY_SPANS",
        choice("otlp", "collector", "envelope", "off"),
        "otlp",
        "How spans reach Sentry: by OTLP, through your collector, as transactions (for backends without OTLP), not.",
        source=OURS,
    )
    messages: str = variable(
        "OTEL_DISTRO_SENTRY_MESSAGES",
        choice("words", "full"),
        "words",
        "Messages of exceptions in Sentry: `words` hides names, numbers and quoted values in them, `full` none.",
        source=OURS,
    )
    local_variables: bool = variable(
        "OTEL_DISTRO_SENTRY_LOCAL_VARIABLES", BOOLEAN, False, "Send local variables of stack frames.", source=OURS
    )
    baggage: tuple[str, ...] = variable(
        "OTEL_DISTRO_SENTRY_BAGGAGE", names(), (), "Keys of baggage that become tags of Sentry events.", source=OURS
    )
    propagation: bool = variable(
        "OTEL_DISTRO_SENTRY_PROPAGATION",
        BOOLEAN,
        False,
        "Read and write `sentry-trace` headers beside the propagators of `OTEL_PROPAGATORS`.",
        source=OURS,
    )
