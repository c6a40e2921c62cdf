"""The reference of all environment variables as Markdown; `python -m otel_distro.settings.reference` prints it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from ._parse import describe
from ._variable import Variable

_SIGNALS = tuple(f"OTEL_EXPORTER_OTLP_{signal}_" for signal in ("TRACES", "METRICS", "LOGS"))
"""Repeat the general variables for one signal; the few that exist for metrics alone are described there."""
_ONLY_METRICS = ("TEMPORALITY_PREFERENCE", "DEFAULT_HISTOGRAM_AGGREGATION")


def markdown() -> str:
    """A table of every variable the distro reads: name, default, kind and meaning, source."""
    return "\n".join(_rows()) + "\n"


def _rows() -> Iterator[str]:
    yield "| variable | default | what it says | defined by |"
    yield "|---|---|---|---|"
    for name, variable in describe():
        if name.startswith(_SIGNALS) and not name.endswith(_ONLY_METRICS):
            continue
        yield f"| `{name}` | {_default(variable.default)} | {_meaning(variable)} | {variable.source} |"
    yield ""
    yield "Each `OTEL_EXPORTER_OTLP_X` exists for one signal too, where it wins: `OTEL_EXPORTER_OTLP_TRACES_X`,"
    yield "`OTEL_EXPORTER_OTLP_METRICS_X`, `OTEL_EXPORTER_OTLP_LOGS_X`."


def _meaning(variable: Variable) -> str:
    return f"{variable.meaning} *{variable.kind.name}*"


def _default(value: Any) -> str:
    if value is None or value in ((), {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{','.join(value)}`" if isinstance(value, tuple) else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(markdown())
