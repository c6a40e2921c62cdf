"""What leaves by sentry-sdk without what nobody has opted in to: its events, breadcrumbs and logs.

Only what a client of ours sends passes here; an application that sets sentry-sdk up itself has its own rules.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from sentry_sdk.utils import safe_repr

from otel_distro.logs.fields import event_of
from otel_distro.redaction import (
    REDACTED,
    is_secret_attribute,
    is_secret_field,
    is_secret_option,
    redact_exception,
    redact_message,
)

from .limits import MOST_BYTES
from .words import shortened, without_literals, without_messages, words

HEADERS = frozenset({"host", "content-type", "content-length", "accept", "user-agent"})
"""Headers that tell nothing of who asks, and are no credentials."""
_PARAMETER = "sentry.message.parameter."
_TEMPLATE = "sentry.message.template"
_ASYNCIO = "asyncio"
_CUT = 1_000
"""Characters of each text of an event that would be too large."""
_PERSONAL = frozenset({"user.email", "user.name", "user.ip_address", "user.username", "client.address"})

Json = MutableMapping[str, Any]


class Scrub:
    """Takes out of what sentry-sdk sends what is not to leave.

    Args:
        personal: query strings, cookies, headers, names, addresses and arguments of log messages may leave.
        messages: whole messages of exceptions may leave.
        variables: local variables may leave.
    """

    def __init__(self, *, personal: bool, messages: bool, variables: bool) -> None:
        self._personal = personal
        self._messages = messages or personal
        self._variables = variables

    def event(self, event: Json, hint: Mapping[str, Any]) -> Json:
        """An event, ready to be sent.

        Args:
            event: as JSON has it.
            hint: what sentry-sdk has made it of.
        """
        for exception in _values(event, "exception"):
            if isinstance(exception.get("value"), str):
                exception["value"] = self._message(exception["value"])
        for frame in _frames(event):
            self._frame(frame)
        self._said(event, hint.get("log_record"))
        for crumb in _values(event, "breadcrumbs"):
            self._crumb(crumb)
        if not self._personal:
            _request(event.get("request"))
            _user(event)
        for part in ("extra", "tags", "contexts"):
            if part in event:
                event[part] = _hidden(event[part])
        try:
            size = len(json.dumps(event, ensure_ascii=False).encode())
        except (TypeError, ValueError):
            event, size = _readable(event), MOST_BYTES
        # sentry-sdk writes six characters for one that is no ASCII
        return event if size * 6 <= MOST_BYTES or _size(event) <= MOST_BYTES else _fitting(event)

    def log(self, log: Json) -> Json:
        """A Sentry log."""
        body, attributes, logger = log.get("body"), log.get("attributes"), None
        if isinstance(attributes, dict):
            logger = attributes.get("logger.name")
            if not self._personal:
                body = attributes.get(_TEMPLATE, body)
            for name in list(attributes):
                hidden = name.startswith(_PARAMETER) or name in _PERSONAL
                if (hidden and not self._personal) or is_secret_attribute(name):
                    del attributes[name]
                else:
                    attributes[name] = _attribute(attributes[name])
        if isinstance(body, str):
            log["body"] = _readable(self._text(body, logger))
        return log

    def metric(self, metric: Json) -> Json | None:
        """A Sentry metric; None for one that is no number, for which sentry-sdk would lose a whole batch."""
        value, told = metric.get("value"), self.log(metric)
        if not isinstance(value, float) or math.isfinite(value):
            return told
        metric["value"] = 0.0  # sentry-sdk measures what it loses, and would raise in the application
        return None

    def breadcrumb(self, crumb: Json, hint: Mapping[str, Any]) -> Json:
        """A breadcrumb as it is made; of a log record the text without its arguments, and nothing beside it."""
        record = hint.get("log_record")
        if record is not None and not self._personal:
            told = event_of(record)
            crumb["message"] = self._logged(record, str(record.msg) if told is None else told[0])
            crumb["data"] = {}
        return crumb

    def _logged(self, record: Any, text: str) -> str:
        """The text of a log record without its arguments; it may be an exception: `logger.error(error)`."""
        return self._message(text) if isinstance(record.msg, BaseException) else self._text(text, record.name)

    def _text(self, text: str, logger: object = None) -> str:
        if self._messages:
            return redact_message(text)
        # asyncio shows exceptions of tasks and arguments of callbacks
        return words(text.partition("\n")[0]) if logger == _ASYNCIO else redact_message(without_messages(text))

    def _message(self, text: str) -> str:
        return redact_message(redact_exception(text)) if self._messages else words(text)

    def _frame(self, frame: Json) -> None:
        if self._variables:
            if "vars" in frame:
                frame["vars"] = _hidden(frame["vars"])
        else:
            frame.pop("vars", None)
        if self._messages:
            return
        if isinstance(frame.get("context_line"), str):
            frame["context_line"] = without_literals(frame["context_line"])
        for around in ("pre_context", "post_context"):
            if isinstance(frame.get(around), list):
                frame[around] = [without_literals(str(line)) for line in frame[around]]

    def _said(self, event: Json, record: Any) -> None:
        if isinstance(event.get("message"), str):
            event["message"] = self._text(event["message"])
        entry = event.get("logentry")
        if not isinstance(entry, dict):
            return
        told = None if record is None else event_of(record)
        if told is not None:
            # its text as a whole has its time in it, and no two of them would be one issue
            entry["message"], fields = told
            entry.pop("formatted", None)
            event["extra"] = {**(event.get("extra") or {}), **fields}
        if isinstance(entry.get("message"), str):
            text = entry["message"]
            entry["message"] = self._text(text) if record is None else self._logged(record, text)
        if self._personal:
            for name in ("formatted", "params"):
                if name in entry:
                    entry[name] = _hidden(entry[name])
        else:
            entry.pop("params", None)
            entry.pop("formatted", None)

    def _crumb(self, crumb: Json) -> None:
        data = crumb.get("data")
        if isinstance(data, dict):
            if isinstance(data.get("url"), str) and not self._personal:
                data["url"] = _bare(data["url"])
            if not self._personal:
                for name in ("http.query", "http.fragment", "db.params", "db.paramstyle"):
                    data.pop(name, None)
            crumb["data"] = _hidden(data)
        if isinstance(crumb.get("message"), str):
            crumb["message"] = self._text(crumb["message"])


def _fitting(event: Json) -> Json:
    """An event that Sentry would refuse for its size, with shorter texts, else without its largest parts."""
    event = shortened(event, _CUT)
    for part in ("extra", "breadcrumbs", "contexts", "vars"):
        if _size(event) <= MOST_BYTES:
            break
        if part == "contexts":
            event[part] = {name: told for name, told in event.get(part, {}).items() if name == "trace"}
        elif part == "vars":
            for frame in _frames(event):
                frame.pop(part, None)
        else:
            event.pop(part, None)
    return event


def _size(event: Json) -> int:
    return len(json.dumps(event, default=str))


def _values(event: Json, part: str) -> Iterator[Json]:
    """The entries of an interface that is a list or has its list under `values`."""
    found = event.get(part)
    entries = found.get("values") if isinstance(found, dict) else found
    if isinstance(entries, list):
        yield from (entry for entry in entries if isinstance(entry, dict))


def _frames(event: Json) -> Iterator[Json]:
    for holder in (*_values(event, "exception"), *_values(event, "threads"), event):
        trace = holder.get("stacktrace")
        if isinstance(trace, dict):
            yield from (frame for frame in trace.get("frames") or () if isinstance(frame, dict))


def _request(request: Any) -> None:
    """What sentry-sdk's own integrations tell of a request, without query string, cookies, body and most headers."""
    if not isinstance(request, dict):
        return
    for name in ("query_string", "cookies", "data", "env"):
        request.pop(name, None)
    if isinstance(request.get("url"), str):
        request["url"] = _bare(request["url"])
    headers = request.get("headers")
    if isinstance(headers, dict):
        request["headers"] = {name: value for name, value in headers.items() if str(name).lower() in HEADERS}


