"""Records of other processes, which a receiver hands to `Logger.handle`: what they tell of their trace and request.

What is on them came by a network or a pipe and may be anything; only text and numbers of the expected form are taken.
Source: Python's logging cookbook, "Sending and receiving logging events across a network".
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

from opentelemetry.trace import SpanContext, TraceFlags

from otel_distro.context import REQUEST_ID, Record, User, attributes_of

from .fields import CONTEXT, SAMPLED, SERVICE, SPAN_ID, TRACE_ID
from .values import field

_TRACE = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SPAN = re.compile(r"(?!0{16})[0-9a-f]{16}")
_MOST_VALUES = 64


def is_received(values: Mapping[str, Any]) -> bool:
    """Whether a record with these attributes was made in another process, inside a trace."""
    pid, trace_id = values.get("process"), values[TRACE_ID]
    return type(pid) is int and pid != os.getpid() and type(trace_id) is str and _TRACE.fullmatch(trace_id) is not None


def keep(values: dict[str, Any], service: str, *, contextual: bool) -> SpanContext:
    """Leave such a record's ids on it, in the form that lines and encoders count on; returns its span's context.

    Args:
        values: the record's attributes; changed in place.
        service: `service.name` of this process, for a record that tells none.
        contextual: whether what the sender's application said of its request is wanted.
    """
    span_id = values.get(SPAN_ID)
    if type(span_id) is not str or _SPAN.fullmatch(span_id) is None:
        values[SPAN_ID] = span_id = "0"
    values[SAMPLED] = sampled = values.get(SAMPLED) is True
    if type(values.get(SERVICE)) is not str:
        values[SERVICE] = service
    if contextual:
        told = values.get(CONTEXT)
        values[CONTEXT] = _record(told, values[TRACE_ID]) if type(told) is dict and told else None
    return SpanContext(int(values[TRACE_ID], 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(sampled))


def _record(told: dict[Any, Any], trace_id: str) -> Record:
    """What `json_lines.make_portable` made a dict of."""
    found = {name: _value(name, value) for name, value in islice(told.items(), _MOST_VALUES) if type(name) is str}
    request_id = _text(found.pop("request_id", None))
    known, name, email = (_text(found.pop(key, None)) for key in ("user", "user.name", "user.email"))
    user = None if known is None else User(known, name, email)
    values = {key.removeprefix("context."): value for key, value in found.items() if value is not None}
    # one of ours is the trace id, which the record has
    own = {} if request_id is None or request_id == trace_id else {REQUEST_ID: request_id}
    return Record(request_id, user, values, attributes_of(user, values, own))


def _value(name: str, value: object) -> Any:
    shown = field(name, value)
    return shown if shown is None or isinstance(shown, (str, bool, int, float)) else str(shown)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


__all__ = ["is_received", "keep"]
