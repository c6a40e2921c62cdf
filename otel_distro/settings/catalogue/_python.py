"""What upstream's Python packages and launcher have a word for."""

from __future__ import annotations

from otel_distro.settings._values import TEXT, choice
from otel_distro.settings._variable import UPSTREAM, Record, variable


class Python(Record):
    """Which parts are plugged into the SDK, the API and the launcher, by entry-point name."""

    context: str = variable(
        "OTEL_PYTHON_CONTEXT",
        TEXT,
        "contextvars_context",
        "Where the API keeps the current context: an installed `opentelemetry_context`.",
        source=UPSTREAM,
    )
    id_generator: str = variable(
        "OTEL_PYTHON_ID_GENERATOR",
        TEXT,
        "random",
        "Who draws trace and span ids: `random`, or an installed `opentelemetry_id_generator`.",
        source=UPSTREAM,
    )
    distro: str | None = variable(
        "OTEL_PYTHON_DISTRO", TEXT, None, "`otel_distro` chooses this distro under the stock launcher.", source=UPSTREAM
    )
    configurator: str | None = variable(
        "OTEL_PYTHON_CONFIGURATOR", TEXT, None, "Another configurator than this distro's.", source=UPSTREAM
    )
    gevent_patch: str | None = variable(
        "OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH",
        choice("patch_all"),
        None,
        "`patch_all` has gevent patch the standard library before telemetry starts.",
        source=UPSTREAM,
    )
