"""What the application says of its users, on the spans of upstream's SDK; spans of ours read it when they start."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor

from otel_distro.context import tell


class ContextOnSpans(SpanProcessor):
    """Puts what is known on every span that starts."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """See `SpanProcessor.on_start`."""
        tell(span)
