"""Upstream's own log lines, each said once: a dead collector is one line, not a stack trace an interval."""

from __future__ import annotations

import logging

_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.metrics._internal.export",
)
_MOST = 64


class SayOnce(logging.Filter):
    """Lets each message format pass once, without its stack trace."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is new; bounded to 64 formats, later ones do not pass."""
        form = str(record.msg)
        if form in self._said or len(self._said) >= _MOST:
            return False
        self._said.add(form)
        if record.exc_info and record.exc_info[1] is not None:
            record.msg = f"{record.getMessage()}: {record.exc_info[1]}"
            record.args = ()
            record.exc_info = None
            record.exc_text = None
        return True


def quieten() -> None:
    """Put the filter on the loggers of upstream's exporters and processors."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(present, SayOnce) for present in logger.filters):
            logger.addFilter(SayOnce())
