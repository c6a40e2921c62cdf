"""The OpenTelemetry packages that this release needs, held against those that are installed; asked when set-up failed.

pip installs another package's older OpenTelemetry over ours and only warns, so this is what a failure mostly is.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires, version

_PREFIX = "opentelemetry-"
_OPTIONAL = "opentelemetry-instrumentation-"
"""Contrib's instrumentations, without which set-up succeeds."""


def remedy() -> str:
    """What to do about packages of other releases, one clause; empty where all are as needed, or nothing is known."""
    try:
        wanted = [line.partition("==") for line in requires("otel-distro") or () if ";" not in line]
    except PackageNotFoundError:
        return ""
    others = [
        f"{name} is {found or 'missing'} and {needed} is needed"
        for name, pinned, needed in wanted
        if pinned
        and name.startswith(_PREFIX)
        and not name.startswith(_OPTIONAL)
        and (found := _installed(name)) != needed
    ]
    if not others:
        return ""
    return f"{others[0]}: install otel-distro again; `pip check` names who wants another"


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


__all__ = ["remedy"]
