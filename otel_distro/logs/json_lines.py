"""A log record as one line of JSON: ASCII, one object, never raises.

The line is put together from encoded pieces; only containers and exceptions go through an encoder. Every line of the
application pays for this, so what repeats (heads, names of fields, what is known about a request) is kept encoded.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as quoted
from math import isfinite
from time import gmtime, strftime
from typing import TYPE_CHECKING, Any

from otel_distro.bounded import BoundedCache
from otel_distro.redaction import REDACTED, is_secret_attribute

from .fields import (
    CONTEXT,
    CORRELATION,
    MOST_FIELDS,
    SPAN_ID,
    STANDARD_COUNT,
    TRACE_ID,
    extras_of,
    message_of,
    names_of,
    stays,
)
from .values import plain, text

if TYPE_CHECKING:
    from otel_distro.context import Record

_OWN = frozenset(
    {
        *("time", "level", "logger", "message", "service", "version", "environment", "otlp"),
        *("trace_id", "span_id", "exception", "stack"),
    }
)
"""Keys that an `extra` cannot take; there it is called `extra.<name>`."""
_OF_CONTEXT = frozenset({"request_id", "user", "user.name", "user.email", "tenant", "workspace"})
"""Keys that an `extra` may take: the application knows better."""

_REMEMBERED = 4_096
_REMEMBERED_NAMES = 131_072  # characters of them, as lines have them, about
_REMEMBERED_CONTEXTS = 512
_SURROGATES = re.compile(r"((?<!\\)(?:\\\\)*)(\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|\\ud[89a-f][0-9a-f]{2})")
"""Escapes of surrogates, a pair or one alone, after any number of escaped backslashes."""
_PAIR = 12

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class JsonLines:
    """Formats records; stands in for a `logging.Formatter`.

    Args:
        service: `service.name`.
        version: `service.version`, if there is one.
        environment: `deployment.environment.name`, if there is one.
        sent: put `"otlp":true` on lines whose record leaves by OTLP as well: those of this level and above, and not
            the distro's own. A collector that reads both drops them by it.
    """

    def __init__(
        self, *, service: str, version: str | None = None, environment: str | None = None, sent: int | None = None
    ) -> None:
        told = {"service": service, "version": version, "environment": environment}
        self._static = "".join([f',"{key}":{quoted(value)}' for key, value in told.items() if value])
        self._sent = sent
        self._second = 0
        self._stamp = ""
        self._heads: BoundedCache[tuple[str, str], tuple[str, str]] = BoundedCache(_REMEMBERED)
        self._keys: BoundedCache[str, tuple[str, bool]] = BoundedCache(_REMEMBERED_NAMES)
        self._contexts: BoundedCache[int, tuple[Record, str]] = BoundedCache(_REMEMBERED_CONTEXTS)

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        values = record.__dict__
        created = record.created
        second = int(created)
        stamp = self._stamp
        if second != self._second:
            stamp = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
            # in this order: a thread between the two makes one stamp too many, never a wrong one
            self._second, self._stamp = 0, stamp
            self._second = second
        key = record.levelname, record.name
        head = self._heads.get(key)
        if head is None:
            head = self._heads.keep(key, self._head(record))
        line = f'{{"time":"{stamp}.{int((created - second) * 1e6):06d}{head[0]}{quoted(message_of(record))}{head[1]}'
        # most records have exactly these attributes, and then nothing has to be looked for
        extras = len(values) - STANDARD_COUNT
        trace_id = values.get(TRACE_ID)
        if trace_id is not None:
            extras -= CORRELATION
            if trace_id != "0":
                line = f'{line},"trace_id":"{trace_id}","span_id":"{values[SPAN_ID]}"'
        context: Record | None = values.get(CONTEXT)
        if extras > 0 or record.msg.__class__ is not str:
            line += self._with_extras(record, context, extras)
        elif context is not None:
            kept = self._contexts.get(id(context))
            line += kept[1] if kept is not None and kept[0] is context else self._context(context)
        if record.exc_info or record.exc_text or record.stack_info:
            line += encoded(exception_fields(record))
        if "\\ud" in line:
            line = _SURROGATES.sub(_paired, line)
        return line + "}"

    def _head(self, record: logging.LogRecord) -> tuple[str, str]:
        """What all lines of a logger and a level have before and after their message."""
        sent = self._sent is not None and record.levelno >= self._sent and not stays(record.name)
        told = f'Z","level":{quoted(str(record.levelname))},"logger":{quoted(str(record.name))}'
        return f'{told},"message":', self._static + ',"otlp":true' if sent else self._static

    def _context(self, context: Record) -> str:
        encoded_fields = encoded(context_fields(context))
        # with the record itself, whose id would else be another's one day
        return self._contexts.keep(id(context), (context, encoded_fields))[1]

    def _with_extras(self, record: logging.LogRecord, context: Record | None, count: int) -> str:
        """What is known about the request, and the fields of `extra`, which may say it better."""
        values = record.__dict__
        names = names_of(values)
        if count > MOST_FIELDS or record.msg.__class__ is not str:
            return self._mixed(context, record)
        if context is not None and not _OF_CONTEXT.isdisjoint(names):
            return self._mixed(context, record)
        parts = []
        if context is not None:
            kept = self._contexts.get(id(context))
            parts.append(kept[1] if kept is not None and kept[0] is context else self._context(context))
        for name in names:
            head, secret = self._keys.get(name) or self._learn(name)
            value = values[name]
            kind = value.__class__
            if secret:
                value = None if value is None else REDACTED
            elif kind is str:
                value = text(value)
            elif kind is not int or not -_SMALL < value < _SMALL:
                value = plain(value)
            parts.append(head + _shown(value))
        return "".join(parts)

    def _learn(self, name: str) -> tuple[str, bool]:
        """A field's name encoded, and whether it tells a secret."""
        shown = f"extra.{name}" if name in _OWN else name
        # a payload's keys may be long, and never come again
        return self._keys.keep(name, (f",{quoted(shown)}:", is_secret_attribute(name)), 2 * len(name) + 16)

    @staticmethod
    def _mixed(context: Record | None, record: logging.LogRecord) -> str:
        """The same by way of a dict, for what is rare: very many fields, a message that holds some, two of one name."""
        fields = {} if context is None else dict(context_fields(context))
        for name, value in extras_of(record).items():
            fields[f"extra.{name}" if name in _OWN else name] = value
        return encoded(fields)


