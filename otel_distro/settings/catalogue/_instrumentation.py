"""Which libraries are instrumented, and how."""

from __future__ import annotations

from otel_distro.settings._values import BOOLEAN, names
from otel_distro.settings._variable import OURS, UPSTREAM, Record, group, variable

from ._http import Http
from ._requests import Requests


class Instrumentation(Record):
    """Which libraries are instrumented, and how."""

    disabled: tuple[str, ...] = variable(
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
        names(),
        (),
        "Instrumentations that are not loaded, by entry-point name; `*` for all.",
        source=UPSTREAM,
    )
    semconv_opt_in: tuple[str, ...] = variable(
        "OTEL_SEMCONV_STABILITY_OPT_IN",
        names(),
        ("http", "database"),
        "Which stable conventions contrib's instrumentations follow; ours know the stable ones only.",
        source="semantic conventions",
    )
    sqlcommenter: bool = variable(
        "OTEL_DISTRO_SQLCOMMENTER",
        BOOLEAN,
        False,
        "Append the trace context to SQL statements as a comment.",
        source=OURS,
    )
    http: Http = group(Http)
    requests: Requests = group(Requests)
