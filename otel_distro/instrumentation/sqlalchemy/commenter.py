"""sqlcommenter: the trace context as a comment at the end of a statement. Off by default, it defeats statement caches.

Source: sqlcommenter specification; semantic conventions, "SQL commenter".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from opentelemetry.trace import Span

from otel_distro.propagation import Propagation

_PERCENT_STYLES = frozenset({"format", "pyformat"})


class Commenter:
    """Appends comments.

    Args:
        options: `False` under `db_driver`, `db_framework`, `opentelemetry_values` or a header's name leaves that out.
        on_span: also put the comment on `db.query.text`, as contrib's `enable_attribute_commenter` does.
    """

    def __init__(self, options: Mapping[str, Any] | None = None, *, on_span: bool = False) -> None:
        self._options = dict(options or {})
        self._on_span = on_span
        self._propagation = Propagation()

    def comment(self, statement: str, span: Span, context: Any) -> str:
        """The statement with its comment.

        Args:
            statement: as the driver would get it.
            span: of the statement, recording.
            context: SQLAlchemy's execution context.
        """
        values = self._values(span, context)
        comment = ",".join(f"{_quoted(name)}='{_quoted(value)}'" for name, value in sorted(values.items()))
        if not comment:
            return statement
        if self._on_span:
            text = getattr(span, "attributes", {}).get("db.query.text", "")
            span.set_attribute("db.query.text", f"{text} /*{comment}*/".lstrip())
        if context.dialect.paramstyle in _PERCENT_STYLES:
            comment = comment.replace("%", "%%")
        bare = statement.rstrip()
        return f"{bare[:-1]} /*{comment}*/;" if bare.endswith(";") else f"{bare} /*{comment}*/"

    def _values(self, span: Span, context: Any) -> dict[str, str]:
        from sqlalchemy import __version__

        # dialects of others need not name their driver
        driver = getattr(context.dialect, "driver", context.dialect.name)
        values = {"db_driver": str(driver), "db_framework": f"sqlalchemy:{__version__}"}
        if self._options.get("opentelemetry_values", True):
            headers: dict[str, str] = {}
            self._propagation.inject_into(headers, span)
            # baggage is the application's own data and may be private: only the trace context goes into statements
            headers.pop("baggage", None)
            values |= headers
        return {name: value for name, value in values.items() if self._options.get(name, True)}


def _quoted(text: str) -> str:
    # `*` and `/` are encoded, so that no value, a tracestate from outside least of all, can end the comment
    return quote(text, safe="")