_SMALL = 1 << 62


def context_fields(context: Record | dict[str, Any]) -> dict[str, Any]:
    """What the application said about the request, under the names that lines have for it.

    Args:
        context: a dict where the record has come from another process; it has these names already.
    """
    if isinstance(context, dict):
        return context
    fields: dict[str, Any] = {}
    if context.request_id is not None:
        fields["request_id"] = context.request_id
    user = context.user
    if user is not None:
        fields["user"] = user.id
        if user.name is not None:
            fields["user.name"] = user.name
        if user.email is not None:
            fields["user.email"] = user.email
    for name, value in context.values.items():
        shown = f"context.{name}" if name in _OWN or name in fields else name
        fields[shown] = REDACTED if is_secret_attribute(name) else value
    return fields


def make_portable() -> None:
    """Let records that handlers send to other processes carry a plain dict: there may be no otel-distro there."""
    import copyreg

    from otel_distro.context import Record

    copyreg.pickle(Record, _as_dict)


def _as_dict(context: Record) -> tuple[type, tuple[list[tuple[str, Any]]]]:
    return dict, (list(context_fields(context).items()),)


def exception_fields(record: logging.LogRecord) -> dict[str, Any]:
    """`exception` and `stack` of a record."""
    from .exceptions import error_of, structured

    fields: dict[str, Any] = {}
    try:
        error = error_of(record.exc_info)
        if error is not None:
            fields["exception"] = structured(error)
        elif record.exc_text:
            fields["exception"] = {"stacktrace": text(str(record.exc_text))}
        if record.stack_info:
            fields["stack"] = text(str(record.stack_info))
    except RecursionError:
        raise
    except Exception as problem:  # noqa: BLE001 - an exception may be as broken as any object
        fields["exception"] = {"type": type(problem).__name__, "message": "the exception cannot be shown"}
    return fields


def _paired(found: re.Match[str]) -> str:
    """Half of a character (a file name that is no UTF-8) is no JSON for many parsers, who then refuse the line."""
    backslashes, escape = found.groups()
    return found[0] if len(escape) == _PAIR else backslashes + r"\ufffd"


def encoded(fields: Mapping[str, Any]) -> str:
    """`,"name":value` for each field of plain data."""
    return "".join([f",{quoted(name)}:{_shown(value)}" for name, value in fields.items()])


def _shown(value: Any) -> str:
    kind = value.__class__
    if kind is str:
        return quoted(value)
    if kind is int:
        return int.__repr__(value)
    if kind is float and isfinite(value):
        return float.__repr__(value)
    return _encode(value)


__all__ = ["JsonLines", "context_fields", "encoded", "exception_fields", "make_portable"]
