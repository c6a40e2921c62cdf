"""Writes into httpx's headers, whose own methods look at all of them with each one that is set."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from otel_distro.instrumentation.http_client import Write

_TRACEPARENT = b"traceparent"
_lowered = itemgetter(1)


def writer(kind: Callable[[], Any], name: str | None) -> Write | None:
    """What writes `traceparent` and the request's id where the application has set neither.

    Args:
        kind: httpx's own class of headers; those of any other class are not written to.
        name: of the header with the request's id; None where none is sent.

    Returns:
        See `HttpClient.write`; None where that class does not keep a list.
    """
    spelt = (name or "").encode("ascii")
    lowered = spelt.lower()
    ours = frozenset((_TRACEPARENT, lowered))

    def write(headers: Any, traceparent: str, request_id: str | None) -> bool:
        if headers.__class__ is not kind:
            return False
        pairs = headers._list  # noqa: SLF001 - looked for below
        # one that is there already is from an earlier hop or the application's: who sets a single one knows what to do
        if not ours.isdisjoint(map(_lowered, pairs)):
            return False
        pairs.append((_TRACEPARENT, _TRACEPARENT, traceparent.encode()))
        if request_id is not None:
            pairs.append((spelt, lowered, request_id.encode()))
        return True

    return write if getattr(kind(), "_list", None).__class__ is list else None


def setter(headers: Any) -> Callable[[str, str], object]:
    """What sets a header; asking httpx to look for one that is seldom there costs three times as much."""
    pairs: Any = getattr(headers, "_list", None)
    if pairs.__class__ is not list:
        put: Callable[[str, str], object] = headers.__setitem__
        return put

    known: set[bytes] | None = None

    def set_header(name: str, value: str) -> None:
        nonlocal known
        if known is None:
            # with the first header: until then a hook may have set some
            known = {lowered for _, lowered, _ in pairs}
        lowered = name.lower().encode("ascii")
        if lowered in known:
            headers[name] = value
            return
        known.add(lowered)
        pairs.append((name.encode("ascii"), lowered, value.encode("utf-8")))

    return set_header
