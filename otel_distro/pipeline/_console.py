"""The console exporter as a terminal wants it, and safe in forked children."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from otel_distro.guard import Guard
from otel_distro.process import in_forked_child

if TYPE_CHECKING:
    from otel_distro.console import ConsoleSpanExporter


def console(environ: Mapping[str, str], guard: Guard) -> ConsoleSpanExporter:
    """An exporter that draws on stderr; `NO_COLOR` and `TERM` of `environ` decide how."""
    from otel_distro.console import ConsoleSpanExporter, choose_style

    exporter = ConsoleSpanExporter(style=choose_style(sys.stderr, environ))
    in_forked_child(exporter.after_fork, guard.failed)
    return exporter
