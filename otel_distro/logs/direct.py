"""The short way of a `logging` record: from its fields straight into the bytes that leave, no other record between.

For our own exporter alone. Whatever is unusual about a record (an exception, an event, a limit, a message that is no
text) takes the long way through `Translator`, with the same outcome.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_distro.tracing.context import suppressed

from .exporting import exporting
from .fields import CONTEXT, CORRELATION, STANDARD_COUNT, extras_of, message_of, stays
from .records import LeanLogRecord, Translator

Piece = tuple[Any, Any, bytes]

_EVENT, _OLD_EVENT = "otel.event.name", "event.name"
_LEVELS_KEPT = 64
_NONE = 1 << 63
"""Above every level: no record goes the short way."""


class PlainEncoder(Protocol):
    """What is asked of the encoder."""

    def severity(self, number: Any, text: str, /) -> bytes:
        """The two fields of a level."""
        ...

    def plain(  # noqa: PLR0917 - see there
        self, moment: int, severity: bytes, body: str, told: Any, fields: Any, span: Any, /
    ) -> bytes:
        """One record; see `LogEncoder.plain`."""
        ...


class Direct:
    """Gives every record of `logging` to one queue, encoded.

    Args:
        translator: of the records that are unusual, and of levels and scopes.
        encoder: of the queue's exporter.
        add: the queue's, for a record that is encoded.
        emit: the queue's, for one that is not.
        provider: whose `resource` is asked for each record: it changes in a forked child.
    """

    def __init__(
        self,
        translator: Translator,
        encoder: PlainEncoder,
        add: Callable[[Piece], object],
        emit: Callable[[LeanLogRecord], object],
        provider: Any,
    ) -> None:
        self._translator = translator
        self._least = translator.least
        self._most = translator.most_attributes
        self._scopes = translator.scopes
        self._encoder = encoder
        self._plain = encoder.plain
        self._add = add
        self._emit = emit
        self._provider = provider
        self._levels: dict[str, tuple[int, bytes]] = {}
        self._shared: tuple[Callable[[LeanLogRecord], object], ...] = ()

    def share(self, emit: Callable[[LeanLogRecord], object]) -> None:
        """Give every record to `emit` as well, from now on: all of them go the long way."""
        self._shared = (*self._shared, emit)
        # what every record is asked anyway: who shares nothing pays nothing for it
        self._least = _NONE

    def take(self, record: logging.LogRecord, context: Any) -> None:
        """Queue a record, unless it is about sending: of a logger that `stays`, or from an exporter's thread.

        Args:
            record: of `logging`.
            context: of the current span, None outside a trace.
        """
        number, name = record.levelno, record.name
        if number < self._least or (name[:1] == "o" and stays(name)) or (suppressed() and exporting()):
            if self._shared:
                self._take_shared(record, context)
            return
        resource: Resource = self._provider.resource
        values = record.__dict__
        fields: dict[str, Any] | None = None
        known = values.get(CONTEXT)
        told = None if known is None else known.attributes
        if len(values) > (STANDARD_COUNT + CORRELATION if CONTEXT in values else STANDARD_COUNT):
            fields = extras_of(record)
            if told and not told.keys().isdisjoint(fields):
                fields, told = {**told, **fields}, None
            most = len(fields) + (len(told) if told else 0)
            unusual = most > self._most or _EVENT in fields or _OLD_EVENT in fields
        else:
            unusual = told is not None and len(told) > self._most
        if unusual or record.exc_info or record.exc_text or record.msg.__class__ is not str:
            self._emit(self._translator.translate(record, context, resource))
            return
        level = self._levels.get(record.levelname)
        if level is None or level[0] != number:
            level = self._learn(number, record.levelname)
        scope: InstrumentationScope = self._scopes.get(name) or self._translator.scope(name)
        body = message_of(record)
        self._add((resource, scope, self._plain(int(record.created * 1e9), level[1], body, told, fields, context)))

    def _take_shared(self, record: logging.LogRecord, context: Any) -> None:
        if record.levelno < self._translator.least or stays(record.name) or (suppressed() and exporting()):
            return
        made = self._translator.translate(record, context, self._provider.resource)
        self._emit(made)
        for emit in self._shared:
            emit(made)

    def _learn(self, number: int, name: str) -> tuple[int, bytes]:
        known = number, self._encoder.severity(*self._translator.level(number, name))
        if len(self._levels) < _LEVELS_KEPT:
            self._levels[name] = known
        return known


__all__ = ["Direct", "PlainEncoder"]