def _user(event: Json) -> None:
    user = event.get("user")
    if isinstance(user, dict):
        kept = {name: user[name] for name in ("id",) if user.get(name) is not None}
        if kept:
            event["user"] = kept
        else:
            event.pop("user", None)


def _bare(url: str) -> str:
    try:
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
    except ValueError:
        return REDACTED


def _hidden(found: Any) -> Any:
    """A value without secrets: texts as in a log message, and what a name, or the first of a pair, says is one."""
    if isinstance(found, str):
        return redact_message(found)
    if isinstance(found, dict):
        return {
            name: _without(value) if is_secret_field(str(name)) else _hidden(value) for name, value in found.items()
        }
    if isinstance(found, (list, tuple)):
        if len(found) == 2 and isinstance(found[0], str) and is_secret_field(found[0].strip("b'\"")):
            return [found[0], _without(found[1])]
        return _arguments(found)
    return found


def _arguments(found: Sequence[Any]) -> list[Any]:
    """A list, which may be a command: of an option that says so the value is the next of them."""
    shown, secret = [], False
    for value in found:
        shown.append(_without(value) if secret else _hidden(value))
        # a local variable is shown by its `repr`
        secret = is_secret_option(value.strip("'") if isinstance(value, str) else value)
    return shown


def _attribute(value: Any) -> Any:
    """An attribute of a log; what is no text, number or list of these becomes a text, as sentry-sdk makes it later."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return _readable(_hidden(value))
    if isinstance(value, list) and all(isinstance(each, (str, bool, int, float)) for each in value):
        return _readable(_hidden(value))
    return _readable(redact_message(safe_repr(value)))


def _readable(found: Any) -> Any:
    """A value without what is no JSON: Relay refuses all that is sent with half of a surrogate pair in it, which
    file names and texts cut by others may have, and sentry-sdk loses a whole batch of logs for a NaN."""
    if isinstance(found, str):
        return found if found.isascii() else found.encode(errors="replace").decode()
    if isinstance(found, float):
        return found if math.isfinite(found) else str(found)
    if isinstance(found, dict):
        return {_readable(name): _readable(value) for name, value in found.items()}
    if isinstance(found, (list, tuple)):
        return [_readable(value) for value in found]
    return found


def _without(value: Any) -> Any:
    """The mark in the place of a value; of a mapping the names stay, for Sentry wants one where it had one."""
    if isinstance(value, dict):
        return dict.fromkeys(value, REDACTED)
    return None if value is None else REDACTED


__all__ = ["HEADERS", "Scrub"]
