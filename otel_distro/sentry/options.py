"""The options that sentry-sdk is set up with: errors, logs and profiles, without tracing and without client patches."""

from __future__ import annotations

import logging
from typing import Any

from otel_distro import settings

from . import _sdk
from .events import Events
from .identity import Identity
from .scrub import Scrub

_NOTHING = {"mode": "off"}


def options(sentry: settings.Sentry, who: Identity, events: Events, scrub: Scrub) -> dict[str, Any]:
    """Arguments of `sentry_sdk.init`, only such as the installed version knows.

    Args:
        sentry: the settings, with a DSN.
        who: environment, release and host.
        events: completes logs.
        scrub: takes out what is not to leave.
    """
    personal = sentry.send_default_pii
    found: dict[str, Any] = {
        "dsn": sentry.dsn.text if sentry.dsn is not None else None,
        "environment": who.environment,
        "release": who.release,
        "server_name": who.server,
        "sample_rate": sentry.sample_rate,
        "debug": sentry.debug,
        "integrations": _integrations(sentry),
        "auto_enabling_integrations": False,
        "disabled_integrations": _disabled(),
        "auto_session_tracking": False,  # it would follow each request
        "enable_backpressure_handling": False,  # a thread that only lowers the rate of sentry-sdk's own traces
        "max_request_body_size": "never",
        "before_send": scrub.event,
        "before_breadcrumb": scrub.breadcrumb,
        "before_send_log": lambda log, hint: scrub.log(events.log(log)),
        "before_send_metric": lambda metric, hint: scrub.metric(events.log(metric)),
    }
    if sentry.profile_session_sample_rate:
        found |= {
            "profile_session_sample_rate": sentry.profile_session_sample_rate,
            "profile_lifecycle": "manual",
        }
    if sentry.enable_logs and _sdk.knows("enable_logs"):
        found["enable_logs"] = True
    if _sdk.knows("data_collection"):
        found["data_collection"] = _collected(personal=personal, variables=sentry.local_variables)
    else:
        from sentry_sdk.scrubber import EventScrubber

        found |= {
            "send_default_pii": personal,
            "include_local_variables": sentry.local_variables,
            "event_scrubber": EventScrubber(denylist=[], pii_denylist=[]),  # ours takes its place
        }
    return _sdk.known(found)


def _collected(*, personal: bool, variables: bool) -> dict[str, Any]:
    """What sentry-sdk's integrations may look at; its own default, from 3.0 on, is everything."""
    pairs = {} if personal else _NOTHING
    return {
        "user_info": personal,
        "cookies": pairs,
        "http_headers": {"request": pairs},
        "http_bodies": [],
        "url_query_params": pairs,
        "graphql": {"document": personal, "variables": personal},
        "gen_ai": {"inputs": personal, "outputs": personal},
        "database_query_data": False,
        "queues": personal,
        "stack_frame_variables": variables,
    }


def _integrations(sentry: settings.Sentry) -> list[Any]:
    from sentry_sdk.integrations import logging as integration

    make: Any = integration.LoggingIntegration
    # 3.x makes no events of log records unless it is told to
    if _sdk.MAJOR < 3:
        return [make(level=logging.INFO, event_level=logging.ERROR)]
    logs = logging.INFO if sentry.enable_logs else None
    return [make(level=logs, event_level=logging.ERROR, breadcrumb_level=logging.INFO)]


def _disabled() -> list[Any]:
    from sentry_sdk.integrations.argv import ArgvIntegration
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.modules import ModulesIntegration
    from sentry_sdk.integrations.stdlib import StdlibIntegration

    # command lines may hold secrets; the list of packages is long; our exit has one budget; http.client is a client
    return [ArgvIntegration(), ModulesIntegration(), AtexitIntegration(), StdlibIntegration()]


__all__ = ["options"]
