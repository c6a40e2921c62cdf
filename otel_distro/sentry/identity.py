"""Who sends to Sentry: environment, release and host, equal on errors and spans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from otel_distro import settings
from otel_distro.settings.sentry_rules import DEFAULT_ENVIRONMENT, usable_release


class Identity(NamedTuple):
    """Who sends.

    Attributes:
        environment: of the deployment.
        release: of the service, None where nobody knows one.
        server: name of the host.
    """

    environment: str
    release: str | None
    server: str


def identity(sentry: settings.Sentry, resource: Mapping[str, Any]) -> Identity:
    """Environment, release and host by the settings, else by the resource; the release else as sentry-sdk finds it.

    Args:
        sentry: the settings.
        resource: attributes of the resource.
    """
    release = sentry.release
    if release is None:
        version = resource.get("service.version")
        found = f"{resource.get('service.name')}@{version}" if version else _default_release()
        release = usable_release(found) if found else None
    host = resource.get("host.name") or resource.get("service.instance.id") or ""
    return Identity(sentry.environment or DEFAULT_ENVIRONMENT, release, str(host))


def _default_release() -> str | None:
    from sentry_sdk.utils import get_default_release

    return get_default_release()


__all__ = ["Identity", "identity"]
