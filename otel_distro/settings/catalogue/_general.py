"""What concerns every signal."""

from __future__ import annotations

from collections.abc import Mapping

from otel_distro.settings._values import BOOLEAN, PAIRS, TEXT, choice, names
from otel_distro.settings._variable import UPSTREAM, Record, variable


class General(Record):
    """What concerns every signal."""

    disabled: bool = variable("OTEL_SDK_DISABLED", BOOLEAN, False, "`true` switches all telemetry off.")
    log_level: str = variable(
        "OTEL_LOG_LEVEL",
        choice("trace", "debug", "info", "warn", "warning", "error", "fatal", "none"),
        "info",
        "The least level of the distro's own lines.",
    )
    service_name: str | None = variable(
        "OTEL_SERVICE_NAME",
        TEXT,
        None,
        "The service's name; else the name of the module or script that runs.",
    )
    resource_attributes: Mapping[str, str] = variable(
        "OTEL_RESOURCE_ATTRIBUTES", PAIRS, {}, "Attributes of the resource, as `key=value,key=value`."
    )
    propagators: tuple[str, ...] = variable(
        "OTEL_PROPAGATORS",
        names(),
        ("tracecontext", "baggage"),
        "How context travels between services: names of installed propagators, or `none`.",
    )
    resource_detectors: tuple[str, ...] = variable(
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS",
        names(),
        (),
        "Further resource detectors, by entry-point name; what they find adds to host and process, and names the "
        "service where the user has not.",
        source=UPSTREAM,
    )
    config_file: str | None = variable(
        "OTEL_CONFIG_FILE",
        TEXT,
        None,
        "A declarative configuration, schema 1.0, YAML (with the extra `config`) or JSON; the specification's "
        "variables are then not read.",
    )
