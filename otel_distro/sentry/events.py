"""What every event is told before it leaves: its span, its request, whom it is about, and what was called before."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from opentelemetry import baggage

from otel_distro.context import Record
from otel_distro.context import current as current_record
from otel_distro.guard import Guard
from otel_distro.logs.fields import SAMPLED, SERVICE, SPAN_ID, TRACE_ID

from .crumbs import Crumbs
from .link import Link
from .requests import Request

_LONGEST_TAG = 200
_LONGEST_BAGGAGE = 64
_USER = "user."
_CORRELATION = (TRACE_ID, SPAN_ID, SAMPLED, SERVICE)
"""What log records carry for formats; sentry-sdk takes it for fields that the application gave."""

Json = MutableMapping[str, Any]


class Events:
    """Completes events; a global event processor of sentry-sdk, so it works for any client.

    Args:
        link: finds the span.
        request: finds the running request.
        crumbs: finished client spans; None where sentry-sdk's own integrations make breadcrumbs already.
        personal: names and addresses of users, query strings and headers may leave.
        baggage_keys: which baggage becomes tags; anybody may send baggage, so it never says who the user is.
        guard: gets what fails; the event goes on as it was.
    """

    def __init__(
        self,
        link: Link,
        request: Callable[[], Request | None],
        crumbs: Crumbs | None,
        *,
        personal: bool,
        baggage_keys: Sequence[str],
        guard: Guard,
    ) -> None:
        self._link = link
        self._request = request
        self.crumbs = crumbs
        self._personal = personal
        self._baggage_keys = tuple(baggage_keys)
        self._guard = guard

    def __call__(self, event: Json, hint: MutableMapping[str, Any]) -> Json:
        """Complete `event`; never raises, never drops."""
        if event.get("type") not in {"transaction", "profile_chunk"}:
            self._guard.call("Sentry, event", None, self._complete, event, hint)
        return event

    def log(self, log: Json) -> Json:
        """Complete a Sentry log or metric."""
        self._link.telemetry(log)
        record = current_record()
        attributes = log.get("attributes")
        if isinstance(attributes, dict):
            for name in _CORRELATION:
                attributes.pop(name, None)
        if record is not None and isinstance(attributes, dict):
            for name, value in record.attributes.items():
                if self._personal or not name.startswith(_USER) or name == "user.id":
                    attributes.setdefault(name, value)
            if record.request_id is not None:
                attributes.setdefault("request.id", record.request_id)
        return log

    def _complete(self, event: Json, hint: MutableMapping[str, Any]) -> None:
        extra = event.get("extra")
        if isinstance(extra, dict):
            # the trace's context and the event's tags say the same
            for name in _CORRELATION:
                extra.pop(name, None)
        raised = hint.get("exc_info")
        found = self._link.find(raised[1] if raised else None)
        record = current_record()
        if found is not None:
            # a sampling context of sentry-sdk's own trace would send the event's envelope to that trace
            event.setdefault("contexts", {})["trace"] = {"trace_id": found.trace_id, "span_id": found.span_id}
            record = found.record
        request = self._request()
        if request is not None:
            # one that the application has set by itself stays
            if not event.get("transaction"):
                event["transaction"], source = request.transaction
                event["transaction_info"] = {"source": source}
            if "request" not in event:
                event["request"] = request.described(personal=self._personal)
        if record is not None:
            self._about(event, record)
        self._carried(event)
        if found is not None and self.crumbs is not None:
            self._called(event, self.crumbs, int(found.trace_id, 16))

    def _about(self, event: Json, record: Record) -> None:
        """User and tags that the application has set once, for spans and logs as well."""
        tags = _tags(event)
        for name, value in record.attributes.items():
            if not name.startswith(_USER):
                tags.setdefault(name, str(value)[:_LONGEST_TAG])
        if record.request_id is not None:
            tags.setdefault("request.id", record.request_id[:_LONGEST_TAG])
        user = record.user
        if user is not None and not (event.get("user") or {}).get("id"):
            given = {"id": user.id}
            if self._personal:
                given |= {key: text for key, text in (("username", user.name), ("email", user.email)) if text}
            event["user"] = {**(event.get("user") or {}), **given}

    def _carried(self, event: Json) -> None:
        if not self._baggage_keys:
            return
        carried = baggage.get_all()
        tags = _tags(event)
        for key in self._baggage_keys:
            if carried.get(key) is not None:
                tags.setdefault(key, str(carried[key])[:_LONGEST_BAGGAGE])

    @staticmethod
    def _called(event: Json, crumbs: Crumbs, trace_id: int) -> None:
        made = crumbs.of(trace_id)
        if not made:
            return
        given = event.get("breadcrumbs")
        values = given.get("values", []) if isinstance(given, dict) else []
        values = [*values, *made]
        if all(hasattr(value.get("timestamp"), "timestamp") for value in values):
            # not the times themselves: one of the application's may know of no time zone
            values.sort(key=lambda value: value["timestamp"].timestamp())
        event["breadcrumbs"] = {"values": values}


def _tags(event: Json) -> Json:
    tags = event.get("tags")
    if not isinstance(tags, dict):
        tags = event["tags"] = dict(tags or ())
    return tags


__all__ = ["Events"]
