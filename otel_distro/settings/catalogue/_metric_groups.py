"""Which groups of the distro's metrics are made."""

from __future__ import annotations

from otel_distro.settings._values import Kind, Unusable, did_you_mean
from otel_distro.settings._variable import OURS, Record, variable

METRIC_GROUPS = (
    "http-server",
    "http-sizes",
    "http-client",
    "streams",
    "database",
    "redis",
    "cache",
    "pools",
    "runtime",
    "own",
)
"""In the order of the reference table; `otel_distro.metrics.groups` tells which metrics are in each."""


def _parse(text: str) -> tuple[str, ...]:
    """Names to keep, or names with a minus to leave out; names alone keep these only, minus alone keeps the others."""
    entries = [entry for raw in text.lower().split(",") if (entry := raw.strip().replace("_", "-"))]
    unknown = [e for e in entries if e.removeprefix("-") not in METRIC_GROUPS and e not in {"all", "none"}]
    kept = {entry for entry in entries if entry in METRIC_GROUPS}
    if "all" in entries or (not kept and "none" not in entries and any(e.startswith("-") for e in entries)):
        kept = set(METRIC_GROUPS)
    left_out = {entry[1:] for entry in entries if entry.startswith("-")}
    chosen = tuple(name for name in METRIC_GROUPS if name in kept - left_out)
    if unknown:
        # without its minus the name would keep this group alone
        minus = "-" if unknown[0].startswith("-") else ""
        hint = did_you_mean(unknown[0].removeprefix("-"), {name: minus + name for name in METRIC_GROUPS})
        reason = f"{unknown[0]!r} is not one of {', '.join(METRIC_GROUPS)}, all, none{hint}"
        raise Unusable(reason, chosen or None)
    return chosen


class MetricGroups(Record):
    """Which groups of the distro's metrics are made."""

    enabled: tuple[str, ...] = variable(
        "OTEL_DISTRO_METRICS_GROUPS",
        Kind(f"list of {', '.join(f'`{name}`' for name in METRIC_GROUPS)}, `all` or `none`", _parse),
        METRIC_GROUPS,
        "Groups of metrics that are made; a minus before a name leaves that one out: `-runtime,-pools`.",
        source=OURS,
    )
